//! The parts themselves: what they start they stop, and what they promise they do.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::killpg;
use reqwest::{Client, StatusCode};
use sqlx::{Connection, Executor, PgConnection};
use support::azurite::{Azurite, AzuriteOptions};
use support::blob::Blobs;
use support::child::Launch;
use support::origin::picture::picture;
use support::origin::{Origin, OriginOptions};
use support::postgres::{Postgres, PostgresOptions};
use support::workdir::WorkDir;

fn client() -> Client {
    let none = reqwest::redirect::Policy::none();
    Client::builder().no_proxy().redirect(none).timeout(Duration::from_secs(5)).build().unwrap()
}

#[tokio::test]
async fn a_stopped_child_takes_its_own_children_with_it() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "sleep 600 & sleep 600"]);
    let child = Launch::new("shell").start(shell).unwrap();
    let group = child.pid();
    assert_eq!(killpg(group, None), Ok(()));
    child.stop().await.unwrap();
    assert_eq!(killpg(group, None), Err(Errno::ESRCH));
}

#[tokio::test]
async fn a_child_that_ended_is_reported_with_its_last_words() {
    let directory = WorkDir::create("words").unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo out of luck >&2; exit 3"]);
    let mut child = Launch::new("shell").log(directory.join("log")).start(shell).unwrap();
    child.wait().await.unwrap();
    let message = child.check().unwrap_err().to_string();
    assert!(message.contains("exit status: 3") && message.contains("out of luck"), "{message}");
}

#[test]
fn a_directory_whose_owner_is_gone_is_swept() {
    let mine = WorkDir::create("sweep").unwrap();
    let orphan = mine.path().with_file_name("pixcrawler-parts-orphan-0-0");
    fs::create_dir_all(&orphan).unwrap();
    fs::write(orphan.with_extension("lock"), "").unwrap();
    drop(WorkDir::create("sweep").unwrap());
    assert!(!orphan.exists() && !orphan.with_extension("lock").exists());
    assert!(mine.path().exists());
}

#[tokio::test]
async fn a_private_server_copies_databases_and_leaves_nothing() {
    let postgres = Postgres::start(PostgresOptions::default()).await.unwrap();
    let template = postgres.create_database("template_of_mine").await.unwrap();
    let mut connection = PgConnection::connect(&template).await.unwrap();
    connection.execute("create table fact (n int); insert into fact values (42)").await.unwrap();
    connection.close().await.unwrap();
    let copy = postgres.create_database_from("template_of_mine", "copy").await.unwrap();
    let mut connection = PgConnection::connect(&copy).await.unwrap();
    let n: i32 = sqlx::query_scalar("select n from fact").fetch_one(&mut connection).await.unwrap();
    assert_eq!(n, 42);
    let data: String =
        sqlx::query_scalar("show data_directory").fetch_one(&mut connection).await.unwrap();
    postgres.drop_database("copy").await.unwrap();
    assert!(!postgres.has_database("copy").await.unwrap());
    assert!(postgres.create_database("no\"good").await.is_err());
    postgres.stop().await.unwrap();
    assert!(!fs::exists(&data).unwrap());
    assert!(PgConnection::connect(&template).await.is_err());
}

#[tokio::test]
async fn an_emulator_answers_signed_requests_and_stops() {
    let azurite = Azurite::start(AzuriteOptions::default()).await.unwrap();
    let blobs = Blobs::new(&azurite.connection_string()).unwrap();
    // The signature is accepted, the container is not there.
    let error = blobs.list("no-such-container", "").await.unwrap_err().to_string();
    assert!(error.contains("ContainerNotFound"), "{error}");
    let [blob, ..] = azurite.ports();
    azurite.stop().await.unwrap();
    assert!(client().get(format!("http://127.0.0.1:{blob}/")).send().await.is_err());
}

#[tokio::test]
async fn an_origin_serves_pictures_and_counts() {
    let origin = Origin::start(OriginOptions::default()).unwrap();
    let get = async |path: &str| client().get(origin.url(path)).send().await.unwrap();
    let body = async |path: &str| get(path).await.bytes().await.unwrap();
    assert_eq!(body("/img/5").await, picture(5).bytes);
    assert_eq!(body("/same/3/a").await, body("/same/3/b").await);
    assert_ne!(body("/same/3/a").await, body("/same/4/a").await);
    assert_eq!(get("/noai/1").await.headers()["x-robots-tag"], "noai");
    assert_eq!(get("/status/410").await.status(), StatusCode::GONE);
    assert_eq!(get("/loop").await.headers()["location"], "/loop");
    assert!(body("/img/0?kb=180").await.len() >= 180 * 1024);
    let bitmap = get("/big/1?mb=2&cl=0").await;
    assert_eq!(bitmap.content_length(), None);
    assert_eq!(bitmap.bytes().await.unwrap().len(), (2 << 20) + 54);
    assert_eq!(origin.requests("/same/3/a"), 2);
    assert_eq!(origin.total(), 10);
    assert_eq!(origin.peak(), 1);
}

#[tokio::test]
async fn an_origin_fails_as_often_as_it_should() {
    let origin = Origin::start(OriginOptions::default()).unwrap();
    let statuses = async |path: &str| {
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(client().get(origin.url(path)).send().await.unwrap().status().as_u16());
        }
        statuses
    };
    assert_eq!(statuses("/flaky/1").await, [500, 500, 200]);
    assert_eq!(statuses("/429/1").await, [429, 200, 200]);
    assert_eq!(statuses("/retry-after/Wed%2C%2021?times=2").await, [503, 503, 200]);
    assert_eq!(statuses("/404/1").await, [404, 404, 404]);
}

#[tokio::test]
async fn an_origin_breaks_off_drips_and_hangs() {
    let origin = Origin::start(OriginOptions::default()).unwrap();
    assert!(client().get(origin.url("/short/1")).send().await.unwrap().bytes().await.is_err());
    let whole =
        client().get(origin.url("/wrongtype/0")).send().await.unwrap().bytes().await.unwrap();
    let cut = client().get(origin.url("/cut/0")).send().await.unwrap().bytes().await.unwrap();
    assert!(cut.len() < whole.len());
    let start = Instant::now();
    let hang = client().get(origin.url("/hang")).timeout(Duration::from_millis(300)).send().await;
    assert!(
        hang.is_err_and(|error| error.is_timeout()) && start.elapsed() < Duration::from_secs(2)
    );
    let mut drip = client().get(origin.url("/drip/1")).send().await.unwrap();
    assert_eq!(drip.chunk().await.unwrap().unwrap().len(), 1);
    let mut huge = client().get(origin.url("/huge")).send().await.unwrap();
    assert_eq!(huge.content_length(), Some(20_000_000_000));
    assert!(huge.chunk().await.unwrap().is_some());
    origin.set_rate(100_000);
    let start = Instant::now();
    client().get(origin.url("/img/1")).send().await.unwrap().bytes().await.unwrap();
    assert!(start.elapsed() > Duration::from_millis(350), "{:?}", start.elapsed());
}
