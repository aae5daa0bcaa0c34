use super::super::{
    pace::{GROW_AFTER, LONGEST_QUIET},
    tries::Tries,
};
use super::*;
use std::future::Future;

const FIRST: Party = Party(1);
const SECOND: Party = Party(2);
const SOON: Duration = Duration::from_millis(1);

fn origin(limit: usize) -> Arc<Origin> {
    Origins::new(limit).get("a:80")
}

async fn soon<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(SOON, future).await.ok()
}

/// Enters with a download that is free; it stays free, since nobody asks how many there are.
async fn enter_as(origin: &Arc<Origin>, party: Party, failed: u32) -> OriginPermit {
    origin.enter(party, failed, &Downloads::new(1)).await.unwrap().0
}

async fn enter(origin: &Arc<Origin>) -> OriginPermit {
    enter_as(origin, FIRST, 0).await
}

/// How many downloads at once an origin gets now.
async fn width(origin: &Arc<Origin>) -> usize {
    let mut permits = Vec::new();
    while let Some(permit) = soon(enter(origin)).await {
        permits.push(permit);
    }
    permits.len()
}

fn parties(permits: &[OriginPermit]) -> Vec<Party> {
    permits.iter().map(|permit| permit.party).collect()
}

/// An origin that says it is too much is left alone by everybody as long as it asked; then one asks,
/// then half as many as before when that is answered, and more again while it answers.
#[tokio::test(start_paused = true)]
async fn a_throttled_host_is_probed_after_its_wait_and_gets_half() {
    let origin = origin(8);
    let (mut first, mut second) = (enter(&origin).await, enter(&origin).await);
    let began = Instant::now();
    first.throttled(Some(Duration::from_secs(3)));
    second.throttled(Some(Duration::from_secs(2)));
    drop((first, second));
    let mut probe = enter(&origin).await;
    assert_eq!(began.elapsed().as_secs(), 3);
    assert_eq!(width(&origin).await, 0, "one probes");
    probe.answered();
    assert_eq!(width(&origin).await, 3, "one round counts once");
    (0..GROW_AFTER * 4).for_each(|_| probe.answered());
    drop(probe);
    assert_eq!(width(&origin).await, 5);
}

/// A single refusal among many answers is about its URL; two close to each other are not.
#[tokio::test(start_paused = true)]
async fn one_refusal_among_many_answers_slows_nobody() {
    let origin = origin(8);
    let mut permit = enter(&origin).await;
    (0..8).for_each(|_| permit.answered());
    let began = Instant::now();
    permit.throttled(Some(Duration::from_secs(3)));
    drop(permit);
    assert_eq!((width(&origin).await, began.elapsed().as_secs()), (8, 0));
    let mut permit = enter(&origin).await;
    (0..7).for_each(|_| permit.answered());
    permit.throttled(Some(Duration::from_secs(3)));
    drop(permit);
    assert_eq!(width(&origin).await, 0, "it is left alone");
    assert!(origin.is_busy(FIRST));
    enter(&origin).await.answered();
    assert_eq!((width(&origin).await, began.elapsed().as_secs()), (4, 3));
}

/// Case 311: a chunk whose downloads are all busy holds no place at an origin, nor the probe, however
/// often it has waited, and however few places there are; it gets its turn when it has a download again.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_download_holds_no_place() {
    let origin = origin(8);
    enter(&origin).await.throttled(Some(Duration::from_secs(3)));
    let (busy, also_busy) = (Downloads::new(1), Downloads::new(1));
    let (one, other) = (busy.take().unwrap(), also_busy.take().unwrap());
    let mut waiting = Box::pin(origin.enter(FIRST, 0, &busy));
    let mut also_waiting = Box::pin(origin.enter(FIRST, 0, &also_busy));
    sleep(Duration::from_secs(4)).await;
    assert!(soon(&mut waiting).await.is_none() && soon(&mut also_waiting).await.is_none());
    let mut probe = soon(enter_as(&origin, SECOND, 0)).await.unwrap();
    probe.answered();
    drop(probe);
    // One place is left, and who holds no download waits for it in vain.
    origin.gate.lock().pace = Pace::new(1);
    assert!(soon(&mut waiting).await.is_none());
    drop(soon(enter_as(&origin, SECOND, 0)).await.unwrap());
    drop((one, other));
    let (permit, download) = soon(&mut waiting).await.unwrap().unwrap();
    assert!(soon(&mut also_waiting).await.is_none(), "its download is not used up");
    assert!(also_busy.take().is_some() && busy.take().is_none());
    drop((permit, download));
    assert!(soon(&mut also_waiting).await.is_some());
}

/// A download that is freed goes to the origin that wanted one first, one at a time, and never to one that
/// nobody waits at any more.
#[tokio::test(start_paused = true)]
async fn a_freed_download_goes_to_who_wanted_it_first() {
    let origins = Origins::new(1);
    let downloads = Downloads::new(1);
    let held = downloads.take().unwrap();
    let at = ["a:80", "b:80", "c:80"].map(|key| origins.get(key));
    let mut waiting: Vec<_> =
        at.iter().map(|origin| Box::pin(origin.enter(FIRST, 0, &downloads))).collect();
    for waiting in &mut waiting {
        assert!(soon(waiting).await.is_none());
    }
    drop(waiting.remove(0));
    drop(held);
    let second = soon(&mut waiting[0]).await.unwrap().unwrap();
    assert!(soon(&mut waiting[1]).await.is_none());
    drop(second);
    assert!(soon(&mut waiting[1]).await.is_some());
}

/// What was under way when the wait began may end well or badly, in any order.
#[tokio::test(start_paused = true)]
async fn answers_and_refusals_mix_while_a_host_is_quiet() {
    let origin = origin(8);
    let (mut first, mut second) = (enter(&origin).await, enter(&origin).await);
    first.throttled(None);
    second.answered();
    first.throttled(None);
    drop((first, second));
    let began = Instant::now();
    drop(enter(&origin).await);
    assert_eq!(began.elapsed().as_millis(), 500);
}

/// Case 231: who waits for an origin that only refuses is never refused itself: it waits as long as
/// the origin says, time and again, and is asked in its turn.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_busy_host_is_asked_in_its_turn() {
    let origin = origin(8);
    let began = Instant::now();
    for _ in 0..20 {
        enter(&origin).await.throttled(Some(LONGEST_QUIET));
    }
    enter(&origin).await.answered();
    assert_eq!(began.elapsed(), LONGEST_QUIET * 20);
    assert_eq!(width(&origin).await, 1, "eight halved, but never none");
}

/// Case 232: a freed permit goes to the chunk with the fewest downloads there, not to the longest queue;
/// alone a chunk has them all.
#[tokio::test(start_paused = true)]
async fn a_freed_permit_goes_to_the_chunk_with_the_fewest() {
    let origin = origin(4);
    let mut long: Vec<_> = (0..50).map(|_| Box::pin(enter_as(&origin, FIRST, 0))).collect();
    let mut held = Vec::new();
    for waiting in &mut long {
        held.extend(soon(waiting).await);
    }
    assert_eq!(parties(&held), [FIRST; 4]);
    let mut short: Vec<_> = (0..3).map(|_| Box::pin(enter_as(&origin, SECOND, 0))).collect();
    for waiting in &mut short {
        assert!(soon(waiting).await.is_none());
    }
    drop(held.drain(..2));
    let mut turns = Vec::new();
    for waiting in &mut short {
        turns.extend(soon(waiting).await);
    }
    assert_eq!(parties(&turns), [SECOND; 2], "two each now");
}

/// A waiter that is dropped with its permit already on the way gives it on, however many are; one that
/// was dropped before gets none.
#[tokio::test(start_paused = true)]
async fn a_permit_that_comes_too_late_goes_on() {
    let origin = origin(1);
    let held = enter(&origin).await;
    let mut dropped: Vec<_> = (0..5000).map(|_| Box::pin(enter_as(&origin, FIRST, 0))).collect();
    for waiting in &mut dropped {
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    }
    let mut last = Box::pin(enter_as(&origin, SECOND, 0));
    assert!(soon(&mut last).await.is_none());
    // The chunk with the longer queue goes; its first waiter was handed the permit, and never polled.
    let other = Box::pin(enter_as(&origin, SECOND, 0));
    drop(other);
    drop(held);
    drop(dropped);
    let permit = soon(&mut last).await.unwrap();
    drop(permit);
    assert_eq!(width(&origin).await, 1);
    assert_eq!(origin.gate.lock().queue.held(), 0);
}

/// An origin that refused both chunks.
async fn refuses_both() -> Arc<Origin> {
    let origin = origin(8);
    let (mut first, mut second) = (enter(&origin).await, enter_as(&origin, SECOND, 0).await);
    first.throttled(None);
    second.throttled(None);
    origin
}

/// A probe whose chunk goes away leaves its place to the next, who needs no other wake-up; nor do the
/// others when that is answered.
#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_lets_the_next_one_probe() {
    let origin = refuses_both().await;
    let probe = enter(&origin).await;
    let mut next = Box::pin(enter_as(&origin, SECOND, 0));
    assert!(soon(&mut next).await.is_none());
    drop(probe);
    let mut next = soon(next).await.unwrap();
    let mut other = Box::pin(enter(&origin));
    assert!(soon(&mut other).await.is_none(), "it is the probe now");
    next.answered();
    assert!(soon(other).await.is_some(), "while the probe receives its body");
}

/// What was refused before does not probe while others wait who were never asked for.
#[tokio::test(start_paused = true)]
async fn a_probe_is_one_that_was_never_refused() {
    let origin = refuses_both().await;
    let mut refused = Box::pin(enter_as(&origin, FIRST, 1));
    let mut fresh = Box::pin(enter_as(&origin, SECOND, 0));
    assert!(soon(&mut refused).await.is_none() && soon(&mut fresh).await.is_none());
    sleep(Duration::from_secs(1)).await;
    assert!(soon(&mut refused).await.is_none(), "it came first");
    soon(&mut fresh).await.unwrap().answered();
    assert!(soon(&mut refused).await.is_some());
}

/// Case 310: a chunk that comes while the origin refuses another makes its trial at once, the next when
/// that is refused waits, and who was told to wait is let in when its own wait ends.
#[tokio::test(start_paused = true)]
async fn a_trial_is_made_at_once_and_ends_with_its_answer() {
    let origin = origin(8);
    enter(&origin).await.throttled(Some(Duration::from_secs(50)));
    let mut trial = soon(enter_as(&origin, SECOND, 0)).await.unwrap();
    let mut next = Box::pin(enter_as(&origin, SECOND, 0));
    assert!(trial.is_trial() && soon(&mut next).await.is_none());
    trial.throttled(Some(Duration::from_secs(1)));
    assert!(trial.is_refused_trial());
    drop(trial);
    let began = Instant::now();
    let mut own = next.await;
    assert!((began.elapsed().as_secs(), own.is_trial()) == (8, false), "{:?}", began.elapsed());
    let mut others = Box::pin(enter_as(&origin, SECOND, 0));
    assert!(soon(&mut others).await.is_none());
    own.answered();
    assert!(soon(others).await.is_some());
}

/// Who was told to wait does so for its minute, and longer only while the origin answers others.
#[tokio::test(start_paused = true)]
async fn patience_ends_with_an_origin_that_answers_nobody() {
    let origin = origin(8);
    let began = Instant::now();
    let minute = Some(began + Duration::from_secs(60));
    assert!(
        tokio::time::timeout(Duration::from_secs(600), origin.outlasts(FIRST, minute))
            .await
            .is_err()
    );
    enter(&origin).await.throttled(None);
    assert!(soon(origin.outlasts(FIRST, minute)).await.is_some());
    assert!(soon(origin.outlasts(FIRST, None)).await.is_none());
    enter(&origin).await.answered();
    assert!(soon(origin.outlasts(FIRST, minute)).await.is_none());
}

/// Asks an origin for some images at once, as a chunk does; each answer is a wait that it asks for, or none.
/// How many of them ended without a picture.
async fn lost(
    origin: &Arc<Origin>,
    images: usize,
    answer: impl AsyncFn(usize) -> Option<Duration>,
) -> usize {
    let (downloads, answer) = (Downloads::new(8), &answer);
    let image = |n: usize| {
        let downloads = downloads.clone();
        async move {
            let mut tries = Tries::default();
            loop {
                let patience = tries.patience_with(&origin.key);
                let (mut permit, download) = tokio::select! {
                    biased;
                    entered = origin.enter(FIRST, tries.failed(), &downloads) => entered.unwrap(),
                    () = origin.outlasts(FIRST, patience) => return 1,
                };
                let Some(asked) = answer(n).await else {
                    permit.answered();
                    return 0;
                };
                permit.throttled(Some(asked));
                drop((permit, download));
                tries.told_to_wait(origin.key.clone());
                let hour = Duration::from_secs(3600);
                let why = Reason::Http(429).into();
                match tries.next(why, Some(asked), WATCH.awake(), hour) {
                    Ok(pause) => sleep(pause).await,
                    Err(_) => return 1,
                }
            }
        }
    };
    futures_util::future::join_all((0..images).map(image)).await.into_iter().sum()
}

/// Case 312: of a host that answers all the time, and refuses what is more than five a second, nothing is
/// lost, however long it takes.
#[tokio::test(start_paused = true)]
async fn a_host_that_answers_so_many_a_second_costs_no_picture() {
    let (origin, began) = (origin(8), Instant::now());
    let bucket = Mutex::new((2.0, began));
    let answer = async |_| {
        sleep(Duration::from_millis(5)).await;
        let (tokens, at) = &mut *bucket.lock();
        *tokens = f64::min(2.0, *tokens + 5.0 * at.elapsed().as_secs_f64());
        *at = Instant::now();
        let is_answered = *tokens >= 1.0;
        *tokens -= if is_answered { 1.0 } else { 0.0 };
        (!is_answered).then_some(Duration::from_secs(1))
    };
    assert_eq!(lost(&origin, 400, answer).await, 0);
    assert!(began.elapsed() > Duration::from_secs(120), "{:?}", began.elapsed());
}

/// Case 317: URLs that the host refuses, in front of a chunk's others: these are asked for all the same.
#[tokio::test(start_paused = true)]
async fn refused_urls_in_front_do_not_starve_the_others() {
    let (origin, began) = (origin(8), Instant::now());
    let answered = Mutex::new(Vec::new());
    let answer = async |n: usize| {
        if n < 30 {
            return Some(Duration::from_secs(8));
        }
        answered.lock().push(began.elapsed());
        None
    };
    assert_eq!(lost(&origin, 130, answer).await, 30);
    let answered = answered.into_inner();
    assert_eq!(answered.len(), 100);
    // One of six probes at the least is for one of the hundred.
    assert!(answered.first().unwrap().as_secs() <= 48, "{answered:?}");
}
