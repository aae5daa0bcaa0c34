//! What the checks say when something is wrong: planted violations, each of which must be named.

use crate::{
    blame, check,
    jobs::{self, INLINE},
    plan::Plan,
    watch::{self, Above, Canary, Owners},
};
use anyhow::{Result, ensure};
use libtest_mimic::Failed;
use nix::unistd::Pid;
use std::{collections::BTreeSet, fs, net::TcpStream, time::Duration};
use support::{
    invariants,
    rig::{DATASETS, Handler, Rig},
};

fn names(found: &[String], id: &str) -> Result<()> {
    ensure!(found.iter().any(|text| text.starts_with(id)), "{id} is not named in {found:?}");
    Ok(())
}

fn is_clean(found: &[String]) -> Result<()> {
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}

/// I1 I8 I9 M3: a chunk that is lost, one that failed, a dataset that says something else, a message
/// without a record, failures that telemetry miscounts.
pub async fn rows() -> Result<()> {
    let (rig, handler) = done().await;
    let chunks = jobs::by_chunk(1, &rig.pictures(2), 2);
    handler.post("/process_chunk", "two", support::rig::envelope("not JSON")).await;
    is_clean(&check::lost_for_good(&rig, &chunks).await)?;
    is_clean(&check::failed(&rig).await)?;
    is_clean(&check::datasets(&rig).await)?;
    is_clean(&check::unrecorded(&rig, &["not JSON".to_owned()]).await)?;
    names(&check::lost_for_good(&rig, &[((INLINE, 0), Vec::new())].into()).await, "I1:")?;
    names(&check::unrecorded(&rig, &["another".to_owned()]).await, "I9:")?;
    rig.execute("update chunk_handler.chunk set shard_samples = 7").await;
    names(&check::datasets(&rig).await, "I8:")?;
    rig.execute(
        "update chunk_handler.chunk set state = 'failed', error_code = 'disk_full',
        shard_fence = null, shard_blob = null, totals = null",
    )
    .await;
    names(&check::failed(&rig).await, "I8:")?;
    is_clean(&check::miscounted(6.0, 6.0, 0.0))?;
    is_clean(&check::miscounted(6.0, 7.0, 1.0))?;
    names(&check::miscounted(6.0, 7.0, 0.0), "M3:")?;
    names(&check::miscounted(6.0, 5.0, 1.0), "M3:")
}

/// A job of one chunk that is completed.
async fn done() -> (Rig, Handler) {
    let rig = Rig::new().await;
    rig.submit(1, &rig.pictures(2), 2);
    let handler = rig.handler_with(&[]).await;
    handler.deliver("one", &support::rig::wake_up(1, 0)).await;
    rig.until("select bool_and(status = 'completed') from chunk_handler.job_progress").await;
    (rig, handler)
}

/// I13: a claim that was charged, a chunk that is claimed again and again, a good message that was
/// recorded.
pub async fn blame() -> Result<()> {
    let (rig, handler) = done().await;
    handler.post("/process_chunk", "two", support::rig::envelope("not JSON")).await;
    let bad = ["not JSON".to_owned()];
    is_clean(&blame::charged(&rig).await)?;
    is_clean(&blame::hot(&rig).await)?;
    is_clean(&blame::rejected(&rig, &bad, true).await)?;
    names(&blame::rejected(&rig, &[], false).await, "I13:")?;
    let again = "insert into chunk_handler.attempt
            (job_id, chunk_index, fence, owner, invocation_id, finished_at, outcome, error_code)
        select 1, 0, n, '', '', clock_timestamp(), 'released', 'storage_unreachable'
        from generate_series(2, 50) n";
    rig.execute(again).await;
    names(&blame::hot(&rig).await, "I13:")?;
    is_clean(&blame::charged(&rig).await)?;
    rig.execute("update chunk_handler.attempt set outcome = 'retried' where fence = 50").await;
    names(&blame::charged(&rig).await, "I13:")
}

/// The row names another claim, where rows name claims.
const ANOTHER_CLAIM: &str = "do $$ begin
    if exists (select from information_schema.columns where table_schema = 'chunk_handler'
            and table_name = 'chunk' and column_name = 'shard_claim') then
        update chunk_handler.chunk set shard_claim = 'another';
    end if;
end $$";

/// I16: a row that names another claim, and bytes that nobody wrote.
pub async fn bytes() -> Result<()> {
    let (rig, _handler) = done().await;
    is_clean(&invariants::violations(&rig).await)?;
    rig.execute(ANOTHER_CLAIM).await;
    let knows_claims = "select to_jsonb(c) ? 'shard_claim' from chunk_handler.chunk c";
    if rig.value(knows_claims).await {
        names(&invariants::violations(&rig).await, "I16:")?;
    }
    let shard = "job_1/chunks/chunk_00000.tar";
    rig.blobs.delete(DATASETS, shard).await?;
    rig.blobs.create(DATASETS, shard).await?;
    let found = invariants::violations(&rig).await;
    names(&found, "I2:")?;
    ensure!(found.iter().any(|text| text.starts_with("I16: the bytes")), "{found:?}");
    Ok(())
}

/// I4: a slot above the limit that is taken, not only kept.
pub fn slots() -> Result<(), Failed> {
    let (mut above, mut found) = (Above::default(), BTreeSet::new());
    let mut look = |limit: i32, held: &[&str]| {
        let held = held.iter().map(|slot| (*slot).to_owned()).collect();
        above.look((format!("version {limit}"), limit, held), &mut found);
        found.len()
    };
    // Lowered, drained, then taken although it is above the limit.
    let seen = [look(5, &[]), look(3, &["4 1/1"]), look(3, &[]), look(3, &["5 1/2"])];
    assert_eq!(seen, [0, 0, 0, 1]);
    Ok(())
}

/// I7 I10 I11 I12: files of a dead process, a living one without its own, a process that holds too
/// much, a log with a token, a connection to the forbidden listener.
pub async fn processes() -> Result<()> {
    let shared = tempfile::tempdir()?;
    let own = std::process::id().cast_signed();
    let living = shared.path().join(format!("{own}-living"));
    fs::create_dir(&living)?;
    let living = [(own, living)];
    is_clean(&check::strangers(shared.path()))?;
    is_clean(&check::removed(&living))?;
    // No process has such a number.
    fs::write(shared.path().join(format!("{}-dead.lock", i32::MAX)), [])?;
    names(&check::strangers(shared.path()), "I7:")?;
    fs::remove_dir(&living[0].1)?;
    names(&check::removed(&living), "I7:")?;
    let (mut owners, mut found) = (Owners::default(), BTreeSet::new());
    owners.look(&living.into(), &mut found);
    while found.is_empty() {
        owners.look(&Default::default(), &mut found);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    names(&found.into_iter().collect::<Vec<_>>(), "I7:")?;
    let this = Pid::from_raw(own);
    ensure!(watch::over_cap(this, u64::MAX).is_none(), "this process holds less");
    if fs::exists("/proc/self/status")? {
        names(&watch::over_cap(this, 1).into_iter().collect::<Vec<_>>(), "I10:")?;
    }
    let line = format!("GET /img/1?sig={}", jobs::TOKEN);
    names(&check::shown(&[line], &[jobs::TOKEN.to_owned()]), "I11:")?;
    is_clean(&check::shown(&["GET /img/1".to_owned()], &[jobs::TOKEN.to_owned()]))?;
    let canary = Canary::listen().await?;
    is_clean(&canary.violations())?;
    TcpStream::connect(("127.0.0.1", canary.port()))?;
    while canary.violations().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    names(&canary.violations(), "I12:")
}

/// The same seed and round, the same faults; another round, others.
pub fn plans() -> Result<(), Failed> {
    let steps = |seed, round| format!("{:?}", Plan::new(seed, round).take(100).collect::<Vec<_>>());
    assert_eq!(steps(1, 2), steps(1, 2));
    assert_ne!(steps(1, 2), steps(1, 3));
    assert_ne!(steps(1, 2), steps(2, 2));
    Ok(())
}
