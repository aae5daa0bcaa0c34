//! A role that may have fewer connections than a handler takes: it works, or it takes no chunk.

use crate::database::on_its_own_server;
use sqlx::AssertSqlSafe;
use std::{sync::Arc, time::Duration};
use support::{
    doctor::{doctor, failures},
    invariants,
    rig::{Handler, Rig, all, inline, wait_for},
};

/// Longer than two leases of 4 s: without renewals a chunk is lost.
const PICTURES: u64 = 6;
const DELAY: Duration = Duration::from_secs(2);

async fn set_limit(rig: &Rig, limit: i32) {
    let role = "limited_crashing";
    let statement = format!("alter role {role} connection limit {limit}");
    sqlx::query(AssertSqlSafe(statement)).execute(&rig.pool).await.unwrap();
}

/// I8 I13: with one or two connections the handler never gets ready, its message waits, nothing is charged,
/// and it goes on by itself once there are more; with three to five it does chunks that outlast their
/// leases. `doctor` names each limit below five.
pub async fn with_few_connections_a_handler_works_or_takes_no_chunk() {
    all((1..=5).map(works_or_takes_no_chunk)).await;
}

async fn works_or_takes_no_chunk(limit: i32) {
    let (_server, rig) = on_its_own_server().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let url = rig.limited_role(&[]).await;
    set_limit(&rig, limit).await;
    names_the_limit(&rig, &url, limit);
    rig.origin.set_delay(DELAY);
    let settings = [
        ("DATABASE_URL", &*url),
        ("PIXCRAWLER_LEASE_SECONDS", "4"),
        ("PIXCRAWLER_DOWNLOAD_CONCURRENCY", "1"),
    ];
    let handler = Arc::new(Handler::spawn(rig.environment(), &settings));
    handler.answers().await;
    let urls = rig.pictures(2 * PICTURES);
    let deliveries: Vec<_> = (0..)
        .zip(urls.chunks(urls.len() / 2))
        .map(|(index, urls)| {
            let mut message = inline(1, index, urls);
            message["total_chunks"] = 2.into();
            let handler = Arc::clone(&handler);
            tokio::spawn(async move { handler.deliver(&format!("{index}"), &message).await })
        })
        .collect();
    if limit < 3 {
        takes_nothing(&rig, &handler).await;
        set_limit(&rig, -1).await;
    }
    for delivery in deliveries {
        let (status, answer) = delivery.await.unwrap();
        let said = answer["Logs"][0].as_str().unwrap_or_default();
        assert!(status == 200 && said.contains("completed"), "{limit}: {status} {answer}");
    }
    handler.line("\"ready\"").await;
    let once = "select count(*) = 2 from chunk_handler.chunk_status
        where (status, attempt, fence, expiries) = ('completed', 1, 1, 0)";
    assert!(rig.value::<bool>(once).await, "{limit}: {:#?}", handler.lines());
    rig.until("select status = 'completed' from chunk_handler.job_progress").await;
    assert_eq!(invariants::violations(&rig).await, Vec::<String>::new(), "{limit}");
}

fn names_the_limit(rig: &Rig, url: &str, limit: i32) {
    let examined =
        tokio::task::block_in_place(|| doctor(rig, &[("DATABASE_URL", url)], &["--json"]));
    let failures = failures(&examined);
    let words = if limit == 1 { "connection limit -1" } else { "and a handler takes 5" };
    let named = failures.iter().any(|(_, said)| said.contains(words));
    assert_eq!(named, limit < 5, "{limit}: {failures:?}");
}

/// The log says why twice over, and meanwhile the messages wait.
async fn takes_nothing(rig: &Rig, handler: &Handler) {
    let why = "too many connections for role";
    handler.line(why).await;
    // The upkeep has tried again, and had no more luck.
    let tried = "select count(*) from pg_stat_activity where usename = 'limited_crashing'";
    wait_for("a login", async || rig.value::<i64>(tried).await > 0).await;
    tokio::time::sleep(3 * DELAY).await;
    assert!(!handler.lines().iter().any(|line| line.contains("\"ready\"")));
    let untouched = "select not exists (select from chunk_handler.attempt_log)
        and not exists (select from chunk_handler.chunk_status where attempt > 0 or fence > 0)";
    assert!(rig.value::<bool>(untouched).await, "{:#?}", handler.lines());
}
