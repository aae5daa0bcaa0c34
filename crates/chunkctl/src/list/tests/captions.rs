//! Captions and classes of lists.

use super::{super::*, file_of, meta, rows_of};
use serde_json::json;

/// Cases 400, 401: captions as they are written, and classes that are integers; the others are told and
/// stay in the meta.
#[test]
fn tables_have_captions_and_classes() {
    let table = "Class,url,CAPTION\n3,u/1,\"two\nlines, 𝄞 \"\n2.0,u/2,\n,u/3,NaN\ncat,u/4,x\n007,u/5,y\n1.000,u/6,z\n";
    let read = |name: &str, text: &str| {
        rows_of(name, file_of(text.as_bytes()), None, &Names::default()).unwrap()
    };
    let rows = read("a.csv", table);
    let said: Vec<_> = rows
        .iter()
        .map(|Row { item, doubt, .. }| (item.caption.as_deref(), item.class, meta(item), *doubt))
        .collect();
    let odd = |text: &str| Some(json!({"Class": text}));
    assert_eq!(
        said,
        [
            (Some("two\nlines, 𝄞 "), Some(3), None, None),
            (None, Some(2), None, None),
            (None, None, None, None),
            (Some("x"), None, odd("cat"), Some(Doubt::Class)),
            (Some("y"), None, odd("007"), Some(Doubt::Class)),
            (Some("z"), None, odd("1.000"), Some(Doubt::Class)),
        ]
    );
    let lines = "{\"url\":\"u/1\",\"class\":\"cat\"}\n{\"url\":\"u/2\",\"class\":4}\n";
    for (name, text) in [
        ("a.jsonl", lines.to_owned()),
        ("a.json", format!("[{}]", lines.trim().replace('\n', ","))),
    ] {
        let rows = read(name, &text);
        let doubts: Vec<_> = rows.iter().map(|row| (row.item.class, row.doubt)).collect();
        assert_eq!(doubts, [(None, Some(Doubt::Class)), (Some(4), None)], "{name}");
    }
}
