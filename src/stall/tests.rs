use super::*;
use std::future::pending;
use tokio::task::{JoinSet, yield_now};

const S: fn(u64) -> Duration = Duration::from_secs;

/// A watch, and the set of tasks whose first one ticks it.
fn ticking() -> (&'static Watch, JoinSet<()>) {
    let watch: &'static Watch = Box::leak(Box::new(Watch::new()));
    let mut tasks = JoinSet::new();
    tasks.spawn(watch.tick_until(pending()));
    (watch, tasks)
}

/// Nothing is noticed in a process that runs, however long it waits, nor where nobody ticks.
#[tokio::test(start_paused = true)]
async fn a_process_that_runs_never_stands_still() {
    let ((watch, _tasks), idle) = (ticking(), Watch::new());
    let marks = (watch.mark(), idle.mark());
    sleep(S(100)).await;
    tokio::time::advance(S(1) - PERIOD).await;
    sleep(S(100)).await;
    assert!(!watch.stood_still_since(marks.0) && watch.awake_for().is_none());
    tokio::time::advance(S(100)).await;
    assert!(!idle.stood_still_since(marks.1));
}

/// The first who looks notices a standstill, once, whatever fires first.
#[tokio::test(start_paused = true)]
async fn a_standstill_is_noticed_by_the_first_who_looks() {
    let (watch, mut tasks) = ticking();
    sleep(S(3)).await;
    let (mark, awake) = (watch.mark(), watch.awake());
    tasks.spawn(watch.standstill_since(mark));
    yield_now().await;
    tokio::time::advance(S(50)).await;
    assert!(watch.stood_still_since(mark), "no tick was needed");
    assert_eq!(watch.awake(), awake + PERIOD, "the clock stood still but for what may have run");
    tasks.join_next().await.unwrap().unwrap();
    let after = watch.mark();
    sleep(S(5)).await;
    assert_eq!(watch.mark(), after, "it is one");
    assert_eq!(watch.awake() - awake, S(5) + PERIOD);
    assert_eq!(watch.awake_for(), Some(S(5)));
}

/// A frozen machine's clock of timers may stop too; nothing is given back then, but it is noticed. A time
/// of day that is set back is none, and neither is a busy second.
#[tokio::test(start_paused = true)]
async fn a_jump_of_the_time_of_day_is_a_standstill_of_no_length() {
    let (now, day) = (Instant::now(), SystemTime::UNIX_EPOCH + S(1_000_000));
    let ticked = Seen { tick: Some((now, day)), ..Watch::new().look() };
    for (timers, of_day, length, lost) in [
        (1.2, 1.2, None, 0.0),
        (1.3, 1.3, Some(1.3), 1.05),
        (0.3, 1.2, None, 0.0),
        (0.3, 30.3, Some(30.3), 0.0),
        (20.0, 30.0, Some(30.0), 19.75),
        (0.3, -500.0, None, 0.0),
        (5.0, -500.0, Some(5.0), 4.75),
    ] {
        let mut seen = ticked;
        let of_day = match of_day {
            back if back < 0.0 => day - Duration::from_secs_f64(-back),
            on => day + Duration::from_secs_f64(on),
        };
        let noticed = seen.look(now + Duration::from_secs_f64(timers), of_day);
        let expected = length.map(Duration::from_secs_f64);
        assert_eq!((noticed, seen.lost), (expected, Duration::from_secs_f64(lost)), "{timers}");
        assert_eq!(seen.standstills, u64::from(length.is_some()));
    }
}

/// A limit is time in which the process runs: who needs less is never late, who needs more is.
#[tokio::test(start_paused = true)]
async fn a_limit_does_not_run_while_the_process_stands_still() {
    let (watch, _tasks) = ticking();
    yield_now().await;
    for (needs, is_done) in [(9, true), (11, false)] {
        let since = Instant::now();
        let work = async {
            sleep(S(2)).await;
            tokio::time::advance(S(30)).await;
            // What is left of it after the standstill: its timer began before.
            let left = S(needs - 2);
            sleep(left).await;
        };
        assert_eq!(watch.timeout(S(10), work).await.is_some(), is_done, "{needs}");
        let (spent, whole) = (since.elapsed(), S(30 + needs.min(10)));
        assert!(spent <= whole && spent + PERIOD >= whole, "{spent:?}");
    }
}

/// A deadline moves with its process as far as its last moment allows, and says when that cut it.
#[tokio::test(start_paused = true)]
async fn a_deadline_is_moved_by_a_standstill_as_far_as_it_may() {
    let (watch, mut tasks) = ticking();
    yield_now().await;
    let since = Instant::now();
    // A standstill gives back all but a period.
    let at = |deadline: Deadline| (deadline.at() - since, deadline.is_cut());
    let of = |length, latest| Deadline::of(watch, length, since + latest);
    let (free, near, clipped) = (of(S(100), S(1000)), of(S(100), S(120)), of(S(100), S(80)));
    let early = near.leaving_tenths(2);
    assert_eq!([at(free), at(near), at(clipped), at(early)].map(|(_, is_cut)| is_cut), [false; 4]);
    assert_eq!([at(free).0, at(near).0, at(clipped).0, at(early).0], [100, 100, 80, 80].map(S));
    // Nothing was noticed when the timer of the old moment fires.
    tasks.spawn(async move { free.passed().await });
    yield_now().await;
    tokio::time::advance(S(50)).await;
    assert_eq!([at(free), at(near)], [(S(150) - PERIOD, false), (S(120), true)]);
    assert_eq!([at(clipped), at(early)], [(S(80), true), (S(100), true)]);
    tasks.join_next().await.unwrap().unwrap();
    assert_eq!(since.elapsed(), S(150) - PERIOD);
}

/// The timer of a deadline that fires right after a standstill is not believed.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_came_in_a_standstill_is_later() {
    let (watch, mut tasks) = ticking();
    yield_now().await;
    let since = Instant::now();
    let deadline = Deadline::of(watch, S(10), since + S(1000));
    tasks.spawn(async move { deadline.passed().await });
    yield_now().await;
    tokio::time::advance(S(60)).await;
    tasks.join_next().await.unwrap().unwrap();
    assert_eq!(since.elapsed(), S(70) - PERIOD);
}

/// A process that is always late has its limits all the same, only later: else work that waits for nothing
/// but them would wait for ever.
#[tokio::test(start_paused = true)]
async fn a_process_that_is_always_late_keeps_its_limits() {
    let (watch, mut tasks) = ticking();
    yield_now().await;
    tasks.spawn(async { assert!(watch.timeout(S(10), pending::<()>()).await.is_none()) });
    let mut n = 0;
    while tasks.try_join_next().is_none() {
        n += 1;
        assert!(n <= 41, "each tick is a period");
        yield_now().await;
        tokio::time::advance(PERIOD + LATE).await;
        yield_now().await;
    }
    assert!(n >= 10, "{n}");
}

/// The tick that counts on is the moment that was judged: a standstill that ends with it is noticed.
#[tokio::test(start_paused = true)]
async fn a_tick_judges_the_moment_it_counts_from() {
    let watch = Watch::new();
    watch.tick();
    tokio::time::advance(S(5)).await;
    watch.tick();
    let seen = watch.look();
    assert_eq!((seen.standstills, seen.lost), (1, S(5) - PERIOD));
    assert_eq!(seen.tick.map(|(now, _)| now), seen.woke);
}

/// One timer serves moment after moment, and none of them comes in a standstill.
#[tokio::test(start_paused = true)]
async fn an_alarm_does_not_ring_in_a_standstill() {
    let (watch, mut tasks) = ticking();
    yield_now().await;
    let since = Instant::now();
    tasks.spawn(async move {
        let mut alarm = Alarm::of(watch, S(10));
        alarm.rings(watch.awake() + S(10)).await;
        assert_eq!(since.elapsed(), S(70) - PERIOD);
        alarm.rings(watch.awake() + S(3)).await;
        assert_eq!(since.elapsed(), S(73) - PERIOD);
    });
    yield_now().await;
    tokio::time::advance(S(60)).await;
    tasks.join_next().await.unwrap().unwrap();
}
