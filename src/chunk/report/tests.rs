use super::*;
use serde_json::json;

/// Manifests of earlier releases have no label, caption, class, detail and meta; where there is nothing to
/// say they are absent, so that a manifest without them has the bytes that it had.
#[test]
fn items_of_earlier_manifests_are_read_and_written_as_they_were() {
    let earlier = "{\"idx\":0,\"url\":\"http://a/1\",\"status\":\"failed\",\"reason\":\"tls\",\
        \"key\":null,\"format\":null,\"width\":null,\"height\":null,\"file_size\":null,\
        \"sha256\":null,\"phash\":null,\"duplicate_of\":null,\"offset\":null,\"length\":null}";
    let item: ItemReport = serde_json::from_str(earlier).unwrap();
    assert_eq!(item, ItemReport::rejected(0, "http://a/1".into(), None, Reason::Tls));
    assert_eq!(serde_json::to_string(&item).unwrap(), earlier);

    let label = Some("a brown dog".to_owned());
    let why = Reason::Tls.because(Detail::NotYetValid);
    let item = ItemReport::rejected(0, "http://a/1".into(), label, why);
    let written = serde_json::to_value(&item).unwrap();
    let said = (&written["label"], &written["reason"], &written["detail"]);
    assert_eq!(said, (&json!("a brown dog"), &json!("tls"), &json!("not_yet_valid")));
    assert_eq!(serde_json::from_value::<ItemReport>(written.clone()).unwrap(), item);

    // A word of a later release is not understood, and everything beside it is.
    let mut later = written;
    for key in ["reason", "detail", "format"] {
        later[key] = json!("gremlins");
    }
    later["violations"] = json!(["gremlins", "too_small"]);
    let read: ItemReport = serde_json::from_value(later.clone()).unwrap();
    let violations = vec![Reason::TooSmall];
    assert_eq!(read, ItemReport { reason: None, detail: None, violations, ..item });
    later["reason"] = json!(7);
    assert!(serde_json::from_value::<ItemReport>(later).is_err(), "that is no word");
}

/// A manifest of a later release, with reasons that this one does not know, completes the chunk as it says: its
/// sums have their words.
#[test]
fn a_manifest_of_a_later_release_completes_its_chunk() {
    let items = vec![ItemReport::rejected(0, "http://a/1".into(), None, Reason::Tls)];
    let mut later = serde_json::to_value(manifest(items)).unwrap();
    later["items"][0]["reason"] = json!("gremlins");
    later["errors"] = json!({"gremlins": 1});
    later["gremlins"] = json!([7]);
    let read: Manifest = serde_json::from_value(later).unwrap();
    let completion = Completion::from_manifest(&read);
    assert_eq!(completion.totals.errors, [("gremlins".to_owned(), 1)].into());
}

/// Cases 264, 265: whatever a list holds, what is written fits what is read, says the same of each
/// URL, and is whole if that fits.
#[test]
fn a_manifest_never_outgrows_its_reader() {
    let rng = &mut fastrand::Rng::with_seed(16);
    let kinds = ["a", "\u{1}", "\"", "\\", "\n", "\u{fffd}", "ü", "\u{7f}"];
    let mut shortened = 0;
    for _ in 0..60 {
        let n = rng.usize(1..8);
        let text = |rng: &mut fastrand::Rng| {
            let most = 1 << rng.u8(6..14);
            kinds[rng.usize(..8)].repeat(rng.usize(..most))
        };
        let mut item = |idx| {
            let (url, label) = (text(rng), rng.bool().then(|| text(rng)));
            let mut item = ItemReport::rejected(idx, url, label, Reason::ExactDuplicate);
            item.caption = rng.bool().then(|| text(rng));
            item.class = rng.bool().then_some(i64::MIN);
            item.meta = rng.bool().then(|| Meta::of_text(&text(rng)));
            item.sha256 = Some("f".repeat(64));
            item.phash.clone_from(&item.sha256);
            item.duplicate_of = Some("00000_00000".to_owned());
            item.violations = vec![Reason::TooSmall];
            item
        };
        let items: Vec<ItemReport> = (0..n).map(&mut item).collect();
        let manifest = manifest(items);
        let most = 4 * 1024 * (n + 1);
        let json = manifest.to_json(most);
        assert!(json.len() <= most, "{} of {most}", json.len());
        let read: Manifest = serde_json::from_slice(&json).unwrap();
        if serde_json::to_vec(&manifest).unwrap().len() <= most {
            assert_eq!(read, manifest);
            continue;
        }
        shortened += 1;
        assert_eq!(read.totals, manifest.totals);
        for (short, item) in read.items.iter().zip(&manifest.items) {
            assert!(item.url.starts_with(short.url.trim_end_matches("...")));
            let verdict =
                |item: &ItemReport| (item.idx, item.status, item.reason, item.sha256.clone());
            assert_eq!(verdict(short), verdict(item));
        }
        assert_eq!(read.items.len(), n);
    }
    assert!(shortened > 5 && shortened < 55, "{shortened}");
}

fn manifest(items: Vec<ItemReport>) -> Manifest {
    let shard = ShardRef { blob: "b".into(), bytes: 1024, sha256: "f".repeat(64), samples: 0 };
    Manifest {
        schema: MANIFEST_SCHEMA.to_owned(),
        id: ChunkId { job_id: 1, chunk_index: 2 },
        source_sha256: "f".repeat(64),
        image_range: None,
        attempt: 1,
        fence: Fence(1),
        claim: ClaimToken::none(),
        started_at: String::new(),
        completed_at: String::new(),
        duration_sec: 0.5,
        totals: Totals::default(),
        shard,
        items,
    }
}
