//! What `chunkctl` says of jobs: every URL, every failure, and what to type next.

use serde_json::{Value, json};
use support::rig::{Rig, wake_up};

/// A job of 147 URLs: 126 pictures, 15 that are not there, 6 whose server is broken.
async fn job_of_147(rig: &Rig) -> support::rig::Handler {
    let mut urls = rig.pictures(126);
    urls.extend((0..15).map(|n| rig.origin.url(&format!("/404/{n}"))));
    urls.extend((0..6).map(|n| rig.origin.url(&format!("/500/{n}"))));
    rig.submit(7, &urls, 200);
    let handler = rig.handler().await;
    assert_eq!(handler.deliver("one", &wake_up(7, 0)).await.0, 200);
    rig.until("select ended_at is not null from chunk_handler.job_progress").await;
    handler
}

const AGAIN: &str = "chunkctl urls --job-id 7 --transient | chunkctl submit --job-id 7 --extend --urls - \
                     --format jsonl";

/// The 21 URLs that failed and their reasons are in text and JSON, and add up with the others to all;
/// a retry, which has nothing to do, says how they run again.
#[tokio::test(flavor = "multi_thread")]
async fn every_url_of_a_job_is_accounted_for() {
    let rig = Rig::new().await;
    let _handler = job_of_147(&rig).await;
    let text = rig.chunkctl(&["status", "7"]).stdout;
    for part in [
        "147 URLs: 126 valid, 0 duplicate, 0 invalid, 21 failed",
        "    15 http_404\n",
        "     6 http_500\n",
        " images/s, ",
        AGAIN,
    ] {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
    assert_eq!(text, rig.chunkctl(&["status", "--job-id", "7"]).stdout, "the same");
    let object = rig.chunkctl(&["--json", "status", "7"]).json();
    let job = &object["jobs"][0];
    let of = |name: &str| job[name].as_i64().unwrap();
    assert_eq!((of("images_total"), of("images_failed")), (147, 21));
    let all = ["images_valid", "duplicates_removed", "images_invalid", "images_failed"];
    assert_eq!(all.into_iter().map(of).sum::<i64>(), 147);
    let account = &object["account"];
    let reasons = json!([
        {"job_id": 7, "reason": "http_404", "images": 15},
        {"job_id": 7, "reason": "http_500", "images": 6},
    ]);
    assert_eq!(account["reasons"], reasons);
    assert_eq!(account["next"][0], AGAIN);
    assert!(account["images_per_second"].as_f64().unwrap() > 0.0, "{account}");
    let retried = rig.chunkctl(&["control", "retry", "--job-id", "7"]);
    assert_eq!(retried.code, Some(0), "{retried:?}");
    assert!(
        retried.stdout.contains("21 URLs of it failed in chunks that completed"),
        "{retried:?}"
    );
    assert!(retried.stdout.contains(AGAIN), "{retried:?}");
}

/// Submitted again: what the job is, and not only that it is known; a cancelled one is refused, and says how
/// it opens.
#[tokio::test(flavor = "multi_thread")]
async fn a_known_job_says_what_it_is() {
    let rig = Rig::new().await;
    rig.submit(7, &["http://a/1".into(), "http://a/2".into()], 1);
    let submit = || {
        let list = rig.temp.path().join("7.txt");
        let list = list.to_str().unwrap().to_owned();
        ["submit", "--job-id", "7", "--chunk-size", "1", "--urls"]
            .map(str::to_owned)
            .into_iter()
            .chain([list])
            .collect::<Vec<_>>()
    };
    let say = |more: &[&str]| {
        let arguments = submit();
        let arguments: Vec<&str> =
            arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
        rig.chunkctl(&arguments)
    };
    let known = say(&[]).stdout;
    let expected = "job 7 was submitted before: 2 images in 2 chunks, level medium; it is pending, with 0 \
                    of 2 chunks over";
    assert!(known.contains(expected), "{known}");
    let object = say(&["--json"]).json();
    assert_eq!((&object["status"], &object["level"]), (&json!("pending"), &json!("medium")));
    assert_eq!(rig.chunkctl(&["control", "cancel", "--job-id", "7"]).code, Some(0));
    let cancelled = say(&[]);
    let opens =
        "is cancelled, and nothing of it runs; `chunkctl control retry --job-id 7` reopens it";
    assert!(cancelled.code == Some(1) && cancelled.stderr.contains(opens), "{cancelled:?}");
}

/// A URL for a role that may read the views of the schema, and nothing else.
async fn reader(rig: &Rig) -> String {
    let database = rig.database_url.rsplit('/').next().unwrap();
    let role = format!("reader_{database}");
    let statements = format!(
        "create role {role} login password 'reader';
        grant usage on schema chunk_handler to {role};
        do $$ declare v text; begin
            for v in select viewname from pg_views where schemaname = 'chunk_handler' loop
                execute format('grant select on chunk_handler.%I to {role}', v);
            end loop;
        end $$"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&rig.pool).await.unwrap();
    let (_, server) = rig.database_url.rsplit_once('@').unwrap();
    format!("postgres://{role}:reader@{server}")
}

/// Who may only read the views sees all, and brings and checks all; what changes something is refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_reads_the_views_runs_all_but_the_actions() {
    let rig = Rig::new().await;
    let _handler = job_of_147(&rig).await;
    let url = reader(&rig).await;
    let as_reader = |arguments: &[&str]| rig.chunkctl_with(&[("DATABASE_URL", &url)], arguments);
    let to = rig.temp.path().join("brought");
    let to = to.to_str().unwrap();
    for arguments in [
        &["status"][..],
        &["status", "7"],
        &["status", "7", "--watch"],
        &["status", "7", "--chunks"],
        &["status", "7", "--chunk-index", "0"],
        &["status", "--rejected"],
        &["urls", "--job-id", "7", "--transient"],
        &["fetch", "--job-id", "7", "--to", to],
        &["verify", "--job-id", "7"],
    ] {
        let done = as_reader(arguments);
        assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
    }
    let refused = as_reader(&["control", "pause"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("permission denied"), "{refused:?}");
}

/// A command that is none names the one that is meant; usage is exit code 2.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_people_try_names_the_one_they_mean() {
    let rig = Rig::new().await;
    for (word, meant) in [
        ("jobs", "chunkctl status"),
        ("cancel", "chunkctl control cancel"),
        ("pause", "chunkctl control pause"),
    ] {
        let refused = rig.chunkctl(&[word]);
        assert_eq!(refused.code, Some(2), "{word}");
        assert!(refused.stderr.contains(meant), "{}", refused.stderr);
    }
    for usage in [
        &["status", "--chunks"][..],
        &["status", "7", "--job-id", "7"],
        &["status", "7", "--state", "failed"],
        &["control", "retry", "--job-id", "7", "--error-code", "gremlins"],
    ] {
        assert_eq!(rig.chunkctl(usage).code, Some(2), "{usage:?}");
    }
}

/// Failed chunks are told once for each error code, and those of one code run again without the others.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_failed_alike_are_told_and_retried_together() {
    let rig = Rig::new().await;
    let urls: Vec<String> = (0..5).map(|n| format!("http://a/{n}")).collect();
    rig.submit(1, &urls, 1);
    rig.submit(2, &urls[..1], 1);
    rig.execute(
        "update chunk_handler.chunk set state = 'failed', error_message = 'm', error_code =
            case when chunk_index < 3 then 'deadline_overrun' else 'panic' end where job_id = 1",
    )
    .await;
    let text = rig.chunkctl(&["status", "1"]).stdout;
    let told = "3 chunks of job 1 failed: deadline_overrun, the first is 1/0";
    assert!(text.contains(told), "{text}");
    assert_eq!(text.matches("PIXCRAWLER_CHUNK_DEADLINE_SECONDS").count(), 1, "{text}");
    assert!(text.contains("`chunkctl control retry --job-id 1 --error-code deadline_overrun`"));
    let chunks = rig.chunkctl(&["status", "1", "--chunks", "--state", "failed", "--limit", "2"]);
    assert!(chunks.stdout.ends_with("2 of 5 chunks shown\n"), "{}", chunks.stdout);
    let jobs = rig.chunkctl(&["status", "--limit", "1"]).stdout;
    assert!(jobs.contains("1 of 2 jobs shown, the newest"), "{jobs}");
    let retry = ["control", "retry", "--job-id", "1", "--error-code", "deadline_overrun"];
    let retried = rig.chunkctl(&retry);
    assert!(retried.stdout.contains("3 failed chunks of job 1 run again"), "{retried:?}");
    let left =
        "select string_agg(distinct error_code, ' ') || count(*) from chunk_handler.chunk_status
        where status = 'failed'";
    assert_eq!(rig.value::<String>(left).await, "panic2");
    let none = rig.chunkctl(&retry);
    assert_eq!(none.code, Some(1), "{none:?}");
    let object = rig.chunkctl(&["--json", "status", "1"]).json();
    let failures: &Value = &object["failures"];
    assert_eq!((&failures[0]["error_code"], &failures[0]["chunks"]), (&json!("panic"), &json!(2)));
}

/// Without a terminal a watch says lines, and with --json an object only when something changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_without_a_terminal_says_what_changed() {
    let rig = Rig::new().await;
    rig.submit(1, &rig.pictures(2), 2);
    assert_eq!(rig.chunkctl(&["control", "pause"]).code, Some(0));
    let watch = |json: bool| {
        let arguments: &[&str] = if json { &["--json"] } else { &[] };
        rig.chunkctl(&[&["status", "1", "--watch"], arguments].concat())
    };
    let (text, objects) = std::thread::scope(|scope| {
        let watches = [scope.spawn(|| watch(false)), scope.spawn(|| watch(true))];
        // Both have read the job as it waits; nothing changes meanwhile.
        std::thread::sleep(std::time::Duration::from_secs(3));
        assert_eq!(rig.chunkctl(&["control", "cancel", "--job-id", "1"]).code, Some(0));
        let [text, objects] = watches.map(|watch| watch.join().unwrap());
        (text, objects)
    });
    assert!(text.stderr.contains("job 1: pending, 0 of 1 chunk, paused since "), "{text:?}");
    let objects: Vec<Value> =
        objects.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let states: Vec<_> = objects.iter().map(|object| object["status"].as_str().unwrap()).collect();
    assert_eq!((states.first(), states.last()), (Some(&"pending"), Some(&"cancelled")));
    assert!(objects.len() <= 3, "{states:?}");
    assert!(objects[0]["paused_since"].is_string() && objects[0]["items_done"] == 0);
}
