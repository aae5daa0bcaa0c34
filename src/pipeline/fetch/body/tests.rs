use super::*;
use crate::{
    settings::{Limits, MIB},
    spool::{Budget, TempDir},
    turns::Turns,
};
use imagecheck::Format;
use std::{pin::pin, sync::Arc};
use support::origin::picture::jpeg;
use tokio::time::timeout;

fn budget(root: &tempfile::TempDir) -> Arc<Budget> {
    let limits = Limits {
        max_concurrent_chunks: 1,
        temp_storage_mb: 100,
        chunk_size_images: 10,
        estimated_image_bytes: MIB,
        max_image_bytes: 10 * MIB,
        max_buffer_bytes: 16 * MIB,
    };
    Budget::new(&limits, TempDir::create(root.path()).unwrap())
}

fn wants(json: &str) -> Rules {
    let validation = serde_json::from_str(json).unwrap();
    let filters = Filters::of(&validation);
    Rules { max_bytes: 10 * MIB, filters, respects_robots: false, blocked: Arc::default() }
}

/// A JPEG with so many bytes of comments before its header.
fn commented(bytes: usize) -> Vec<u8> {
    let jpeg = jpeg(1, "x");
    let comment = [&[0xFF, 0xFE, 0xFF, 0xFF][..], &[b'x'; 0xFFFD]].concat();
    [&jpeg[..2], &comment.repeat(bytes / comment.len()), &jpeg[2..]].concat()
}

/// Case 322: a header within the first MiB is judged before more than that is there, however the bytes come.
#[tokio::test]
async fn a_header_within_the_first_mebibyte_is_judged_there() {
    let root = tempfile::tempdir().unwrap();
    let allowance = budget(&root).admit(Duration::ZERO).await.unwrap();
    let rules = wants(r#"{"max_pixels":1}"#);
    for before in [0, 300_000, 530_000, 800_000, 980_000, 2_000_000] {
        for frame in [1460, 9000, 16384, 65536] {
            let mut bytes = commented(before);
            bytes.resize(3_000_000, 0);
            let mut writer = BodyWriter::new(&allowance, None);
            let mut header = Header::new(None, &rules);
            let mut judged = None;
            for piece in bytes.chunks(frame) {
                writer.push(piece.to_vec().into()).await.unwrap();
                if header.check(&writer).is_err() {
                    judged = Some(writer.len());
                    break;
                }
            }
            match judged {
                Some(at) => assert!(at < HEADER_BYTES + 65536, "{before} {frame}: {at}"),
                None => assert_eq!(before, 2_000_000, "{frame}"),
            }
        }
    }
}

/// Cases 321, 326: what a filter refuses is that, also when it is blocked; what is blocked says what it is.
#[tokio::test]
async fn a_blocked_body_says_what_it_is() {
    let root = tempfile::tempdir().unwrap();
    let allowance = budget(&root).admit(Duration::ZERO).await.unwrap();
    let walkers = Turns::new(1).seat();
    for (json, reason) in [
        ("{}", Reason::BlockedHash),
        (r#"{"formats":["jpeg"]}"#, Reason::BlockedHash),
        (r#"{"formats":["png"]}"#, Reason::UnsupportedFormat),
        (r#"{"max_pixels":1}"#, Reason::TooLarge),
    ] {
        let mut writer = BodyWriter::new(&allowance, None);
        writer.push(jpeg(1, "x")).await.unwrap();
        let (body, _) = writer.finish().await.unwrap();
        let TryError::Unwanted(refused) = blocked(body, &wants(json), &walkers).await else {
            panic!("{json}")
        };
        assert_eq!(refused.rejection.reason, reason, "{json}");
        assert_eq!(refused.format, Some(Format::Jpeg));
        assert!(refused.width.is_some() && refused.file_size.is_some(), "{refused:?}");
    }
}

/// A long body that broke off is walked through when it is its chunk's turn, and a short one at once.
#[tokio::test]
async fn a_long_body_that_broke_off_waits_for_its_turn() {
    let root = tempfile::tempdir().unwrap();
    let allowance = budget(&root).admit(Duration::ZERO).await.unwrap();
    let walkers = Turns::new(1).seat();
    let ended = async |len: usize| {
        let mut writer = BodyWriter::new(&allowance, None);
        writer.push(vec![0; len].into()).await.unwrap();
        let early = End::Early(TryError::Transient(Reason::Timeout.because(Detail::Total)));
        concluded(writer, early, &walkers).await.map(|_| ())
    };
    let held = walkers.turn().await;
    assert!(matches!(ended(1000).await, Err(TryError::Transient(_))));
    let mut long = pin!(ended(2_000_000));
    assert!(timeout(Duration::from_millis(200), &mut long).await.is_err(), "all turns are taken");
    drop(held);
    assert!(matches!(long.await, Err(TryError::Transient(_))));
    assert_eq!(walkers.held(), 0);
}
