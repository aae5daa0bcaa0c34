//! URLs that failed are asked for again: alone, once, and each is shown with the try that counts.

use super::{
    control::{ENDED, dataset, holds},
    extend::{rows, runs},
};
use serde_json::{Value, json};
use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use support::{
    origin::picture::jpeg,
    programs::{Output, chunkctl},
    raw::{Act, Raw, answer},
    rig::Rig,
};

/// An origin of which every other picture is away until it is mended.
struct Half {
    origin: Raw,
    is_down: Arc<AtomicBool>,
}

impl Half {
    fn start() -> Self {
        let is_down = Arc::new(AtomicBool::new(true));
        let down = Arc::clone(&is_down);
        let origin = Raw::start(move |path, _| {
            let n: u64 = path.trim_start_matches('/').parse().unwrap_or(0);
            let bytes = jpeg(n, path);
            Act::Send(match n {
                _ if path.starts_with("/gone") => answer(404, "", b""),
                _ if n % 2 == 1 && down.load(Ordering::SeqCst) => answer(503, "", b""),
                _ => answer(200, "Content-Type: image/jpeg\r\n", &bytes),
            })
        });
        Self { origin, is_down }
    }
}

/// Runs chunkctl with what it reads.
pub(super) fn piped(rig: &Rig, arguments: &[&str], stdin: &str) -> Output {
    let path = rig.temp.path().join("stdin");
    std::fs::write(&path, stdin).unwrap();
    let mut command = Command::new(chunkctl());
    let output = command
        .env_clear()
        .envs(rig.environment())
        .args(arguments)
        .stdin(std::fs::File::open(&path).unwrap())
        .output()
        .unwrap();
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(super) const AGAIN: [&str; 8] =
    ["submit", "--job-id", "1", "--extend", "--urls", "-", "--format", "jsonl"];

/// Case 363: what an origin could not answer is asked for again when it can, alone and once, and the
/// numbers say so. I3 I8
#[tokio::test(flavor = "multi_thread")]
async fn what_may_work_now_is_asked_for_again() {
    let rig = Rig::new().await;
    let half = Half::start();
    let allowed = [("PIXCRAWLER_ALLOWED_ORIGINS", half.origin.address.to_string())];
    let allowed = allowed.each_ref().map(|(name, value)| (*name, value.as_str()));
    let handler = rig.handler_with(&allowed).await;
    let mut urls: Vec<String> = (0..6).map(|n| half.origin.url(&format!("/{n}"))).collect();
    urls.push(half.origin.url("/gone"));
    rig.submit(1, &urls, 4);
    runs(&rig, &handler, 0..2).await;

    let transient = ["urls", "--job-id", "1", "--transient"];
    let first = rig.chunkctl(&transient);
    let keys = |output: &Output| -> Vec<String> {
        let rows = output.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.map(|row| format!("{}_{} {}", row["chunk_index"], row["idx"], row["reason"])).collect()
    };
    let expected = ["0_1 \"http_503\"", "0_3 \"http_503\"", "1_1 \"http_503\""];
    assert_eq!(keys(&first), expected, "{first:?}");

    // Once more in vain: the first try stays the one that is named.
    let output = piped(&rig, &AGAIN, &first.stdout);
    let said = "job 1 extended: 3 images in 1 chunk from chunk 2 on, 3 of them asked for again\n";
    assert_eq!((output.code, &*output.stdout), (Some(0), said), "{output:?}");
    runs(&rig, &handler, [2]).await;
    let second = rig.chunkctl(&transient);
    assert_eq!(keys(&second), ["2_0 \"http_503\"", "2_1 \"http_503\"", "2_2 \"http_503\""]);

    half.is_down.store(false, Ordering::SeqCst);
    assert_eq!(piped(&rig, &AGAIN, &second.stdout).code, Some(0));
    // Who asks meanwhile asks for nothing twice.
    assert_eq!(rig.chunkctl(&transient).stdout, "");
    runs(&rig, &handler, [3]).await;
    let manifest = rig.manifest(1, 3).await;
    let tries: Vec<&Value> = manifest["items"].as_array().unwrap().iter().collect();
    let first_tries: Vec<&str> =
        tries.iter().map(|item| item["retry_of"].as_str().unwrap()).collect();
    assert_eq!(first_tries, ["00000_00001", "00000_00003", "00001_00001"]);
    assert!(tries.iter().all(|item| item["status"] == "valid"), "{manifest}");
    let requests = |n: u64| half.origin.requests(&format!("/{n}"));
    assert_eq!([0, 2, 4].map(requests), [1; 3], "what is valid is not fetched again");
    let totals = &dataset(&rig).await["totals"];
    let of = |name: &str| totals[name].as_i64().unwrap();
    let numbers = ["images_total", "images_asked_again", "images_valid", "images_failed"].map(of);
    assert_eq!(numbers, [13, 6, 6, 7], "{totals}");
    let samples = "select count(*) = count(distinct sha256) and count(*) = 6
        from chunk_handler.image_hash";
    assert!(rig.value::<bool>(samples).await, "a picture is kept twice");

    // Nothing is left, and whatever is said once more changes nothing.
    assert_eq!(rig.chunkctl(&transient).stdout, "");
    let before = rows(&rig).await;
    let output = piped(&rig, &AGAIN, "");
    assert!(output.code == Some(1) && output.stderr.contains("no URL"), "{output:?}");
    let output = piped(&rig, &AGAIN, &second.stdout);
    let said = "has this list already";
    assert!(output.code == Some(0) && output.stdout.contains(said), "{output:?}");
    assert_eq!(rows(&rig).await, before);
    let each = rig.chunkctl(&["urls", "--job-id", "1", "--format", "txt"]);
    let shown: Vec<&str> = each.stdout.lines().collect();
    assert_eq!(shown.len(), urls.len(), "each URL once: {shown:?}");
    let status = rig.chunkctl(&["status", "--job-id", "1"]).stdout;
    assert!(status.contains("images 13 (6 of them asked for again) of which 6 valid"), "{status}");
    holds(&rig).await;
}

/// The one row of each line, without and with what it says of a try in vain.
fn in_vain(output: &Output) -> (String, Vec<String>) {
    let mut rows = String::new();
    let mut said = Vec::new();
    for line in output.stdout.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let key = row["in_vain"].as_str().unwrap_or_default();
        rows += &format!("{}\n", line.replace(&format!(",\"in_vain\":\"{key}\""), ""));
        said.push(key.to_owned());
    }
    (rows, said)
}

/// Cases 430, 433: of a try whose chunk failed or was cancelled nothing is known: the verdict before it stays
/// what is shown, with the try in vain beside it, and is asked for again, once.
#[tokio::test(flavor = "multi_thread")]
async fn a_try_that_never_ran_hides_no_verdict() {
    let rig = Rig::new().await;
    let half = Half::start();
    let allowed = half.origin.address.to_string();
    let handler = rig.handler_with(&[("PIXCRAWLER_ALLOWED_ORIGINS", &allowed)]).await;
    let urls: Vec<String> = (0..4).map(|n| half.origin.url(&format!("/{n}"))).collect();
    rig.submit(1, &urls, 4);
    runs(&rig, &handler, [0]).await;
    let transient = ["urls", "--job-id", "1", "--transient"];
    let before = rig.chunkctl(&transient).stdout;
    assert_eq!(before.lines().count(), 2, "{before}");
    assert_eq!(piped(&rig, &AGAIN, &before).code, Some(0));
    assert_eq!(rig.chunkctl(&["control", "cancel", "--job-id", "1"]).code, Some(0));
    rig.until(ENDED).await;
    let after = rig.chunkctl(&transient);
    let vain = |keys: [&str; 2]| (before.clone(), keys.map(str::to_owned).to_vec());
    assert_eq!(in_vain(&after), vain(["00001_00000", "00001_00001"]));
    assert!(after.stderr.contains("no manifest yet of 1 chunk (1)"), "{}", after.stderr);
    let table = rig.chunkctl(&["urls", "--job-id", "1", "--transient", "--format", "csv"]);
    assert!(table.stdout.contains(",00001_00001,job_1/chunks/"), "{table:?}");

    // It failed, and its job takes more.
    let open = "update chunk_handler.job set cancelled_at = null, ended_as = 'failed'";
    rig.execute(open).await;
    let output = piped(&rig, &AGAIN, &after.stdout);
    assert!(output.stdout.contains("1 extended: 2 images in 1 chunk from chunk 2"), "{output:?}");
    let again = rows(&rig).await;
    let output = piped(&rig, &AGAIN, &after.stdout);
    assert!(output.stdout.contains("has this list already"), "{output:?}");
    assert_eq!(rows(&rig).await, again);
    let lists = "select message::jsonb #>> '{source,blob}' from chunk_handler.chunk
        where chunk_index = 2";
    let list: String = rig.value(lists).await;
    let list = rig.blobs.read("chunk-sources", &list).await.unwrap();
    let list = String::from_utf8_lossy(&list).into_owned();
    assert!(list.contains("retry_of\":\"00000_00003") && !list.contains("in_vain"), "{list}");
    // Another that failed, and then one with a verdict.
    let failed = "update chunk_handler.chunk set state = 'failed', error_code = 'panic'
        where chunk_index = 2";
    rig.execute(failed).await;
    let after = rig.chunkctl(&transient);
    assert_eq!(in_vain(&after), vain(["00002_00000", "00002_00001"]));
    half.is_down.store(false, Ordering::SeqCst);
    assert_eq!(piped(&rig, &AGAIN, &after.stdout).code, Some(0));
    runs(&rig, &handler, [3]).await;
    assert_eq!(rig.chunkctl(&transient).stdout, "");
    let all = rig.chunkctl(&["urls", "--job-id", "1"]);
    assert_eq!(in_vain(&all).1, [""; 4], "{all:?}");
}

/// Case 431: a valid picture that is asked for again all the same is shown once, as valid.
#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_was_valid_is_shown_once() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    rig.submit(1, &rig.pictures(3), 3);
    runs(&rig, &handler, [0]).await;
    let all = ["urls", "--job-id", "1"];
    let before = rig.chunkctl(&all).stdout;
    assert_eq!(piped(&rig, &AGAIN, &before).code, Some(0));
    runs(&rig, &handler, [1]).await;
    let again = rig.manifest(1, 1).await;
    let items = again["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item["status"] == json!("duplicate")), "{again}");
    assert_eq!(rig.chunkctl(&all).stdout, before);
    let duplicates = ["urls", "--job-id", "1", "--status", "duplicate"];
    assert_eq!(rig.chunkctl(&duplicates).stdout, "");
}

/// Case 432: nobody reads what is printed: the exit code is that of what was found; a full disk is an error.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_listen_changes_no_exit_code() {
    let rig = Rig::new().await;
    let verify = |into: &str| {
        let command = format!("{} verify --from . {into}", chunkctl());
        let mut shell = Command::new("bash");
        shell.args(["-o", "pipefail", "-c", &command]).current_dir(rig.temp.path());
        shell.env_clear().output().unwrap().status.code()
    };
    std::fs::create_dir(rig.temp.path().join("chunks")).unwrap();
    std::fs::write(rig.temp.path().join("chunks/chunk_00000.tar"), b"no shard").unwrap();
    assert_eq!(verify(""), Some(1));
    assert_eq!(verify("| true"), Some(1));
    assert_eq!(verify("> /dev/full"), Some(1));
}
