//! What each command of `chunkctl` says without a terminal, and the keys of what it says to programs.

use serde_json::Value;
use support::{
    programs::Output,
    rig::{Rig, wake_up},
};

/// A job of three pictures in two chunks that has ended.
async fn ended_job(rig: &Rig) {
    rig.submit(1, &rig.pictures(3), 2);
    let handler = rig.handler().await;
    for index in 0..2 {
        assert_eq!(handler.deliver(&format!("w{index}"), &wake_up(1, index)).await.0, 200);
    }
    rig.until("select status = 'completed' from chunk_handler.job_progress").await;
    rig.until("select ended_at is not null from chunk_handler.job").await;
}

/// Runs it as text, and checks that nothing but text came.
fn text(rig: &Rig, arguments: &[&str]) -> String {
    let output = rig.chunkctl(arguments);
    assert_eq!((output.code, &*output.stderr), (Some(0), ""), "{arguments:?}: {output:?}");
    assert!(!output.stdout.contains('\u{1b}'), "no terminal, no colour: {output:?}");
    output.stdout
}

fn keys(document: &Value) -> String {
    let keys = document.as_object().unwrap_or_else(|| panic!("no document: {document}")).keys();
    keys.cloned().collect::<Vec<_>>().join(" ")
}

/// The keys of the document that a command prints.
fn document(rig: &Rig, arguments: &[&str]) -> (String, Value) {
    let output = rig.chunkctl(&[&["--json"], arguments].concat());
    assert_eq!((output.code, &*output.stderr), (Some(0), ""), "{arguments:?}: {output:?}");
    assert_eq!(output.stdout.lines().count(), 1, "{arguments:?}: {output:?}");
    let document = output.json();
    (keys(&document), document)
}

/// The error that a command ends with: the last line of stderr, and nothing on stdout.
fn error(output: &Output) -> Value {
    assert_eq!(output.stdout, "", "{output:?}");
    let mut document: Value = serde_json::from_str(output.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(keys(&document), "error");
    assert_eq!(keys(&document["error"]), "code hint message");
    document["error"].take()
}

/// Each command's text, to the letter where it is its own.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_says_its_result_in_text() {
    let rig = Rig::new().await;
    let said = text(&rig, &["migrate"]);
    assert_eq!(said, "the schema is up to date; queues and containers exist\n");
    ended_job(&rig).await;
    let list = rig.list("one.txt", &["http://127.0.0.1:1/a".into()]).display().to_string();
    let submit = ["submit", "--job-id", "2", "--urls", &list];
    assert_eq!(text(&rig, &submit), "job 2 submitted: 1 image in 1 chunk\n");
    let again = text(&rig, &submit);
    assert!(again.starts_with("job 2 was submitted before: 1 image in 1 chunk, level "), "{again}");
    assert!(text(&rig, &["status"]).contains("job 1: completed 100%"));
    let to = rig.temp.path().join("cats").display().to_string();
    let fetched = text(&rig, &["fetch", "--job-id", "1", "--to", &to]);
    assert!(fetched.starts_with("job 1: 2 chunks, "), "{fetched}");
    assert!(fetched.ends_with(", 0 there before\n"), "{fetched}");
    let verified = text(&rig, &["verify", "--job-id", "1"]);
    assert!(verified.starts_with("job 1 is whole: 2 chunks with 3 images in "), "{verified}");
    assert_eq!(text(&rig, &["verify", "--from", &to]), verified);
    let urls = text(&rig, &["urls", "--job-id", "1", "--format", "txt"]);
    assert_eq!(urls.lines().collect::<Vec<_>>(), rig.pictures(3));
    let doctor = text(&rig, &["doctor"]);
    for part in [
        "profile azure_functions\n",
        "\nsettings\n",
        "\nlimits\n",
        "\nchecks\n  ok      Postgres: ",
    ] {
        assert!(doctor.contains(part), "{part}: {doctor}");
    }
    let paused = text(&rig, &["control", "pause", "--minutes", "30"]);
    let until = paused.strip_prefix("intake is paused until ").unwrap();
    assert!(
        until.contains("Z (in ") && until.ends_with(" min); running chunks go on\n"),
        "{until}"
    );
    for (arguments, said) in [
        (&["resume"][..], "intake is open; "),
        (&["sweep"], "every process sweeps its temp space within seconds"),
        (&["cancel", "--job-id", "2"], "job 2 cancelled"),
        (&["cancel", "--job-id", "2"], "job 2 was over already"),
        (&["close", "--job-id", "2"], "job 2 takes no more chunks"),
        (&["retry", "--job-id", "2"], "1 failed chunk"),
        (&["retry", "--job-id", "1", "--chunk-index", "1", "--again"], "chunk 1/1 runs again"),
    ] {
        let full = text(&rig, &[&["control"], arguments].concat());
        assert!(full.starts_with(said), "{arguments:?}: {full}");
    }
    let completions = text(&rig, &["completions", "bash"]);
    assert!(completions.contains("complete -F _chunkctl"), "{completions}");
    let man = rig.temp.path().join("man").display().to_string();
    let written = text(&rig, &["man", &man]);
    assert!(written.ends_with(&format!(" pages in {man}\n")), "{written}");
    let version = text(&rig, &["--version"]);
    assert!(version.starts_with("chunkctl 0.1.0 (commit ") && version.contains(", schema "));
}

/// Each command's document has the keys that doc/formats.md names, and no others.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_its_keys_in_json() {
    let rig = Rig::new().await;
    assert_eq!(document(&rig, &["migrate"]).0, "migrated schema_version");
    ended_job(&rig).await;
    let list = rig.list("one.txt", &["http://127.0.0.1:1/a".into()]).display().to_string();
    let submit = ["submit", "--job-id", "2", "--urls", &list];
    let of_submit = "chunks doubtful images is_new job_id level unusable";
    assert_eq!(document(&rig, &submit).0, of_submit);
    let more = rig.list("two.txt", &["http://127.0.0.1:1/b".into()]).display().to_string();
    let extend = ["submit", "--job-id", "2", "--extend", "--urls", &more];
    let of_extend = "chunks doubtful first_chunk images images_asked_again is_new job_id left_out of_other_jobs unusable";
    assert_eq!(document(&rig, &extend).0, of_extend);
    let to = rig.temp.path().join("cats").display().to_string();
    let of_fetch = "bytes bytes_fetched changed chunks directory failed files_fetched files_kept is_over \
        job_id leftovers status strangers total_chunks unfinished";
    assert_eq!(document(&rig, &["fetch", "--job-id", "1", "--to", &to]).0, of_fetch);
    let of_verify = "bytes chunks fault_counts faults images is_over job_id n_faults notes";
    assert_eq!(document(&rig, &["verify", "--job-id", "1"]).0, of_verify);
    assert_eq!(document(&rig, &["verify", "--from", &to]).0, of_verify);
    let (of_urls, urls) = document(&rig, &["urls", "--job-id", "1", "--format", "csv"]);
    assert_eq!((&*of_urls, urls["urls"].as_array().unwrap().len()), ("job_id urls", 3));
    let (of_doctor, doctor) = document(&rig, &["doctor"]);
    let expected = "checks chunk_temp_share_mb fleet kept materialized_chunk_mb materialized_max_chunks \
        max_chunks_by_storage own platform_quota_mb profile settings streaming_max_chunks warnings";
    assert_eq!(of_doctor, expected);
    // The handler that ran the job has announced its limits.
    let of_fleet = "chunk_size max_chunks profile temp_storage_mb";
    assert_eq!((&*keys(&doctor["fleet"]), &*keys(&doctor["own"])), (of_fleet, of_fleet));
    for (arguments, expected) in [
        (&["pause"][..], "action minutes_left paused_until"),
        (&["resume"], "action messages_sent"),
        (&["sweep"], "action"),
        (&["cancel", "--job-id", "2"], "action job_id was_over"),
        (&["close", "--job-id", "2"], "action job_id"),
        (&["retry", "--job-id", "2"], "action chunks ends_anew job_id still_failed"),
        (&["retry", "--job-id", "1"], "action chunks ends_anew job_id still_failed"),
        (
            &["retry", "--job-id", "1", "--chunk-index", "1", "--again"],
            "action chunk_index chunks ends_anew job_id still_failed with_chunks",
        ),
    ] {
        let (found, document) = document(&rig, &[&["control"], arguments].concat());
        assert_eq!((&*found, &document["action"]), (expected, &arguments[0].into()), "{document}");
        if arguments == ["pause"] {
            let until = document["paused_until"].as_str().unwrap();
            let moment = format!("select '{until}'::timestamptz > now() + interval '14 minutes'");
            let is_later = sqlx::query_scalar::<_, bool>(sqlx::AssertSqlSafe(moment));
            assert!(is_later.fetch_one(&rig.pool).await.unwrap(), "{until}");
        }
    }
    assert_eq!(document(&rig, &["completions", "fish"]).0, "script shell");
    let man = rig.temp.path().join("man").display().to_string();
    assert_eq!(document(&rig, &["man", &man]).0, "directory pages");
}

/// There is a man page for each command, and none is empty.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_its_man_page() {
    let rig = Rig::new().await;
    let man = rig.temp.path().join("man/man1");
    let (_, document) = document(&rig, &["man", man.to_str().unwrap()]);
    let mut expected: Vec<String> = document["pages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|page| page.as_str().unwrap().to_owned())
        .collect();
    let mut found: Vec<String> = std::fs::read_dir(&man)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    for page in ["chunkctl.1", "chunkctl-submit.1", "chunkctl-control-retry.1"] {
        let text = std::fs::read_to_string(man.join(page)).unwrap();
        assert!(text.contains(".TH ") && text.contains("Examples:"), "{page}: {text}");
    }
}

/// bash takes the completions without a complaint, and completes a command and an option with them.
#[tokio::test(flavor = "multi_thread")]
async fn bash_completes_commands_and_options() {
    let rig = Rig::new().await;
    std::fs::write(rig.temp.path().join("c"), text(&rig, &["completions", "bash"])).unwrap();
    let script = "set -eu; . ./c; set +eu
        try() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _chunkctl chunkctl \"${@: -1}\" \"${@: -2:1}\"; echo \"${COMPREPLY[*]}\"; }
        try chunkctl stat; try chunkctl control retry --ag";
    let variables = [("PATH", "/usr/bin:/bin")];
    let arguments = ["--norc", "-c", script];
    let output = support::programs::run("bash", &arguments, &variables, rig.temp.path());
    assert_eq!((&*output.stdout, &*output.stderr), ("status\n--again\n", ""), "{output:?}");
}

/// An error is a document on stderr, with a word that stays, and the exit code is what it was.
#[tokio::test(flavor = "multi_thread")]
async fn every_error_has_a_code_a_message_and_a_hint() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let list = rig.list("a.txt", &["http://a/1".into()]).display().to_string();
    let other = rig.list("b.txt", &["http://b/1".into()]).display().to_string();
    let empty = rig.list("empty.txt", &[]).display().to_string();
    assert_eq!(rig.chunkctl(&["submit", "--job-id", "7", "--urls", &list]).code, Some(0));
    for (arguments, exit, code) in [
        (&["dance"][..], 2, "usage"),
        (&[], 2, "usage"),
        (&["control", "pause", "--minutes", "0"], 2, "usage"),
        (&["status", "--job-id", "9"], 1, "job_unknown"),
        (&["urls", "--job-id", "9"], 1, "job_unknown"),
        (&["fetch", "--job-id", "9", "--to", "x"], 1, "job_unknown"),
        (&["verify", "--job-id", "9"], 1, "job_unknown"),
        (&["control", "cancel", "--job-id", "9"], 1, "job_unknown"),
        (&["submit", "--extend", "--job-id", "9", "--urls", &list], 1, "job_unknown"),
        (&["control", "retry", "--job-id", "7", "--chunk-index", "0"], 1, "nothing_changed"),
        (&["submit", "--job-id", "7", "--urls", &other], 1, "job_differs"),
        (&["submit", "--job-id", "8", "--urls", &empty], 1, "list_refused"),
        (&["submit", "--job-id", "8", "--urls", "/no/such/file"], 1, "failed"),
        (&["verify", "--from", "/"], 1, "directory_refused"),
        (&["man", &list], 1, "directory_refused"),
    ] {
        let output = rig.chunkctl(&[&["--json"], arguments].concat());
        let error = error(&output);
        assert_eq!((output.code, error["code"].as_str().unwrap()), (Some(exit), code), "{error}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{arguments:?}: {error}");
        if code != "failed" && code != "list_refused" && arguments != ["verify", "--from", "/"] {
            assert!(
                !error["hint"].as_str().unwrap_or_default().is_empty(),
                "{arguments:?}: {error}"
            );
        }
        let text = rig.chunkctl(arguments);
        assert_eq!(text.code, Some(exit), "{text:?}");
        assert!(!text.stderr.starts_with('{'), "{text:?}");
    }
}

/// An error of the database names host, port and database once, nothing of the server's source, and sends
/// people to `doctor`; it does so whichever command it is.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_database_names_its_place_once() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let (before, after) = rig.database_url.split_once("://").unwrap();
    let (_, at) = after.split_once('@').unwrap();
    let (server, name) = at.split_once('/').unwrap();
    let name = name.split('?').next().unwrap();
    let stranger = format!("{before}://nobody-of-that-name:wrong@{at}");
    let limited = rig.limited_role(&["revoke select on chunk_handler.capacity from ROLE"]).await;
    for (url, at, name, code) in [
        ("postgres://u:p@127.0.0.1:1/nowhere", "127.0.0.1:1", "nowhere", "database_away"),
        (&stranger, server, name, "database_away"),
        (&limited, server, name, "database_refused"),
    ] {
        let place = format!("Postgres at {at}, database {name}: ");
        for arguments in [&["status"][..], &["control", "pause"]] {
            let output = rig.chunkctl_with(&[("DATABASE_URL", url)], arguments);
            let said = output.stderr.trim_end();
            assert_eq!((output.code, said.lines().count()), (Some(1), 1), "{output:?}");
            assert!(said.starts_with(&format!("error: {place}")), "{said}");
            assert_eq!(said.matches(&format!("database {name}")).count(), 1, "{said}");
            assert!(said.ends_with("; `chunkctl doctor` says what to do"), "{said}");
            for source in [".c:", ".c,", "Line ", "routine", "pool timed out"] {
                assert!(!said.contains(source), "{source}: {said}");
            }
            let json = [&["--json"], arguments].concat();
            let error = error(&rig.chunkctl_with(&[("DATABASE_URL", url)], &json));
            assert_eq!(error["code"], code, "{error}");
            assert!(error["message"].as_str().unwrap().starts_with(&place), "{error}");
        }
    }
}
