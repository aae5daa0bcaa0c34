//! Whether blob and queue storage do what the handler asks of them.

use super::{Check, on_time};
use crate::Session;
use chunk_handler::storage::{Error, Queue};
use std::borrow::Cow;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

/// What to do where a certificate is not trusted.
const UNTRUSTED: &str = "the endpoint's certificate is not trusted here: look at SSL_CERT_FILE, \
    SSL_CERT_DIR and /etc/ssl/certs, and whether it has this name";

/// Nobody is there at all.
const NOT_REACHED: &str = "nothing answers at the endpoint: check ChunkStorage, whether the service runs \
    (`cargo xtask dev` starts the emulator), and the firewall";
/// What to do where an identity is asked for and gives no token.
const WITHOUT_TOKEN: &str = "no token for storage: log in with `az login` or `azd auth login`; in Azure give \
    the app the identity whose client id ChunkStorage__clientId names";

impl Session {
    pub(super) async fn check_blob(&self) -> Check {
        let probed = async {
            self.storage.probe_blobs().await?;
            self.storage.probe_listing().await
        };
        let result = probed.await.map_err(|error: Error| error.to_string());
        let remedy = remedy_of_storage(
            &result,
            "run `chunkctl migrate` if a container is missing; else check ChunkStorage: the endpoint, \
             the key or the role Storage Blob Data Contributor (a signature needs the rights to list \
             and to delete, too), and the firewall",
        );
        let result = result.map(|()| "lists are read, shards are written and listed".into());
        Check { what: "blob storage", result, remedy }
    }

    pub(super) async fn check_queue(&self) -> Check {
        let probed = async {
            self.storage.probe_queues().await?;
            self.storage.depth(Queue::Chunks).await
        };
        let result = probed.await.map_err(|error: Error| error.to_string());
        let remedy = remedy_of_storage(
            &result,
            "run `chunkctl migrate` if the queue is missing; else check ChunkStorage, its key, and the \
             role Storage Queue Data Contributor",
        );
        let found = |n| format!("about {n} messages in {}", Queue::Chunks.name());
        Check { what: "queue storage", result: result.map(found), remedy }
    }

    pub(super) async fn check_storage_clock(&self) -> Check {
        let clock = self.storage.clock().await.map_err(|error| error.to_string());
        let clock = clock.map(|text| OffsetDateTime::parse(&text.unwrap_or_default(), &Rfc2822));
        let (result, remedy) = match clock {
            Ok(Ok(clock)) => (
                on_time(clock, "agrees".into()),
                "set the clock of this machine: storage refuses signatures of another time",
            ),
            Ok(Err(_)) => (Ok("the service does not say".into()), ""),
            Err(problem) => (Err(problem), "mend what queue storage says above first"),
        };
        Check { what: "storage clock", result, remedy: remedy.into() }
    }
}

/// What to do about storage: what its words say of TLS and of the way to it comes before what is usual.
fn remedy_of_storage<T>(result: &Result<T, String>, usual: &'static str) -> Cow<'static, str> {
    let says = |words: &str| result.as_ref().is_err_and(|problem| problem.contains(words));
    if says("invalid peer certificate") {
        return UNTRUSTED.into();
    }
    // What rustls calls an answer that is no TLS.
    if says("InvalidContentType") {
        return "the endpoint speaks http: correct https in ChunkStorage".into();
    }
    if says("client error (Connect)") {
        return NOT_REACHED.into();
    }
    if says("authentication failed") {
        return WITHOUT_TOKEN.into();
    }
    usual.into()
}
