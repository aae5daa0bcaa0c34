//! A Postgres server that crashes under a running job, or is away as long as a failover takes.

use functions_host::rigged;
use sqlx::postgres::PgPoolOptions;
use std::time::Duration;
use support::{
    invariants,
    job::{self, COMPLETED},
    postgres::{Postgres, PostgresOptions},
    rig::{Rig, all, inline},
};

/// I1 I2 I3 I5 I8: the server crashes while chunks run, twice.
pub async fn a_crash_of_postgres_loses_and_charges_nothing() {
    let (server, rig) = on_its_own_server().await;
    job::submit(&rig);
    let mut host = rigged::host(&rig, &[("PIXCRAWLER_FLEET_MAX_CHUNKS", "4")]).await;
    let first = host.handler_pid();
    job::in_the_middle(&rig).await;
    for _ in 0..2 {
        server.restart_immediately().await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    // A chunk may have been noted as woken by a call whose answer was lost, and its message with it.
    rig.a_minute_passes().await;
    rig.until(COMPLETED).await;
    assert_eq!(host.handler_pid(), first, "the process ended: {:#?}", host.lines());
    host.stop().await.unwrap();
    job::is_whole(&rig).await;
}

const CHUNKS: u64 = 10;
/// Of each chunk; one after the other, 4 s each: a chunk is at work for longer than a server is away.
const PICTURES: u64 = 4;

/// I5 I13: ten chunks are at work when the server goes, for 60 s and for 150 s: longer than their leases.
/// Nobody else can have taken them: they go on with what they have, and no URL is fetched twice.
pub async fn chunks_outlast_a_failover_with_all_they_have() {
    tokio::join!(outlasts(Duration::from_secs(60)), outlasts(Duration::from_secs(150)));
}

async fn outlasts(pause: Duration) {
    let (server, rig) = on_its_own_server().await;
    rig.origin.set_delay(Duration::from_secs(4));
    let settings =
        [("PIXCRAWLER_FLEET_MAX_CHUNKS", "10"), ("PIXCRAWLER_DOWNLOAD_CONCURRENCY", "1")];
    let handler = rig.handler_with(&settings).await;
    let urls = rig.pictures(CHUNKS * PICTURES);
    let chunks = (0..).zip(urls.chunks(urls.len() / 10));
    let messages: Vec<_> = chunks.map(|(index, urls)| (index, inline(1, index, urls))).collect();
    let deliver = async |(index, message): &_| handler.deliver(&format!("{index}"), message).await;
    let delivered = all(messages.iter().map(deliver));
    let (answers, ()) = tokio::join!(delivered, async {
        rig.until(
            "select count(*) = 10 from chunk_handler.chunk_status where status = 'processing'",
        )
        .await;
        rig.pool.close().await;
        server.stay_away(pause).await.unwrap();
    });
    for (status, answer) in answers {
        let said = answer["Logs"][0].as_str().unwrap_or_default();
        assert!(status == 200 && said.contains("completed"), "{pause:?}: {status} {answer}");
    }
    assert_eq!(rig.origin.total(), CHUNKS * PICTURES, "{pause:?}: a URL was fetched twice");
    let rig = Rig { pool: connect(&rig.database_url).await, ..rig };
    let once = "select count(*) = 10 from chunk_handler.chunk_status
        where status = 'completed' and attempt = 1 and fence = 1 and images_valid = 4";
    assert!(rig.value::<bool>(once).await, "{pause:?}: a chunk was begun again");
    assert_eq!(invariants::violations(&rig).await, Vec::<String>::new());
}

/// A server that may be stopped, and a rig on it.
pub async fn on_its_own_server() -> (Postgres, Rig) {
    // Durable: a commit that was answered must be there afterwards.
    let options = PostgresOptions { durable: true, ..PostgresOptions::default() };
    let server = Postgres::start(options).await.unwrap();
    let database_url = server.create_database("crashing").await.unwrap();
    let pool = connect(&database_url).await;
    (server, Rig { database_url, pool, ..Rig::new().await })
}

async fn connect(database_url: &str) -> sqlx::PgPool {
    PgPoolOptions::new().max_connections(3).connect(database_url).await.unwrap()
}
