use super::*;

fn parse(json: &str) -> Result<ChunkMessage, MessageError> {
    ChunkMessage::parse(json)
}

#[test]
fn the_documented_message_parses() {
    let message = parse(
        r#"{"version":1, "job_id":123, "chunk_index":4, "total_chunks":40, "priority":5,
         "source":{"blob":"job_123/9f86d081884c7d65/00004.jsonl"},
         "image_range":{"start":2000,"end":2499}, "keyword":"cat", "category":"animals",
         "validation":{"level":"medium","mode":"lenient","min_width":100,"min_height":100,
           "min_file_size_bytes":1024,"max_file_size_mb":10},
         "dedupe":{"scope":"job"}, "output":{"prefix":"job_123","extension":"jpg"}}"#,
    )
    .unwrap();
    assert_eq!(message.id(), ChunkId { job_id: 123, chunk_index: 4 });
    assert_eq!(message.validation.min_dimensions(), (100, 100));
    assert_eq!(message.validation.max_bytes(1 << 30), 10 << 20);
}

#[test]
fn a_message_survives_its_own_json() {
    let mut message = ChunkMessage::new(ChunkId { job_id: 1, chunk_index: 2 });
    message.source = Some(Source::Inline(vec![Item {
        label: Some("x".into()),
        caption: Some("two\nlines 𝄞".into()),
        class: Some(i64::MIN),
        meta: Some(serde_json::from_str(r#"{"k": [1, null], "n": 1e999, "n": -0.0}"#).unwrap()),
        ..Item::of_url("http://a/\u{0}")
    }]));
    let json = serde_json::to_string(&message).unwrap();
    assert!(!json.contains('\0'), "Postgres text refuses NUL");
    assert_eq!(parse(&json).unwrap(), message);
    let base64 = base64::engine::general_purpose::STANDARD.encode(&json);
    assert_eq!(parse(&base64).unwrap(), message, "H6");
}

/// Text and class are off unless they are asked for, and then the JSON, and the hash over a chunk's
/// work, are those of a message without them.
#[test]
fn text_and_class_are_asked_for_by_name() {
    let output = |output: &str| {
        let json = format!("{{\"version\":1,\"job_id\":1,\"chunk_index\":0,\"output\":{output}}}");
        parse(&json).map(|message| message.output)
    };
    let off = r#"{"extension":"jpg"}"#;
    for json in ["{}", off, r#"{"text":null,"class":false}"#] {
        let output = output(json).unwrap();
        assert_eq!(output, Output::default(), "{json}");
        assert_eq!(serde_json::to_string(&output).unwrap(), off);
    }
    for text in [OutputText::Caption, OutputText::Label] {
        let json = format!("{{\"extension\":\"jpg\",\"text\":\"{}\",\"class\":true}}", text.word());
        let output = output(&json).unwrap();
        assert_eq!((output.text, output.class), (Some(text), true));
        assert_eq!(serde_json::to_string(&output).unwrap(), json);
    }
    assert!(output(r#"{"text":"title"}"#).is_err() && output(r#"{"class":1}"#).is_err());
}

/// Other jobs are a set, and without some the JSON, and the hash over a chunk's work, are those of a
/// message that knows of none.
#[test]
fn other_jobs_are_a_set_and_none_is_as_before() {
    let dedupe = |dedupe: &str| {
        let json = format!("{{\"version\":1,\"job_id\":1,\"chunk_index\":0,\"dedupe\":{dedupe}}}");
        parse(&json).map(|message| serde_json::to_string(&message.dedupe).unwrap())
    };
    let none = r#"{"scope":"job"}"#;
    assert_eq!(dedupe("{}").unwrap(), none);
    assert_eq!(dedupe(r#"{"scope":"job","with_jobs":[]}"#).unwrap(), none);
    let two = r#"{"scope":"job","with_jobs":[5,6]}"#;
    assert_eq!(dedupe(r#"{"with_jobs":[6,5,6]}"#).unwrap(), two);
    assert!(dedupe(r#"{"scope":"chunk","with_jobs":[]}"#).is_ok());
    let jobs = |n: i64| format!("{{\"with_jobs\":{:?}}}", (2..2 + n).collect::<Vec<_>>());
    assert!(dedupe(&jobs(100)).is_ok());
    let refused = dedupe(&jobs(101)).unwrap_err().to_string();
    assert_eq!(refused, "dedupe.with_jobs has 101 jobs, and may have at most 100");
}

/// A list of URLs that just fits a message is longer in the row, and is read from there all the same.
#[test]
fn the_row_may_be_longer_than_the_message() {
    let urls: Vec<String> = (0..500).map(|n| format!("http://a/{n:0100}")).collect();
    let sent = serde_json::json!({"version": 1, "job_id": 1, "chunk_index": 0,
        "source": {"urls": urls}});
    let message = parse(&sent.to_string()).unwrap();
    let stored = serde_json::to_string(&message).unwrap();
    assert!(sent.to_string().len() < MESSAGE_LIMIT_BYTES && stored.len() > MESSAGE_LIMIT_BYTES);
    assert_eq!(ChunkMessage::from_json(&stored).unwrap(), message);
    // Its values are checked as those of any message.
    let bad = stored.replace("\"chunk_index\":0", "\"chunk_index\":100000");
    assert!(ChunkMessage::from_json(&bad).is_err());
}

/// Cases 111-116, 119, 120, 414.
#[test]
fn messages_that_can_never_work_are_refused_with_a_reason() {
    let rows = support::cases::rows("messages");
    assert!(rows.len() > 40, "the table is read");
    for row in rows {
        let error = parse(&row.input).unwrap_err();
        let chain = match &error {
            MessageError::Shape(source) => format!("{error} {source}"),
            MessageError::NotJson(_) | MessageError::NotObject | MessageError::Value { .. } => {
                error.to_string()
            }
        };
        assert!(chain.contains(&row.outcome), "{:.80}: {chain}", row.input);
    }
}

/// A fuzz target: what is taken holds what is checked, survives its own JSON, and is a row of text.
#[test]
fn fuzz_messages() {
    let rows = support::cases::rows("messages").into_iter().map(|row| row.input.into_bytes());
    let mut seeds: Vec<Vec<u8>> = rows.filter(|input| input.len() < 4096).collect();
    seeds.push(
        br#"{"version":1,"job_id":7,"chunk_index":4,"total_chunks":40,"priority":5,
        "source":{"items":[{"url":"http://a/\u0000","label":"x","caption":"c","class":3,"meta":{"k":[1,null,1e3]}}]},
        "image_range":{"start":0,"end":9},"validation":{"level":"slow","mode":"strict",
        "min_width":1,"max_file_size_mb":0.5},"dedupe":{"scope":"chunk"},
        "output":{"prefix":"job_7","text":"label","class":true}}"#
            .to_vec(),
    );
    seeds
        .push(br#"{"version":1,"job_id":1,"chunk_index":0,"dedupe":{"with_jobs":[5,6]}}"#.to_vec());
    seeds.push(
        br#"{"version":1,"job_id":1,"chunk_index":0,"source":{"blob":"a/b.jsonl"}}"#.to_vec(),
    );
    fuzz::target::run("message", &seeds, |bytes| {
        let Ok(message) = parse(&String::from_utf8_lossy(bytes)) else { return };
        assert!(message.job_id >= 0 && (0..=ChunkId::MAX_INDEX).contains(&message.chunk_index));
        assert!((0..=10).contains(&message.priority));
        assert!(message.validation.max_bytes(1 << 30) <= 1 << 30);
        let json = serde_json::to_string(&message).unwrap();
        assert!(!json.contains('\0'), "Postgres text refuses NUL");
        assert_eq!(ChunkMessage::from_json(&json).unwrap(), message, "{json}");
    });
}
