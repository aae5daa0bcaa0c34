use super::*;
use crate::status::tests::{capacity, job};
use time::{OffsetDateTime, macros::datetime};

const NOW: OffsetDateTime = datetime!(2026-11-26 11:48 UTC);

fn reading(job: JobProgress) -> Reading {
    Reading { job, capacity: Capacity { paused_until: None, ..capacity() }, degraded: Vec::new() }
}

/// A bar moves while one chunk runs, and never by more than the chunks that run.
#[test]
fn a_running_chunk_moves_the_bar_by_its_part() {
    // Two of four chunks are over; of 500 URLs of the running one 120 are done.
    assert_eq!(permille(&job()), (2000 + 240) / 4);
    assert_eq!(permille(&JobProgress { items_done: 9000, ..job() }), 3000 / 4);
    assert_eq!(permille(&JobProgress { images_submitted: None, ..job() }), (2000 + 240) / 4);
    assert_eq!(permille(&JobProgress { total_chunks: 0, images_submitted: None, ..job() }), 2240);
}

/// No speed and no ETA before something was done; then both, of the last minute.
#[test]
fn an_eta_comes_with_a_speed() {
    let mut speed = Speed::default();
    let began = Instant::now();
    let after = |seconds| began + Duration::from_secs(seconds);
    speed.note(&job(), began);
    speed.note(&job(), after(5));
    assert_eq!(speed.text(&job()), None);
    let done = |items_done| JobProgress { items_done, ..job() };
    speed.note(&done(720), after(10));
    // One chunk of 500 waits, and 280 of the running one.
    let text = speed.text(&done(720)).unwrap();
    assert_eq!(text, "10.0 images/s, 0.0 MB/s, ETA 78 s");
    // What was done before the last minute counts no more.
    speed.note(&done(720), after(71));
    assert_eq!(speed.text(&done(720)), None);
}

/// Who watches reads why nothing moves: a pause with both its ends, what cannot end, who is degraded.
#[test]
fn a_frame_says_what_is_in_the_way() {
    let text = |reading: &Reading| reading.text(&Speed::default());
    assert_eq!(
        text(&reading(job())),
        "running, 2 of 4 chunks, 1 running, 620 images done (450 valid)"
    );
    let mut paused = reading(job());
    paused.capacity = capacity();
    let since =
        "paused since 2026-11-26T10:30:00Z (78 min ago) until 2026-11-26T12:00:00Z (in 12 min)";
    assert!(text(&paused).contains(since), "{}", text(&paused));
    let stuck = reading(JobProgress { end_error: Some("it is kept".into()), ..job() });
    assert!(
        text(&stuck).contains("cannot end: it is kept; free the named blob"),
        "{}",
        text(&stuck)
    );
    let mut degraded = reading(job());
    degraded.degraded = vec![LiveProcess {
        owner: "vm/1-ab".into(),
        since: NOW,
        seen_at: NOW,
        release: "1".into(),
        degraded: Some("no rights".into()),
    }];
    assert!(text(&degraded).contains("vm/1-ab starts no chunk: no rights"), "{}", text(&degraded));
    let object = degraded.as_json();
    assert_eq!(
        object["degraded_processes"],
        json!([{"owner": "vm/1-ab", "degraded": "no rights"}])
    );
    assert_eq!((&object["items_done"], &object["paused_until"]), (&json!(620), &Value::Null));
}

/// Lines come when something changed, not within 5 s, and at least every minute; objects only when
/// something changed.
#[test]
fn lines_are_neither_too_many_nor_too_few() {
    let began = Instant::now();
    let mut pace = Pace::default();
    let mut is_due = |news, seconds| pace.is_due(news, false, began + Duration::from_secs(seconds));
    assert!(is_due("a", 0));
    assert!(!is_due("b", 4), "too soon");
    assert!(is_due("b", 5));
    assert!(!is_due("b", 20), "nothing changed");
    assert!(is_due("b", 65), "a minute of silence");
    let mut pace = Pace::default();
    let mut is_due = |news, seconds| pace.is_due(news, true, began + Duration::from_secs(seconds));
    assert!(is_due("a", 0) && is_due("b", 1));
    assert!(!is_due("b", 3600));
}
