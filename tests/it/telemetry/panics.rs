//! What panics is a line of the log.

use chunk_handler::telemetry::{Output, install};
use serde_json::Value;
use std::process::Command;

/// Set in the process that panics.
const PANICS: &str = "TEST_PANICS";

/// Case 284: a panic of a task, of a blocking task, of a thread and of `main` is one line on stdout, with
/// where it was; nothing is on stderr. In a process of its own: a hook is for all of a process.
#[test]
fn a_panic_is_one_line_of_the_log() {
    if std::env::var_os(PANICS).is_some() {
        panic_everywhere();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "telemetry::panics::a_panic_is_one_line_of_the_log", "--nocapture"]);
    child.env(PANICS, "1").env_remove("RUST_BACKTRACE");
    let output = child.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr, "", "nothing is written past the log");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<Value> =
        stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let causes: Vec<&str> = lines.iter().filter_map(|line| line["cause"].as_str()).collect();
    let long = "x".repeat(200);
    let expected = ["in a task", "on a thread\nof a blocking\u{1b}[31m task", &long, "at the end"];
    assert_eq!(causes, expected, "{stdout}");
    for line in &lines {
        assert_eq!((&line["level"], &line["message"]), (&"ERROR".into(), &"Panicked".into()));
        assert!(line["timestamp"].is_string(), "{line}");
        let location = line["location"].as_str().unwrap();
        let (file, place) = location.split_once(".rs:").unwrap();
        assert!(file.ends_with("telemetry/panics") && place.contains(':'), "{line}");
    }
}

fn panic_everywhere() -> ! {
    install("info", Output::Stdout, None);
    // Behind what the test runner has written of this line.
    println!();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        tokio::spawn(async { panic!("in a task") }).await.unwrap_err();
        let blocking = || panic!("on a thread\nof a blocking{}[31m task", '\u{1b}');
        tokio::task::spawn_blocking(blocking).await.unwrap_err();
    });
    let thread = std::thread::spawn(|| panic!("{}", "x".repeat(100_000)));
    thread.join().unwrap_err();
    let last = std::panic::catch_unwind(|| panic!("at the end"));
    std::process::exit(i32::from(last.is_ok()));
}
