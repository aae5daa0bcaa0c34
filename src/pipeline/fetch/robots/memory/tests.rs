use super::*;
use std::{
    future::pending,
    sync::atomic::{AtomicU64, Ordering},
};
use tokio::time::{advance, timeout};

const US: Party = Party(1);
const OTHERS: Party = Party(2);

/// What a robots.txt says of `/x`.
fn reads(answer: &Answer) -> Option<bool> {
    match answer {
        Answer::Rules(robots) => Some(robots.allow("/x")),
        Answer::Failed | Answer::Silent => None,
    }
}

fn forbidding() -> Answer {
    Answer::Rules(Robots::parse(b"user-agent: *\ndisallow: /x", "foobot"))
}

/// An origin that is asked, and how often it was.
#[derive(Default)]
struct Asked(AtomicU64);

impl Asked {
    fn n(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Asks, which takes a while.
    async fn read(&self, memory: &Memory, party: Party, answer: fn() -> Answer) -> Option<bool> {
        let ask = async || {
            self.0.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(3)).await;
            Ok::<_, ()>(answer())
        };
        memory.read("http://a", party, ask, reads).await.unwrap()
    }
}

/// Case 424: of 500 URLs in two chunks that come at once, one asks, and all know.
#[tokio::test(start_paused = true)]
async fn one_asks_for_all_who_wait() {
    let (memory, asked) = (Memory::new(), Asked::default());
    let both = (0..500).map(|n| asked.read(&memory, Party(n % 2), forbidding));
    let said = futures_util::future::join_all(both).await;
    assert_eq!((said, asked.n()), (vec![Some(false); 500], 1));
}

/// Case 424: who asks and goes away, or cannot ask, leaves the question to the next one.
#[tokio::test(start_paused = true)]
async fn the_next_one_asks_when_who_asked_is_gone() {
    let (memory, asked) = (Memory::new(), Asked::default());
    let stuck = memory.read("http://a", US, async || pending::<Result<_, ()>>().await, reads);
    let waits = asked.read(&memory, US, forbidding);
    let (gone, said) = tokio::join!(timeout(Duration::from_secs(1), stuck), waits);
    assert!(gone.is_err());
    assert_eq!((said, asked.n()), (Some(false), 1));
    let failed = memory.read("http://b", US, async || Err::<Answer, _>("own"), reads).await;
    assert_eq!(failed, Err("own"));
    let said = memory.read("http://b", US, async || Ok::<_, ()>(forbidding()), reads).await;
    assert_eq!(said, Ok(Some(false)), "a failure of our own is nobody else's");
}

/// Case 424: rules hold for a day, an answer that is none for ten minutes, and silence, which may be that of the
/// network here, for the chunk alone that met it.
#[tokio::test(start_paused = true)]
async fn each_answer_has_its_time() {
    let (memory, asked) = (Memory::new(), Asked::default());
    let almost = |hold: Duration| advance(hold - Duration::from_secs(1));
    assert_eq!(asked.read(&memory, US, || Answer::Silent).await, None);
    almost(FAILURE_HOLDS).await;
    assert_eq!(asked.read(&memory, US, forbidding).await, None);
    assert_eq!(asked.n(), 1);
    assert_eq!(asked.read(&memory, OTHERS, || Answer::Failed).await, None);
    assert_eq!(asked.n(), 2);
    almost(FAILURE_HOLDS).await;
    assert_eq!((asked.read(&memory, US, forbidding).await, asked.n()), (None, 2));
    advance(Duration::from_secs(1)).await;
    assert_eq!((asked.read(&memory, US, forbidding).await, asked.n()), (Some(false), 3));
    almost(RULES_HOLD).await;
    assert_eq!((asked.read(&memory, OTHERS, forbidding).await, asked.n()), (Some(false), 3));
    advance(Duration::from_secs(1)).await;
    assert_eq!((asked.read(&memory, OTHERS, forbidding).await, asked.n()), (Some(false), 4));
}

/// Case 424: of chunks that an origin does not answer each asks once, however their URLs take turns.
#[tokio::test(start_paused = true)]
async fn silence_is_met_once_by_each_chunk() {
    let (memory, asked) = (Memory::new(), Asked::default());
    let all = (0..200).map(|n| asked.read(&memory, Party(n % 4), || Answer::Silent));
    let said = futures_util::future::join_all(all).await;
    assert_eq!((said, asked.n()), (vec![None; 200], 4));
}

/// Case 423: however many origins with however long rules: the memory stays below its bound, and forgets
/// what was not used for longest.
#[tokio::test]
async fn the_memory_is_bounded_in_bytes() {
    let memory = Memory::new();
    let rules = format!("user-agent: *\n{}", "disallow:/y\n".repeat(20_000));
    let long = || Answer::Rules(Robots::parse(rules.as_bytes(), "foobot"));
    for n in 0..100 {
        let origin = format!("http://{n}");
        memory.read(&origin, US, async || Ok::<_, ()>(long()), reads).await.unwrap();
        memory.0.run_pending_tasks().await;
        assert!(memory.0.weighted_size() <= REMEMBERED_BYTES, "{n}");
    }
    assert!(memory.0.entry_count() > 5, "{}", memory.0.entry_count());
    assert!(memory.0.get("http://0").await.is_none());
    assert!(memory.0.get("http://99").await.is_some());
}
