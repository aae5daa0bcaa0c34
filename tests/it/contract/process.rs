//! The handler does what the rules H1-H15 of the host demand of it, in its answers and at its end.

use nix::sys::signal::Signal;
use serde_json::Value;
use std::{process::Command, time::Duration};
use support::rig::{Handler, Rig, envelope, inline, wait_for};
use tokio::net::{TcpListener, TcpStream};

const UNDER_A_HOST: (&str, &str) = ("FUNCTIONS_CUSTOMHANDLER_WORKER_ID", "w");
const TIMER: &str = r#"{"Data":{"timer":{"Schedule":{"AdjustForDST":true},"ScheduleStatus":null,"IsPastDue":true}},"Metadata":{}}"#;

/// H2: without a host a drained process ends at once, with code 0, and its chunk is pending again.
#[tokio::test(flavor = "multi_thread")]
async fn alone_it_drains_and_exits_with_zero() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[("PIXCRAWLER_DRAIN_SECONDS", "1")]).await;
    rig.origin.set_delay(Duration::from_secs(30));
    let message = inline(1, 0, &rig.pictures(1));
    let (answer, ()) = tokio::join!(handler.deliver("a", &message), async {
        rig.until("select active_chunks = 1 from chunk_handler.capacity").await;
        handler.signal(Signal::SIGTERM);
    });
    assert_eq!(answer.0, 200, "what is open is answered");
    assert_eq!(handler.ended().await.code(), Some(0));
    let released = "select status = 'pending' and attempt = 0 and not_before is null
        from chunk_handler.chunk_status";
    assert!(rig.value::<bool>(released).await, "released, not charged, no back-off");
    let outcome = rig.value::<String>("select outcome from chunk_handler.attempt_log").await;
    assert_eq!(outcome, "released");
    let left = std::fs::read_dir(rig.temp.path().join("pixcrawler-chunks")).unwrap().count();
    assert_eq!(left, 0, "temp files are gone");
}

/// H1 H2: under a host it stays after the drain, answers nothing new, then exits with 200.
#[tokio::test(flavor = "multi_thread")]
async fn under_a_host_it_stays_and_exits_with_two_hundred() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[UNDER_A_HOST]).await;
    handler.signal(Signal::SIGINT);
    handler.line("draining").await;
    let late = tokio::time::timeout(
        Duration::from_secs(5),
        handler.post("/health_check", "t", TIMER.into()),
    );
    assert!(late.await.is_err(), "nothing new is answered");
    assert!(handler.exit().is_none(), "it stays");
    assert_eq!(handler.ended().await.code(), Some(200));
}

/// H2: a second signal ends at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_at_once() {
    let rig = Rig::new().await;
    let handler = rig.handler_with(&[UNDER_A_HOST]).await;
    handler.signal(Signal::SIGTERM);
    handler.line("draining").await;
    handler.signal(Signal::SIGTERM);
    assert_eq!(handler.ended().await.code(), Some(1));
}

/// H3: when the parent is gone, leases are released without charge and the process ends.
#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_releases_its_leases_and_ends() {
    let rig = Rig::new().await;
    // A shell as the parent: it prints its child's process id and waits.
    let port = support::postgres::free_port().unwrap();
    let mut parent = Command::new("sh")
        .args(["-c", "\"$0\" >/dev/null 2>&1 & wait", &support::programs::handler()])
        .env_clear()
        .envs(rig.environment())
        .env(UNDER_A_HOST.0, UNDER_A_HOST.1)
        .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
        .spawn()
        .unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://127.0.0.1:{port}");
    wait_for("the handler answers", async || client.get(&url).send().await.is_ok()).await;
    rig.origin.set_delay(Duration::from_secs(30));
    let chunk = client
        .post(format!("{url}/process_chunk"))
        .header("Content-Type", "application/json")
        .body(envelope(&inline(1, 0, &rig.pictures(1)).to_string()))
        .send();
    let (_, ()) = tokio::join!(chunk, async {
        wait_for("the schema is there", async || {
            let exists = "select to_regclass('chunk_handler.capacity') is not null";
            rig.value::<bool>(exists).await
        })
        .await;
        rig.until("select active_chunks = 1 from chunk_handler.capacity").await;
        parent.kill().unwrap();
        parent.wait().unwrap();
    });
    wait_for("the orphan ends", async || client.get(&url).send().await.is_err()).await;
    rig.until("select outcome = 'released' from chunk_handler.attempt_log").await;
    assert_eq!(rig.value::<i32>("select active_chunks from chunk_handler.capacity").await, 0);
}

/// H4 H15: every answer to an invocation is a JSON object with string logs and no outputs.
#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_a_json_object_without_outputs() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let good = inline(1, 0, &rig.pictures(1)).to_string();
    let pause = r#"{"version":1,"action":"pause","minutes":1}"#;
    for (route, body) in [
        ("/process_chunk", envelope(&good)),
        ("/process_chunk", envelope(&good)),
        ("/process_chunk", envelope("nonsense")),
        ("/process_chunk", envelope("")),
        ("/process_chunk", "{}".into()),
        ("/control", envelope(pause)),
        ("/control", envelope("nonsense")),
        ("/health_check", TIMER.into()),
    ] {
        let (status, answer) = handler.post(route, "id", body).await;
        assert_eq!(status, 200, "{route} {answer}");
        assert_eq!(answer["Outputs"], serde_json::json!({}), "{answer}");
        assert_eq!(answer["ReturnValue"], Value::Null);
        assert!(answer["Logs"].as_array().unwrap().iter().all(Value::is_string), "{answer}");
    }
}

/// H5 B5: the timer's answer does not need the database, nor storage, nor telemetry, nor their patience.
#[tokio::test(flavor = "multi_thread")]
async fn the_timer_ends_when_everything_hangs() {
    let rig = Rig::new().await;
    // Takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let database = format!("postgres://postgres@127.0.0.1:{port}/x");
    let storage = format!(
        "AccountName=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:{port}/a;\
         QueueEndpoint=http://127.0.0.1:{port}/a"
    );
    let mut environment = rig.environment();
    environment.insert("DATABASE_URL".into(), database);
    environment.insert("ChunkStorage".into(), storage);
    let telemetry = format!("InstrumentationKey=k;IngestionEndpoint=http://127.0.0.1:{port}/");
    environment.insert("APPLICATIONINSIGHTS_CONNECTION_STRING".into(), telemetry);
    let handler = Handler::spawn(environment, &[]);
    handler.answers().await;
    let check = handler.post("/health_check", "t", TIMER.into());
    let (status, answer) = tokio::time::timeout(Duration::from_secs(30), check).await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(answer["Logs"][0], "database: away");
}

/// H8 PR8: while Postgres is away the invocation is held, and runs when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn an_invocation_waits_for_the_database() {
    let rig = Rig::new().await;
    let port = support::postgres::free_port().unwrap();
    let real = rig.database_url.split('@').nth(1).unwrap().split('/').next().unwrap().to_owned();
    let moved = rig.database_url.replace(&real, &format!("127.0.0.1:{port}"));
    let mut environment = rig.environment();
    environment.insert("DATABASE_URL".into(), moved);
    let handler = Handler::spawn(environment, &[]);
    handler.answers().await;
    let message = inline(1, 0, &rig.pictures(2));
    let (answer, ()) = tokio::join!(handler.deliver("held", &message), async {
        handler.line("no answer yet, asking again").await;
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let real = real.clone();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(real).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
    });
    assert_eq!(answer.0, 200, "{}", answer.1);
    assert!(answer.1["Logs"][0].as_str().unwrap().contains("completed, 2 of 2"));
}

/// H9: two processes under one temp root each have their own directory; neither sweeps the other's.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_keep_their_own_temp_directories() {
    let rig = Rig::new().await;
    let first = rig.handler().await;
    let second = rig.handler().await;
    let count = || {
        let entries = std::fs::read_dir(rig.temp.path().join("pixcrawler-chunks")).unwrap();
        entries.flatten().filter(|entry| entry.path().is_dir()).count()
    };
    assert_eq!(count(), 2);
    first.kill9();
    assert_eq!(rig.chunkctl(&["control", "sweep"]).code, Some(0));
    wait_for("the dead one's directory is swept", async || count() == 1).await;
    assert!(second.exit().is_none());
}

/// H12 H14: normal lines go to stdout, and no line at any level holds the environment's secrets.
#[tokio::test(flavor = "multi_thread")]
async fn logs_go_to_stdout_and_hold_no_secret() {
    let rig = Rig::new().await;
    let handler = rig
        .handler_with(&[("RUST_LOG", "trace"), ("AzureWebJobsStorage", "AccountKey=CANARYKEY")])
        .await;
    let url = format!("{}?sig=CANARYSIG", rig.origin.url("/img/1"));
    handler.deliver("a", &inline(1, 0, &[url])).await;
    handler.post("/health_check", "t", TIMER.into()).await;
    let lines = handler.lines();
    assert!(lines.iter().any(|line| line.contains("Chunk completed")));
    assert_eq!(handler.errors(), Vec::<String>::new());
    for secret in ["CANARYKEY", "CANARYSIG", "sig=", "a2V5"] {
        let leak = lines.iter().find(|line| line.contains(secret));
        assert!(leak.is_none(), "{secret} in {leak:?}");
    }
}

/// H3: a host that dies as it starts the handler leaves no orphan: who is not asked by anybody ends.
#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_from_birth_ends() {
    let rig = Rig::new().await;
    let handler = Handler::spawn(rig.environment(), &[UNDER_A_HOST]);
    // A minute, and what a busy machine needs.
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(handler.ended().await.code(), Some(0));
    assert!(handler.lines().iter().any(|line| line.contains("the host is gone")));
}
