//! A door before the database that takes no TLS and refuses parameters: what is wrong is named.

use support::{
    doctor::{doctor, failures, names},
    doorkeeper::Doorkeeper,
    rig::{Rig, inline},
};

/// Case 216: what refuses start-up parameters is enough as it is: migrate, a chunk and `doctor` work
/// through it. One more parameter is refused, by its name, and no firewall is suspected.
#[tokio::test(flavor = "multi_thread")]
async fn what_refuses_parameters_is_enough_or_named() {
    let rig = Rig::new().await;
    let door = Doorkeeper::start(&rig.database_url).await;
    let behind = [("DATABASE_URL", door.url())];
    let ask = |variables: &[(&str, &str)]| {
        tokio::task::block_in_place(|| doctor(&rig, variables, &["--json"]))
    };
    let handler = rig.handler_with(&behind).await;
    let (status, answer) = handler.deliver("one", &inline(1, 0, &rig.pictures(2))).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["Logs"][0].as_str().unwrap().contains("completed"), "{answer}");
    assert_eq!(failures(&ask(&behind)), Vec::new());
    assert_eq!(door.refused(), Vec::<String>::new());
    let more = format!("{}?options=-c%20work_mem%3D8MB", door.url());
    let examined = ask(&[("DATABASE_URL", &more)]);
    names(&examined, "Postgres", &["a pooler in front of the database refuses", "options"]);
    assert!(!examined.stdout.contains("firewall let"), "{}", examined.stdout);
    assert!(door.refused().iter().any(|name| name == "options"), "{:?}", door.refused());
}

/// Case 217: `sslmode=require` and a server that takes no TLS: said so, and not that it is away.
#[tokio::test(flavor = "multi_thread")]
async fn what_takes_no_tls_is_named() {
    let rig = Rig::new().await;
    let door = Doorkeeper::start(&rig.database_url).await;
    let url = format!("{}?sslmode=require", door.url());
    let answer =
        tokio::task::block_in_place(|| doctor(&rig, &[("DATABASE_URL", &url)], &["--json"]));
    names(&answer, "Postgres", &["the server takes no TLS", "sslmode=prefer"]);
    assert!(!answer.stdout.contains("is away"), "{}", answer.stdout);
}
