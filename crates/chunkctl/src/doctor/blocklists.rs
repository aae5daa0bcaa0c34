//! Whether a handler could read its blocklists.

use super::{Check, Session};
use chunk_handler::blocklist::Blocklists;

impl Session {
    pub(super) async fn check_blocklists(&self) -> Check {
        let lists = Blocklists::new(&self.settings);
        let result = match lists.are_any() {
            true => lists.look(&self.storage).await,
            false => Ok("none is named".to_owned()),
        };
        Check {
            what: "blocklists",
            result,
            remedy: "no chunk starts without them: upload or correct the named blob of the source container, \
                     or take it out of PIXCRAWLER_BLOCKED_HOSTS or PIXCRAWLER_BLOCKED_HASHES"
                .into(),
        }
    }
}
