//! JSON as others write it.

use super::*;

/// JSON as others write it is read; what is broken is refused with its line; rows stay rows.
#[test]
fn json_is_read_or_refused_with_its_line() {
    let lines =
        "{\"url\":\" http://a\\n\",\"n\":NaN,\"t\":\"NaN\"}\r\n\n\"http://b\"\n{\"u\":1}\n[1]\n7\n";
    let urls = ["http://a", "http://b", "{\"u\":1}", "[1]", "7"];
    let read = items("a.jsonl", lines);
    assert_eq!(pairs(&read).iter().map(|(url, _)| *url).collect::<Vec<_>>(), urls);
    assert_eq!(meta(&read[0]), Some(json!({"n": null, "t": "NaN"})));
    let array = format!(
        "[{}]",
        lines
            .trim()
            .replace("\r\n\n", ",\r\n\n")
            .replace("}\n", "},\n")
            .replace("\"\n", "\",\n")
            .replace("]\n", "],\n")
    );
    assert_eq!(items("a.json", array), read);
    assert!(
        refusal("a.jsonl", "{\"url\":\"http://a\"}\n{\"url\":\n").starts_with("line 2: no JSON")
    );
    assert!(refusal("a.jsonl", "{\n\"url\": 1\n}\n").starts_with("line 1: no JSON"));
    assert!(
        refusal("a.json", "[\n{\"url\":\"http://a\"},\n{\"url\"")
            .starts_with("line 3: no JSON array of rows, as `jq -s` writes it")
    );
    assert!(
        refusal("a.json", "[\"http://a\"]\n[\"http://b\"]").starts_with("line 2: no JSON array")
    );
    assert!(refusal("a.json", "{\n\"url\": 1\n}\n").contains("no JSON array"));
    assert!(items("a.json", "[]").is_empty());
    let odd = items(
        "a.json",
        "[{\"url\":\"http://a\",\"t\":\"x\\ud83d\"},{\"url\":\"http://b\",\"n\":1e999}]",
    );
    assert_eq!(meta(&odd[0]), Some(json!({"t": "x\u{fffd}"})));
    assert_eq!(odd[1].meta.as_ref().unwrap().get(), r#"{"n":1e999}"#);
}

/// Case 262: the same JSON in every format, as it was written; a label is a text.
#[test]
fn meta_and_labels_keep_their_spelling() {
    let meta = r#"{"n": 12345678901234567890123, "f":0.10000000000000000555, "e":1e999, "z":-0, "k":1, "k":1.0}"#;
    let object = format!(r#"{{"url":"http://a","label":1.50,"meta":{meta}}}"#);
    let cell = format!("\"{}\"", meta.replace('"', "\"\""));
    for (name, text) in [
        ("a.jsonl", object.clone()),
        ("a.json", format!("[{object}]")),
        ("a.csv", format!("url,label,meta\nhttp://a,1.50,{cell}\n")),
        ("b.csv", format!("url;label;meta\nhttp://a;1.50;{cell}\n")),
        ("a.tsv", format!("url\tlabel\tmeta\nhttp://a\t1.50\t{meta}\n")),
    ] {
        let item = items(name, &text).remove(0);
        assert_eq!(item.label.as_deref(), Some("1.50"), "{name}");
        assert_eq!(item.meta.unwrap().get(), meta, "{name}");
    }
    let lines = items("a.json", "[{\"url\":\"http://a\",\"meta\":{\n  \"k\": [1.0,\r\n 2]\n}}]");
    assert_eq!(lines[0].meta.as_ref().unwrap().get(), r#"{"k":[1.0,2]}"#);
}

/// Whatever is in the texts of an array: its values are divided where they are, and long ones, too.
#[test]
fn an_array_is_divided_where_its_values_are() {
    let long = "x".repeat(70_000);
    let rows = [
        r#"{"url":"http://a","t":"],[\"}{,\\"}"#.to_owned(),
        r#""http://b/[1],{2}""#.to_owned(),
        r#"[["],"],{"url":[]}]"#.to_owned(),
        format!("{{\"url\":\"http://c\",\"t\":\"{long}\"}}"),
        r#"{"url":"http://d","n":[NaN,{"k":"\ud83d"}]}"#.to_owned(),
    ];
    let lines = items("a.jsonl", rows.join("\n"));
    assert_eq!(lines.len(), 5);
    for between in [",", " ,\n", "\r\n,\t"] {
        let padding = " ".repeat(65_530);
        for array in [
            format!("[{}]", rows.join(between)),
            format!("\n {padding}[ {} ] \n", rows.join(between)),
        ] {
            assert_eq!(items("a.json", array), lines);
        }
    }
    for (array, words) in [
        (
            "[\"http://a\",]",
            "line 1: no JSON array of rows, as `jq -s` writes it and the name says: expected value",
        ),
        ("[,\"http://a\"]", "expected value"),
        ("[\"http://a\"]]", "trailing characters"),
        ("[\"http://a\"", "EOF"),
        ("[\"http://a\",\n\n{\"url\":}]", "line 3: no JSON array"),
        ("[\"http://a\",\n{\"url\"\n:\n}]", "line 4: no JSON array"),
        ("[{\"url\":\"http://a\"]", "no JSON array"),
    ] {
        let error = refusal("a.json", array);
        assert!(error.contains(words), "{array}: {error}");
    }
    let broken = format!("[\"http://a\",\n{{\"url\":\"http://b\",\"t\":\"{long}\",}}]");
    assert!(refusal("a.json", broken).starts_with("line 2: no JSON array"), "a long value too");
}

/// What marks a row in the list of a chunk is a key as any other in somebody's own.
#[test]
fn a_key_called_refused_is_kept_and_drops_nothing() {
    let row = r#"{"url":"http://a","caption":"x","refused":"item_too_large"}"#;
    for (name, text) in [("a.jsonl", row.to_owned()), ("a.json", format!("[{row}]"))] {
        let item = items(name, text).remove(0);
        assert_eq!((item.refused, item.caption.as_deref()), (None, Some("x")), "{name}");
        assert_eq!(item.meta.unwrap().get(), r#"{"refused":"item_too_large"}"#, "{name}");
    }
}
