use super::*;
use crate::settings::MIB;
use bytes::Bytes;
use std::io::{Read as _, Seek as _, SeekFrom};

/// 100 MB of temp space, images of at most 10 MiB, and the given chunks and memory.
fn limits(chunks: u32, buffer_mb: u64) -> Limits {
    Limits {
        max_concurrent_chunks: chunks,
        temp_storage_mb: 100,
        chunk_size_images: 500,
        estimated_image_bytes: MIB / 2,
        max_image_bytes: 10 * MIB,
        max_buffer_bytes: buffer_mb * MIB,
    }
}

fn budget(root: &std::path::Path) -> Arc<Budget> {
    // 16 MiB: two blocks of 4 MiB and 8 MiB for bodies; 80 MiB of temp in two shares.
    Budget::new(&limits(2, 16), TempDir::create(root).unwrap())
}

async fn write(allowance: &Allowance, frames: usize, expected: Option<u64>) -> Body {
    let mut writer = BodyWriter::new(allowance, expected);
    for i in 0..frames {
        let byte = u8::try_from(i % 251).unwrap();
        writer.push(Bytes::from(vec![byte; 100_000])).await.unwrap();
    }
    let (body, sha256) = writer.finish();
    let (body, same) = body
        .examine(false, move |reader, len| {
            let mut all = Vec::new();
            reader.seek(SeekFrom::Start(0)).unwrap();
            reader.read_to_end(&mut all).unwrap();
            use sha2::Digest as _;
            u64::try_from(all.len()).unwrap() == len && sha2::Sha256::digest(&all)[..] == sha256[..]
        })
        .await
        .unwrap();
    assert!(same, "the body reads back as it was written");
    body
}

/// X7: what is created is accounted for, in memory, then in files, and freed when dropped.
#[tokio::test]
async fn bodies_grow_in_memory_then_in_files_within_the_budget() {
    let root = tempfile::tempdir().unwrap();
    let budget = budget(root.path());
    let allowance = budget.admit(Duration::ZERO).await.unwrap();
    let first = write(&allowance, 75, None).await;
    assert_eq!(budget.temp_used_bytes(), 0);
    assert!(budget.memory_used_bytes() >= 7_500_000);
    let second = write(&allowance, 90, Some(9_000_000)).await;
    assert_eq!(budget.temp_used_bytes(), 9_000_000);
    assert_eq!(budget.directory().walk_bytes(), 9_000_000);
    assert_eq!(budget.temp_on_disk_bytes(), 9_000_000, "on the disk and in the ledger: once");
    let mut pieces = second.into_pieces();
    let mut n = 0;
    while let Some(piece) = pieces.next().await.unwrap() {
        n += piece.len();
    }
    assert_eq!(n, 9_000_000);
    drop((first, pieces));
    assert_eq!((budget.temp_used_bytes(), budget.memory_used_bytes()), (0, 0));
    assert_eq!(budget.directory().walk_bytes(), 0);
    assert_eq!(budget.temp_peak_bytes(), 9_000_000);
}

/// I6: with far more asked for than there is, everything passes and nothing is exceeded.
#[tokio::test]
async fn many_large_bodies_pass_one_after_another_without_deadlock() {
    let root = tempfile::tempdir().unwrap();
    let budget = budget(root.path());
    let allowance = budget.admit(Duration::ZERO).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let allowance = allowance.clone();
        tasks.spawn(async move { drop(write(&allowance, 100, None).await) });
    }
    tasks.join_all().await;
    let share = limits(2, 16).chunk_temp_share_bytes();
    assert!(allowance.temp_peak_bytes() <= share, "{} > {share}", allowance.temp_peak_bytes());
    assert!(budget.temp_peak_bytes() > 20 * MIB, "the files were needed");
    assert_eq!((budget.temp_used_bytes(), budget.memory_used_bytes()), (0, 0));
}

#[tokio::test]
async fn a_full_instance_admits_when_a_place_is_freed() {
    let root = tempfile::tempdir().unwrap();
    let budget = budget(root.path());
    let first = budget.admit(Duration::ZERO).await.unwrap();
    let _second = budget.admit(Duration::ZERO).await.unwrap();
    assert!(budget.admit(Duration::from_millis(5)).await.is_none());
    drop(first);
    assert!(budget.admit(Duration::from_millis(5)).await.is_some());
}

/// H9: what another process holds under the same root comes off the budget: first the room beside the
/// heads, then places.
#[tokio::test]
async fn the_bytes_of_another_process_come_off_the_budget() {
    let root = tempfile::tempdir().unwrap();
    let (older, budget) = (TempDir::create(root.path()).unwrap(), budget(root.path()));
    let first = budget.admit(Duration::ZERO).await.unwrap();
    let left = older.new_path();
    // 80 MiB in all, of which two heads of 10 MiB: 60 MiB are for the rest.
    std::fs::write(&left, vec![0; 55 * 1024 * 1024]).unwrap();
    budget.recount_others();
    let growing = first.reserve_nothing();
    growing.grow_temp(5 * MIB).await;
    // More than there is: the head's own room.
    growing.grow_temp(10 * MIB).await;
    assert!(!budget.try_temp(1, false));
    std::fs::write(&left, vec![0; 56 * 1024 * 1024]).unwrap();
    assert!(budget.admit(Duration::ZERO).await.is_none(), "56 + 5 + two heads are above 80");
    drop(growing);
    assert!(budget.admit(Duration::ZERO).await.is_some());
    // Whoever waits for room is not in the way of the others.
    assert_eq!(budget.n_admitted(), 1);
    drop(older);
    budget.recount_others();
    let growing = first.reserve_nothing();
    growing.grow_temp(30 * MIB).await;
    assert_eq!(budget.temp_used_bytes(), 30 * MIB);
}

/// M2: the gauge counts what takes the platform's quota: what the ledger does not know of, and what
/// the dead left. The high water stays the ledger's.
#[tokio::test]
async fn the_temp_gauge_shows_the_disk_and_not_only_the_ledger() {
    let root = tempfile::tempdir().unwrap();
    let budget = budget(root.path());
    assert_eq!(budget.temp_on_disk_bytes(), 0);
    let dead = root.path().join("pixcrawler-chunks/4194305-dddddddddddddddddddddddddddddddd");
    std::fs::create_dir(&dead).unwrap();
    std::fs::write(dead.with_extension("lock"), []).unwrap();
    let left = std::fs::File::create(dead.join("0.body")).unwrap();
    // More than the budget of 80 MiB, and than the limit of 100 MB.
    left.set_len(460 * MIB).unwrap();
    assert_eq!(budget.temp_on_disk_bytes(), 460 * MIB);
    let allowance = budget.admit(Duration::ZERO).await;
    assert!(allowance.is_none(), "it comes off the budget, too");
    let own = budget.directory().new_path();
    std::fs::write(&own, vec![0; 3_000]).unwrap();
    assert_eq!(budget.temp_on_disk_bytes(), 460 * MIB + 3_000, "nobody reserved them");
    TempDir::sweep(root.path()).unwrap();
    assert_eq!(budget.temp_on_disk_bytes(), 3_000);
    let allowance = budget.admit(Duration::ZERO).await.unwrap();
    let reserved = allowance.reserve_nothing();
    reserved.grow_temp(MIB).await;
    assert_eq!(budget.temp_on_disk_bytes(), MIB, "reserved and not written yet");
    assert_eq!(budget.temp_peak_bytes(), MIB);
}
