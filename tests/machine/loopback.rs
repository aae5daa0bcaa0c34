//! A name of the machine that leads to loopback.

use crate::condition::loopback;
use support::{
    canary::canary,
    raw::{Act, Raw, answer},
    rig::Rig,
    verdict::{handler, verdicts},
};

/// Case 34: a name that leads to loopback is refused, asked for and redirected to.
pub async fn a_name_that_resolves_to_loopback_is_refused() {
    let name = loopback().unwrap();
    let rig = Rig::new().await;
    let url = format!("http://{name}:{}/img/1", canary().port);
    let target = url.clone();
    let raw =
        Raw::start(move |_, _| Act::Send(answer(302, &format!("Location: {target}\r\n"), b"")));
    let handler = handler(&rig, &[&raw], &[]).await;
    let verdicts = verdicts(&rig, &handler, 1, &[url, raw.url("/")]).await;
    assert_eq!(verdicts, ["failed url_refused"; 2]);
    canary().assert_silent();
}
