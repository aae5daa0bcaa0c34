//! A job grows by another list: after its last chunk, under the same dedupe, once for each list.

use super::control::{ENDED, control, dataset, holds, say};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use support::{
    programs::Output,
    rig::{Handler, Rig, wake_up},
};

/// Adds a list to job 1.
pub(super) fn extend(rig: &Rig, list: &Path, options: &[&str]) -> Output {
    let list = list.to_str().unwrap();
    let fixed = ["submit", "--json", "--job-id", "1", "--extend", "--urls", list];
    rig.chunkctl(&[&fixed, options].concat())
}

/// What an extension said that was taken.
pub(super) fn extended(rig: &Rig, list: &Path, options: &[&str]) -> Value {
    let output = extend(rig, list, options);
    assert_eq!(output.code, Some(0), "{output:?}");
    output.json()
}

/// Wakes chunks of job 1, and waits for its end.
pub(super) async fn runs(rig: &Rig, handler: &Handler, chunks: impl IntoIterator<Item = i32>) {
    for index in chunks {
        say(handler, &wake_up(1, index)).await;
    }
    rig.until(ENDED).await;
}

/// All that rows say of jobs and their chunks, but for who did it when.
pub(super) async fn rows(rig: &Rig) -> String {
    let sql = "select concat(
            (select string_agg(concat_ws(' ', job_id, total_chunks, generation, ended_as), e'\\n'
                order by job_id) from chunk_handler.job), e'\\n',
            (select string_agg(concat_ws(' ', job_id, chunk_index, state, priority, message), e'\\n'
                order by job_id, chunk_index) from chunk_handler.chunk), e'\\n',
            (select string_agg(concat_ws(' ', job_id, source_sha256, first_chunk, chunks, images,
                options), e'\\n' order by first_chunk) from chunk_handler.extension))";
    rig.value(sql).await
}

/// I1 I3: further chunks of a job that has ended: it is open until they are over, its documents say all,
/// and a picture that it has is not kept again. The same list again changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_grows_once_by_each_list() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let urls = rig.pictures(5);
    rig.submit(1, &urls[..3], 2);
    runs(&rig, &handler, 0..2).await;
    let list = rig.list("more.txt", &urls[2..]);
    let refused = rig.chunkctl(&["submit", "--job-id", "1", "--urls", list.to_str().unwrap()]);
    assert!(refused.code == Some(1) && refused.stderr.contains("--extend"), "{refused:?}");

    let said = extended(&rig, &list, &[]);
    let expected = json!({"first_chunk": 2, "chunks": 2, "images": 3, "images_asked_again": 0,
        "left_out": 0, "is_new": true});
    let of = |said: &Value, name: &str| said[name].clone();
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(of(&said, name), *value, "{name}: {said}");
    }
    let open = "select status || ' ' || total_chunks from chunk_handler.job_progress";
    assert_eq!(rig.value::<String>(open).await, "running 4");
    let range = "select message::jsonb -> 'image_range' from chunk_handler.chunk
        where chunk_index = 3";
    assert_eq!(rig.value::<Value>(range).await, json!({"start": 5, "end": 5}));
    runs(&rig, &handler, 2..4).await;
    let totals = &dataset(&rig).await["totals"];
    let of = |name: &str| totals[name].as_i64().unwrap();
    let numbers = ["chunks_completed", "images_total", "images_valid", "duplicates_removed"];
    assert_eq!(numbers.map(of), [4, 6, 5, 1], "{totals}");
    holds(&rig).await;

    let before = rows(&rig).await;
    let again = extended(&rig, &list, &[]);
    assert_eq!((&again["is_new"], &again["images"]), (&json!(false), &json!(3)), "{again}");
    let own = extended(&rig, &rig.temp.path().join("1.txt"), &[]);
    assert_eq!((&own["is_new"], &own["images"]), (&json!(false), &json!(3)), "{own}");
    for (option, difference) in [
        (["--chunk-size", "1"], "--chunk-size 2, not 1"),
        (["--priority", "9"], "--priority 5, not 9"),
        (["--label", "cat"], "--label none, not cat"),
    ] {
        let refused = extend(&rig, &list, &option);
        assert!(refused.code == Some(1) && refused.stderr.contains(difference), "{refused:?}");
    }
    let first = rig.chunkctl(&[
        "submit",
        "--job-id",
        "1",
        "--chunk-size",
        "2",
        "--urls",
        rig.temp.path().join("1.txt").to_str().unwrap(),
    ]);
    assert!(first.code == Some(0) && first.stdout.contains("3 images in 2 chunks"), "{first:?}");
    assert_eq!(rows(&rig).await, before);
}

/// An extension is checked as the job is, whatever it is submitted with.
#[tokio::test(flavor = "multi_thread")]
async fn an_extension_is_checked_as_its_job_is() {
    let rig = Rig::new().await;
    let list = rig.list("1.txt", &rig.pictures(1));
    let fixed = ["submit", "--job-id", "1", "--priority", "8", "--urls", list.to_str().unwrap()];
    let wanted = "--level slow --formats png,jpeg --text caption --class --extension original --robots respect";
    let wanted: Vec<&str> = wanted.split(' ').collect();
    assert_eq!(rig.chunkctl(&[&fixed[..], &wanted].concat()).code, Some(0));
    let more = rig.list("more.txt", &rig.pictures(2));
    for option in [
        "--level slow",
        "--mode strict",
        "--min-size 200",
        "--max-file-mb 1",
        "--formats png,jpeg",
        "--max-pixels 1000",
        "--max-aspect-ratio 3",
        "--extension jpg",
        "--text caption",
        "--class",
        "--robots ignore",
    ] {
        let refused = extend(&rig, &more, &option.split(' ').collect::<Vec<_>>());
        let name = option.split(' ').next().unwrap();
        assert!(refused.code == Some(2) && refused.stderr.contains(name), "{option}: {refused:?}");
    }
    let otherwise = extend(&rig, &list, &["--format", "csv", "--columns", "url"]);
    let words = "with this list, read as text, not csv with --columns url";
    assert!(otherwise.code == Some(1) && otherwise.stderr.contains(words), "{otherwise:?}");
    let said = extended(&rig, &more, &[]);
    assert_eq!(said["not_in_list"], json!(["caption", "class"]), "what the job's shards hold");
    let alike =
        "select string_agg(format('%s %s %s', priority, message::jsonb #>> '{validation,level}',
            message::jsonb #>> '{output,text}'), ', ')
        from chunk_handler.chunk
        where (message::jsonb -> 'validation', message::jsonb -> 'output') = (select
            message::jsonb -> 'validation', message::jsonb -> 'output'
            from chunk_handler.chunk where chunk_index = 0)";
    assert_eq!(rig.value::<String>(alike).await, "8 slow caption, 8 slow caption");
}

/// Rows whose URLs the job has, in whatever chunk, are left out.
#[tokio::test(flavor = "multi_thread")]
async fn only_new_urls_are_added_when_that_is_asked_for() {
    let rig = Rig::new().await;
    let urls = rig.pictures(6);
    rig.submit(1, &urls[..3], 2);
    let said = extended(&rig, &rig.list("a.txt", &urls[2..5]), &["--new-only"]);
    assert_eq!((&said["images"], &said["left_out"]), (&json!(2), &json!(1)), "{said}");
    // Several files are one list.
    let rest = rig.list("rest.csv", &["url".to_owned(), urls[5].clone()]);
    let options = ["--new-only", "--urls", rest.to_str().unwrap()];
    let said = extended(&rig, &rig.list("b.txt", &urls[..5]), &options);
    assert_eq!((&said["images"], &said["left_out"]), (&json!(1), &json!(5)), "{said}");
    let before = rows(&rig).await;
    let said = extended(&rig, &rig.list("c.txt", &urls[..4]), &["--new-only"]);
    assert_eq!((&said["first_chunk"], &said["left_out"]), (&Value::Null, &json!(4)), "{said}");
    assert_eq!(rows(&rig).await, before);
    let refused = extend(&rig, &rig.list("b.txt", &urls[..5]), &options[1..]);
    assert!(refused.stderr.contains("--new-only true, not false"), "{refused:?}");
    // What is read otherwise is another list.
    let table = rig.list("d.csv", &["link,url".to_owned(), "http://a/1,http://a/2".to_owned()]);
    extended(&rig, &table, &[]);
    let refused = extend(&rig, &table, &["--url-column", "link"]);
    assert!(refused.stderr.contains("csv, not csv with --url-column link"), "{refused:?}");
}

/// A job that was cancelled when nothing of it was left to cancel goes on when it is retried.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_was_cancelled_too_late_can_grow_again() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.submit(1, &rig.pictures(1), 1);
    runs(&rig, &handler, 0..1).await;
    let cancel =
        "update chunk_handler.job set cancelled_at = clock_timestamp(), ended_as = 'cancelled'";
    rig.execute(cancel).await;
    let more = rig.list("more.txt", &rig.pictures(2)[1..]);
    assert!(extend(&rig, &more, &[]).stderr.contains("chunkctl control retry --job-id 1"));
    control(&rig, &["retry", "--job-id", "1"]);
    assert_eq!(extended(&rig, &more, &[])["first_chunk"], 1);
    runs(&rig, &handler, 1..2).await;
    let end = "select ended_as from chunk_handler.job";
    assert_eq!(rig.value::<String>(end).await, "completed");
}

/// Case 364: a job that takes no more, or of which it is not known where it ends, says so and stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_takes_no_more_is_not_extended() {
    let rig = Rig::new().await;
    let list = rig.list("more.txt", &rig.pictures(2));
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let why = |rig: &Rig| {
        let output = extend(rig, &list, &[]);
        assert_eq!(output.code, Some(1), "{output:?}");
        output.stderr
    };
    assert!(why(&rig).contains(r#"leave out --extend","message":"job 1 is unknown""#));
    rig.execute("insert into chunk_handler.job (job_id) values (1)").await;
    assert!(why(&rig).contains("made of messages, and none said how many chunks it has"));
    rig.execute("update chunk_handler.job set total_chunks = 100000").await;
    assert!(why(&rig).contains("more than 100000 chunks"));
    rig.execute("update chunk_handler.job set total_chunks = 3").await;
    control(&rig, &["close", "--job-id", "1"]);
    assert!(why(&rig).contains("job 1 was closed"));
    rig.execute("update chunk_handler.job set closed_at = null").await;
    control(&rig, &["cancel", "--job-id", "1"]);
    assert!(why(&rig).contains("chunkctl control retry --job-id 1"));
    let chunks = "select count(*) from chunk_handler.chunk";
    assert_eq!(rig.value::<i64>(chunks).await, 0);
    assert!(rig.blobs.list("chunk-sources", "job_1/").await.unwrap().len() <= 1);
    // Told by messages how many it has, it is one as any other.
    let opens =
        "update chunk_handler.job set cancelled_at = null, ended_at = null, ended_as = null";
    rig.execute(opens).await;
    let said = extended(&rig, &list, &["--chunk-size", "2"]);
    assert_eq!(said["first_chunk"], 3, "{said}");
}

/// I1: lists that are added at the same time come one after the other, each once.
#[tokio::test(flavor = "multi_thread")]
async fn extensions_at_once_come_one_after_the_other() {
    let rig = Rig::new().await;
    let urls = rig.pictures(9);
    rig.submit(1, &urls[..1], 2);
    rig.execute(
        "create function slow() returns trigger language plpgsql as $$ begin
            perform pg_sleep(1); return null; end $$",
    )
    .await;
    rig.execute(
        "create trigger slow after insert on chunk_handler.extension for each row
        execute function slow()",
    )
    .await;
    let lists: Vec<PathBuf> = [("a", 1..4), ("b", 4..9), ("a2", 1..4)]
        .map(|(name, part)| rig.list(name, &urls[part]))
        .into();
    let answers: Vec<Value> = std::thread::scope(|scope| {
        let options = ["--format", "txt"];
        let rig = &rig;
        let run = |list: &PathBuf| {
            let list = list.clone();
            scope.spawn(move || extended(rig, &list, &options))
        };
        let running: Vec<_> = lists.iter().map(run).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let n_new = answers.iter().filter(|answer| answer["is_new"] == true).count();
    assert_eq!(n_new, 2, "{answers:?}");
    assert_eq!(answers[0]["first_chunk"], answers[2]["first_chunk"], "{answers:?}");
    let chunks = "select string_agg(chunk_index::text, ' ' order by chunk_index) || ' of '
        || (select total_chunks from chunk_handler.job) from chunk_handler.chunk";
    assert_eq!(rig.value::<String>(chunks).await, "0 1 2 3 4 5 of 6");
    let lists =
        "select count(distinct message::jsonb #>> '{source,blob}') from chunk_handler.chunk";
    assert_eq!(rig.value::<i64>(lists).await, 6);
}

/// I3: a job that lost its hashes since its end has them again before anything of it runs; where they
/// cannot be had, it stays as it ended.
#[tokio::test(flavor = "multi_thread")]
async fn hashes_that_were_removed_are_back_before_a_job_grows() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let urls = rig.pictures(3);
    rig.submit(1, &urls[..2], 2);
    runs(&rig, &handler, [0]).await;
    let remove = async || {
        rig.execute("delete from chunk_handler.image_hash").await;
        rig.execute("update chunk_handler.job set hashes = 'gone'").await;
    };
    remove().await;
    extended(&rig, &rig.list("a.txt", &urls[1..]), &[]);
    runs(&rig, &handler, [1]).await;
    let manifest = rig.manifest(1, 1).await;
    assert_eq!(manifest["items"][0]["duplicate_of"], "00000_00001", "{manifest}");
    holds(&rig).await;
    remove().await;
    let name = "job_1/chunks/chunk_00000.manifest.json";
    rig.blobs.delete("pixcrawler-datasets", name).await.unwrap();
    let before = rows(&rig).await;
    let refused = extend(&rig, &rig.list("b.txt", &urls[2..]), &[]);
    assert!(refused.code == Some(1) && refused.stderr.contains(name), "{refused:?}");
    assert_eq!(rows(&rig).await, before);
}
