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
    let (body, sha256) = writer.finish().await.unwrap();
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

/// X7 PR2: what is created is accounted for, in memory, then in files, and freed when dropped.
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

/// H9 F4 X6: what another process holds under the same root comes off the budget: first the room beside the
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

/// A PNG chunk.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut sum = flate2::Crc::new();
    sum.update(&[kind, data].concat());
    let len = u32::try_from(data.len()).unwrap();
    [&len.to_be_bytes(), &kind[..], data, &sum.sum().to_be_bytes()].concat()
}

/// The worst patterns of containers for a reader: as many tiny pieces as fit.
fn worst(len: usize) -> Vec<(&'static str, Vec<u8>)> {
    let filled = |start: &[u8], unit: &[u8]| {
        let mut bytes = start.to_vec();
        while bytes.len() + unit.len() <= len {
            bytes.extend_from_slice(unit);
        }
        bytes
    };
    let header = chunk(b"IHDR", b"\0\0\0\x01\0\0\0\x01\x08\0\0\0\0");
    let png = [b"\x89PNG\r\n\x1a\n", &header[..]].concat();
    let mut webp = filled(b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0", b"abcd\0\0\0\0");
    let size = u32::try_from(webp.len() - 8).unwrap();
    webp[4..8].copy_from_slice(&size.to_le_bytes());
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
    let jpeg = std::fs::read_dir(fixtures).unwrap().flatten().map(|entry| entry.path());
    let jpeg = jpeg.filter(|path| path.extension().is_some_and(|it| it == "jpg")).min().unwrap();
    let jpeg = std::fs::read(jpeg).unwrap();
    let scan = jpeg.windows(2).position(|two| two == b"\xff\xda").unwrap();
    let scan = &jpeg[..scan + 2 + usize::from(jpeg[scan + 3])];
    vec![
        ("jpeg", filled(b"\xff\xd8", b"\xff\xfe\0\x02")),
        ("png_data", filled(&png, &chunk(b"IDAT", b""))),
        ("png", filled(&png, &chunk(b"abCd", b""))),
        ("jpeg_scan", filled(scan, b"\xff\0")),
        ("gif", filled(b"GIF89a\x01\0\x01\0\0\0\0!\xfe", b"\x01a")),
        ("gif_extensions", filled(b"GIF89a\x01\0\x01\0\0\0\0", b"!\xfe\x01a\0")),
        ("webp", webp),
    ]
}

/// Case 249: the work of a walk is linear in the length of a body, in memory and on disk: a segment is
/// looked up, or read from the file, once or twice.
#[tokio::test]
async fn a_walk_reads_each_segment_once_or_twice() {
    let root = tempfile::tempdir().unwrap();
    for buffer_mb in [96, 16] {
        let limits =
            Limits { max_image_bytes: 45 * MIB, temp_storage_mb: 400, ..limits(2, buffer_mb) };
        let budget = Budget::new(&limits, TempDir::create(root.path()).unwrap());
        let allowance = budget.admit(Duration::ZERO).await.unwrap();
        for len in [1, 10, 40] {
            // One kind shows how the work grows; a debug build takes seconds for each.
            let kinds = if len == 1 { usize::MAX } else { 1 };
            for (kind, bytes) in worst(len * 1024 * 1024).into_iter().take(kinds) {
                let mut writer = BodyWriter::new(&allowance, None);
                for frame in bytes.chunks(50_000) {
                    writer.push(Bytes::copy_from_slice(frame)).await.unwrap();
                }
                let (body, _) = writer.finish().await.unwrap();
                assert_eq!(body.is_on_disk(), buffer_mb == 16 && len > 1, "{kind} {len}");
                let walk = |reader: &mut BodyReader<'_>, len: u64| {
                    assert!(imagecheck::inspect(reader, len, imagecheck::Level::Medium).is_err());
                    reader.n_segments()
                };
                let (_, n_segments) = body.examine(true, walk).await.unwrap();
                // A WebP is walked twice.
                let most = u64::try_from(2 * bytes.len().div_ceil(64 * 1024) + 8).unwrap();
                assert!(n_segments <= most, "{kind} of {len} MB: {n_segments} segments");
            }
        }
    }
}

/// Case 249: seeking back and forth costs one segment each time, and none inside of the one at hand.
#[tokio::test]
async fn a_seek_costs_at_most_one_segment() {
    let root = tempfile::tempdir().unwrap();
    let budget = budget(root.path());
    let allowance = budget.admit(Duration::ZERO).await.unwrap();
    let in_memory = write(&allowance, 75, None).await;
    let on_disk = write(&allowance, 75, None).await;
    assert!(!in_memory.is_on_disk() && on_disk.is_on_disk());
    for body in [in_memory, on_disk] {
        let walk = |reader: &mut BodyReader<'_>, len: u64| {
            let mut counts = Vec::new();
            let mut byte = [0];
            for round in 0..100 {
                for from in [SeekFrom::Start(round), SeekFrom::End(-1 - round.cast_signed())] {
                    let at = reader.seek(from).unwrap();
                    reader.read_exact(&mut byte).unwrap();
                    assert_eq!(u64::from(byte[0]), at / 100_000 % 251);
                }
            }
            counts.push(reader.n_segments());
            for at in 0..1000 {
                reader.seek(SeekFrom::Start(at)).unwrap();
                reader.read_exact(&mut byte).unwrap();
            }
            counts.push(reader.n_segments());
            assert_eq!(reader.seek(SeekFrom::Current(len.cast_signed())).unwrap(), len + 1000);
            assert_eq!(reader.read(&mut byte).unwrap(), 0);
            counts
        };
        let (_, counts) = body.examine(true, walk).await.unwrap();
        assert_eq!(counts, [200, 201]);
    }
}

/// Case 245: frames of one byte are written to the file in segments.
#[tokio::test]
async fn tiny_frames_are_written_together() {
    let root = tempfile::tempdir().unwrap();
    let budget = budget(root.path());
    let allowance = budget.admit(Duration::ZERO).await.unwrap();
    let _in_memory = write(&allowance, 80, None).await;
    let mut writer = BodyWriter::new(&allowance, None);
    let mut sizes = std::collections::BTreeSet::new();
    for n in 0..900_000_u32 {
        writer.push(Bytes::copy_from_slice(&n.to_le_bytes()[..1])).await.unwrap();
        if n % 1000 == 999 {
            sizes.insert(budget.directory().walk_bytes());
        }
    }
    let paid = budget.temp_used_bytes();
    assert!(paid > 0 && sizes.len() <= 14, "{paid} {sizes:?}");
    let (body, _) = writer.finish().await.unwrap();
    assert!(body.is_on_disk());
    assert_eq!((body.len(), budget.directory().walk_bytes()), (900_000, paid));
}
