//! A Postgres server that crashes under a running job.

use functions_host::rigged;
use sqlx::postgres::PgPoolOptions;
use std::time::Duration;
use support::{
    job::{self, COMPLETED},
    postgres::{Postgres, PostgresOptions},
    rig::Rig,
};

/// I1 I2 I3 I5 I8: the server crashes while chunks run, twice.
pub async fn a_crash_of_postgres_loses_and_charges_nothing() {
    // Durable: a commit that was answered must be there afterwards.
    let options = PostgresOptions { durable: true, ..PostgresOptions::default() };
    let server = Postgres::start(options).await.unwrap();
    let mut rig = Rig::new().await;
    rig.database_url = server.create_database("crashing").await.unwrap();
    rig.pool = PgPoolOptions::new().max_connections(3).connect(&rig.database_url).await.unwrap();
    let rig = rig;
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
