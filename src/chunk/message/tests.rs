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
        url: "http://a/\u{0}".into(),
        label: Some("x".into()),
        meta: Some(serde_json::json!({"k": [1, null]})),
    }]));
    let json = serde_json::to_string(&message).unwrap();
    assert!(!json.contains('\0'), "Postgres text refuses NUL");
    assert_eq!(parse(&json).unwrap(), message);
    let base64 = base64::engine::general_purpose::STANDARD.encode(&json);
    assert_eq!(parse(&base64).unwrap(), message, "H6");
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
    assert_eq!(ChunkMessage::from_stored(&stored).unwrap(), message);
    // Its values are checked as those of any message.
    let bad = stored.replace("\"chunk_index\":0", "\"chunk_index\":100000");
    assert!(ChunkMessage::from_stored(&bad).is_err());
}

/// Cases 111-116, 119, 120 of the catalogue.
#[test]
fn messages_that_can_never_work_are_refused_with_a_reason() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_field =
        format!(r#"{{"version":1,"source":{{"items":[{{"url":"","meta":{deep}}}]}}}}"#);
    let long = format!(
        r#"{{"version":1,"job_id":1,"chunk_index":0,"source":{{"urls":["{}"]}}}}"#,
        "x".repeat(MESSAGE_LIMIT_BYTES)
    );
    for (text, reason) in [
        ("", "neither JSON"),
        ("hello", "neither JSON"),
        ("aGVsbG8=", "neither JSON"),
        ("NaN", "neither JSON"),
        (r#"{"version":1,"chunk_index":0}"#, "job_id"),
        (r#"{"version":2,"job_id":1,"chunk_index":0}"#, "version is 2"),
        (r#"{"version":1,"job_id":"1","chunk_index":0}"#, "invalid type"),
        (r#"{"version":1,"job_id":-1,"chunk_index":0}"#, "0 or more"),
        (r#"{"version":1,"job_id":9223372036854775808,"chunk_index":0}"#, "i64"),
        (r#"{"version":1,"job_id":"'; drop table","chunk_index":0}"#, "invalid type"),
        (r#"{"version":1,"job_id":1,"chunk_index":100000}"#, "0 to 99999"),
        (r#"{"version":1,"job_id":1,"job_id":2,"chunk_index":0}"#, "duplicate field"),
        (r#"{"version":1,"job_id":1,"chunk_index":0,"source":{}}"#, "blob, urls or items"),
        (
            r#"{"version":1,"job_id":1,"chunk_index":0,"source":{"blob":"../a.txt"}}"#,
            "source names no blob",
        ),
        (
            r#"{"version":1,"job_id":1,"chunk_index":0,"output":{"prefix":"job_2"}}"#,
            "output.prefix must be job_1",
        ),
        (r#"{"version":1,"job_id":1,"chunk_index":0,"source":{"urls":["\ud800"]}}"#, "escape"),
        (deep.as_str(), "no JSON object"),
        (long.as_str(), "60000 bytes"),
        ("null", "no JSON object"),
        ("[1,1,0]", "no JSON object"),
        (deep_field.as_str(), "recursion"),
    ] {
        let error = parse(text).unwrap_err();
        let chain = match &error {
            MessageError::Shape(source) => format!("{error} {source}"),
            MessageError::NotJson(_) | MessageError::NotObject | MessageError::Value { .. } => {
                error.to_string()
            }
        };
        assert!(chain.contains(reason), "{text:.80}: {chain}");
    }
}
