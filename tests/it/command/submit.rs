//! What is registered stays as it is, however often and however differently it is submitted.

use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use support::{programs::Output, rig::Rig};

fn urls(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("http://a/{i}")).collect()
}

fn submit(rig: &Rig, list: &Path, options: &[&str]) -> Output {
    let list = list.to_str().unwrap();
    rig.chunkctl(&[&["submit", "--json", "--job-id", "7", "--urls", list], options].concat())
}

/// Submits side by side. Whoever registers first keeps the others waiting for a second, longer than
/// a call waits for a lock.
async fn at_once(rig: &Rig, list: &Path, options: &[&[&str]]) -> Vec<Output> {
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    rig.execute(
        "create function slow() returns trigger language plpgsql as $$ begin
            perform pg_sleep(1); return null; end $$",
    )
    .await;
    rig.execute(
        "create trigger slow after insert on chunk_handler.job for each row
        execute function slow()",
    )
    .await;
    std::thread::scope(|scope| {
        let running: Vec<_> =
            options.iter().map(|options| scope.spawn(|| submit(rig, list, options))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The URLs of every registered chunk, in order.
async fn registered(rig: &Rig) -> Vec<String> {
    let names = "select message::jsonb #>> '{source,blob}' from chunk_handler.chunk
        where job_id = 7 order by chunk_index";
    let names: Vec<String> = sqlx::query_scalar(names).fetch_all(&rig.pool).await.unwrap();
    let mut urls = Vec::new();
    for name in names {
        let list = rig.blobs.read("chunk-sources", &name).await.unwrap();
        for line in String::from_utf8_lossy(&list).lines() {
            let item: Value = serde_json::from_str(line).unwrap();
            urls.push(item["url"].as_str().unwrap().to_owned());
        }
    }
    urls
}

/// Two submits of one file at the same time: both are told the same, and one is the first.
#[tokio::test(flavor = "multi_thread")]
async fn submits_of_one_file_at_once_give_one_answer() {
    let rig = Rig::new().await;
    let list = rig.list("a.txt", &urls(6));
    let options = ["--chunk-size", "2"];
    let answers = at_once(&rig, &list, &[&options, &options, &options]).await;
    let mut n_new = 0;
    for answer in &answers {
        assert_eq!(answer.code, Some(0), "{answer:?}");
        let job = answer.json();
        assert_eq!((&job["chunks"], &job["images"]), (&3.into(), &6.into()));
        n_new += usize::from(job["is_new"] == true);
    }
    assert_eq!(n_new, 1, "{answers:?}");
    assert_eq!(registered(&rig).await, urls(6));
}

/// Two submits with different options at the same time: one is registered with all its URLs, the other
/// is refused.
#[tokio::test(flavor = "multi_thread")]
async fn submits_with_other_options_at_once_lose_no_url() {
    let rig = Rig::new().await;
    let list = rig.list("a.txt", &urls(24));
    let sizes: [&[&str]; 2] = [&["--chunk-size", "12"], &["--chunk-size", "4"]];
    let answers = at_once(&rig, &list, &sizes).await;
    let (done, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.code == Some(0));
    assert_eq!((done.len(), refused.len()), (1, 1), "{answers:?}");
    assert!(refused[0].stderr.contains("--chunk-size"), "{}", refused[0].stderr);
    assert_eq!(registered(&rig).await, urls(24));
}

/// A known job with another option: refused with the difference, and nothing changes. The same again
/// shows the numbers of the job.
#[tokio::test(flavor = "multi_thread")]
async fn another_option_for_a_known_job_is_refused_by_name() {
    let rig = Rig::new().await;
    let list = rig.list("a.txt", &urls(5));
    assert_eq!(submit(&rig, &list, &["--chunk-size", "2"]).json()["is_new"], true);
    for (list, size, option, difference) in [
        (&list, "3", ["--priority", "5"], "--chunk-size 2, not 3\""),
        (&list, "2", ["--priority", "9"], "--priority 5, not 9\""),
        (&list, "2", ["--label", "cat"], "--label none, not cat\""),
        (&list, "2", ["--level", "slow"], "--level medium, not slow\""),
        (&list, "2", ["--text", "label"], "--text none, not label\""),
        (&list, "2", ["--class", "--priority=5"], "--class off, not on\""),
    ] {
        let refused = submit(&rig, list, &[&["--chunk-size", size], &option[..]].concat());
        assert_eq!(refused.code, Some(1), "{option:?}: {refused:?}");
        assert!(refused.stderr.contains(difference), "{}", refused.stderr);
    }
    let again = submit(&rig, &list, &["--chunk-size", "2"]).json();
    assert_eq!((&again["chunks"], &again["is_new"]), (&3.into(), &false.into()));
    assert_eq!(registered(&rig).await, urls(5));
    assert_eq!(rig.blobs.list("chunk-sources", "job_7/").await.unwrap().len(), 3);
}

/// Case 323: what a message may ask of images are options, kept with the job, and named where they differ.
#[tokio::test(flavor = "multi_thread")]
async fn the_checks_of_a_message_are_options() {
    let rig = Rig::new().await;
    let list = rig.list("a.txt", &urls(5));
    let size = ["--max-file-mb", "0.5", "--min-size", "200x100"];
    let shape = ["--formats", "webp,jpg,png", "--max-pixels", "4000000", "--max-aspect-ratio", "3"];
    let kept = [
        "--mode",
        "report-only",
        "--level",
        "fast",
        "--extension",
        "original",
        "--robots",
        "respect",
    ];
    let options = [&size[..], &shape, &kept].concat();
    assert_eq!(submit(&rig, &list, &options).json()["is_new"], true);
    let message = "select message::jsonb from chunk_handler.chunk where job_id = 7";
    let message: Value = sqlx::query_scalar(message).fetch_one(&rig.pool).await.unwrap();
    let validation = serde_json::json!({"level": "fast", "mode": "report_only", "min_width": 200,
        "min_height": 100, "max_file_size_mb": 0.5, "formats": ["jpeg", "png", "webp"],
        "max_pixels": 4_000_000, "max_aspect_ratio": 3.0});
    assert_eq!(
        (&message["validation"], &message["output"]["extension"], &message["robots"]),
        (&validation, &"original".into(), &"respect".into())
    );
    let in_another_order =
        options.iter().map(|o| if *o == "webp,jpg,png" { "png,jpeg,webp" } else { o });
    let in_another_order: Vec<&str> = in_another_order.collect();
    assert_eq!(submit(&rig, &list, &in_another_order).json()["is_new"], false);
    let refused = submit(&rig, &list, &[]);
    assert_eq!(refused.code, Some(1));
    for difference in [
        "--level fast, not medium",
        "--mode report-only, not lenient",
        "--min-size 200x100, not none",
        "--max-file-mb 0.5, not none",
        "--formats jpeg,png,webp, not none",
        "--max-pixels 4000000, not none",
        "--max-aspect-ratio 3, not none",
        "--extension original, not jpg",
        "--robots respect, not none",
    ] {
        assert!(refused.stderr.contains(difference), "{difference}: {}", refused.stderr);
    }
    // As an earlier release kept it.
    rig.execute(
        "update chunk_handler.job set submitted = submitted
            - '{mode,min_width,min_height,max_file_size_mb,formats,max_pixels,max_aspect_ratio}'::text[]
            - '{extension,robots}'::text[]",
    )
    .await;
    assert_eq!(submit(&rig, &list, &["--level", "fast"]).json()["is_new"], false);
    let bad: [(&[&str], i32); 9] = [
        (&["--max-aspect-ratio", "0.9"], 2),
        (&["--max-aspect-ratio", "NaN"], 2),
        (&["--max-aspect-ratio", "inf"], 2),
        (&["--max-file-mb", "0"], 2),
        (&["--max-file-mb", "0.0004"], 1),
        (&["--min-size", "200", "--max-pixels", "39999"], 1),
        (&["--formats", "avif"], 2),
        (&["--min-size", "200x"], 2),
        (&["--max-pixels", "0"], 2),
    ];
    for (option, code) in bad {
        let refused = submit(&rig, &list, option);
        assert_eq!(refused.code, Some(code), "{option:?} {}", refused.stderr);
        assert!(code == 1 || refused.stderr.contains(option[0]), "{option:?} {}", refused.stderr);
    }
}

/// The same bytes under another name may be read otherwise: that is another job.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_read_otherwise_is_refused() {
    let rig = Rig::new().await;
    let list = rig.list("a.csv", &["url".to_owned(), "http://a/0".to_owned()]);
    assert_eq!(submit(&rig, &list, &[]).json()["is_new"], true);
    let renamed: PathBuf = rig.temp.path().join("a.tsv");
    std::fs::copy(&list, &renamed).unwrap();
    let refused = submit(&rig, &renamed, &[]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("a file read as csv, not tsv\""), "{}", refused.stderr);
}

/// A job that an earlier release registered kept no options: its number of chunks is compared.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_an_earlier_release_is_compared_by_its_chunks() {
    let rig = Rig::new().await;
    let list = rig.list("a.txt", &urls(5));
    assert_eq!(submit(&rig, &list, &["--chunk-size", "2"]).code, Some(0));
    rig.execute("update chunk_handler.job set submitted = null").await;
    assert_eq!(submit(&rig, &list, &["--chunk-size", "2"]).json()["chunks"], 3);
    let refused = submit(&rig, &list, &["--chunk-size", "1"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("3 chunks, not 5"), "{}", refused.stderr);
}

/// A submit that an earlier one left half done finds its own lists, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn lists_that_are_there_already_are_taken() {
    let rig = Rig::new().await;
    let list = rig.list("a.txt", &urls(5));
    assert_eq!(submit(&rig, &list, &[]).code, Some(0));
    rig.execute("delete from chunk_handler.chunk").await;
    rig.execute("delete from chunk_handler.job").await;
    assert_eq!(submit(&rig, &list, &[]).json()["is_new"], true);
    assert_eq!(registered(&rig).await, urls(5));
}

/// Somebody holds a lock on the schema: the submit says so and ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_submit_does_not_wait_for_a_migration_for_ever() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let list = rig.list("a.txt", &urls(1));
    let mut holder = rig.pool.begin().await.unwrap();
    let lock = "lock table chunk_handler._sqlx_migrations in access exclusive mode";
    sqlx::query(lock).execute(&mut *holder).await.unwrap();
    let submit = std::thread::scope(|scope| {
        let submit = scope.spawn(|| submit(&rig, &list, &[]));
        let end = Instant::now() + Duration::from_secs(60);
        while !submit.is_finished() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
        }
        let gave_up = submit.is_finished();
        let release = holder.rollback();
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(release))
            .unwrap();
        gave_up.then(|| submit.join().unwrap())
    });
    let refused = submit.expect("the submit gives up while the lock is held");
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("nothing was submitted"), "{}", refused.stderr);
}
