//! Parquet, as its own library writes it.
#![cfg(feature = "parquet")]

mod kinds;

use super::*;
use ::parquet::{
    basic::{Compression, Encoding, ZstdLevel},
    data_type::{
        ByteArray, ByteArrayType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, Int32Type,
        Int64Type,
    },
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};
use std::sync::Arc;

/// The values of a column in a row group; none: null.
enum Column<'c> {
    Text(&'c [Option<&'c [u8]>]),
    Int(&'c [Option<i32>]),
    Long(&'c [Option<i64>]),
    Double(&'c [Option<f64>]),
    Fixed(&'c [Option<&'c [u8]>]),
}

/// The values that are there, and the level at which each row has one, or none.
fn flat<V: Clone, W>(values: &[Option<V>], of: impl Fn(V) -> W) -> (Vec<W>, Vec<i16>) {
    let levels = values.iter().map(|value| i16::from(value.is_some())).collect();
    (values.iter().flatten().cloned().map(of).collect(), levels)
}

fn write(schema: &str, properties: WriterProperties, groups: &[&[Column<'_>]]) -> Vec<u8> {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for columns in groups {
        let mut group = writer.next_row_group().unwrap();
        for values in *columns {
            let mut column = group.next_column().unwrap().unwrap();
            match values {
                Column::Text(values) => {
                    let (values, levels) = flat(values, |value| ByteArray::from(value.to_vec()));
                    let typed = column.typed::<ByteArrayType>();
                    typed.write_batch(&values, Some(&levels), None).unwrap();
                }
                Column::Fixed(values) => {
                    let (values, levels) =
                        flat(values, |value| FixedLenByteArray::from(value.to_vec()));
                    let typed = column.typed::<FixedLenByteArrayType>();
                    typed.write_batch(&values, Some(&levels), None).unwrap();
                }
                Column::Int(values) => {
                    let (values, levels) = flat(values, |value| value);
                    let typed = column.typed::<Int32Type>();
                    typed.write_batch(&values, Some(&levels), None).unwrap();
                }
                Column::Long(values) => {
                    let (values, levels) = flat(values, |value| value);
                    let typed = column.typed::<Int64Type>();
                    typed.write_batch(&values, Some(&levels), None).unwrap();
                }
                Column::Double(values) => {
                    let (values, levels) = flat(values, |value| value);
                    let typed = column.typed::<DoubleType>();
                    typed.write_batch(&values, Some(&levels), None).unwrap();
                }
            }
            column.close().unwrap();
        }
        group.close().unwrap();
    }
    writer.into_inner().unwrap()
}

fn texts<'t>(values: &[&'t str]) -> Vec<Option<&'t [u8]>> {
    values.iter().map(|text| Some(text.as_bytes())).collect()
}

const TWO: &str = "message list { optional binary url (UTF8); optional binary label (UTF8); }";

/// Case 340: every compression and encoding; row groups are one after another.
#[test]
fn parquet_is_read_however_it_is_packed() {
    let urls = texts(&["http://a/1", "http://a/2"]);
    let labels = [Some(&b"cat"[..]), None];
    let more = texts(&["http://a/3", "no url"]);
    for packed in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(Default::default()),
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        for (dictionary, encoding) in [
            (true, Encoding::PLAIN),
            (false, Encoding::PLAIN),
            (false, Encoding::DELTA_BYTE_ARRAY),
            (false, Encoding::DELTA_LENGTH_BYTE_ARRAY),
        ] {
            let properties = WriterProperties::builder()
                .set_compression(packed)
                .set_dictionary_enabled(dictionary)
                .set_encoding(encoding)
                .build();
            let file = write(
                TWO,
                properties,
                &[
                    &[Column::Text(&urls), Column::Text(&labels)],
                    &[Column::Text(&more), Column::Text(&labels)],
                ],
            );
            let expected = [
                ("http://a/1", Some("cat")),
                ("http://a/2", None),
                ("http://a/3", Some("cat")),
                ("no url", None),
            ];
            for name in ["a.parquet", "A.PARQUET", "-", "list"] {
                assert_eq!(pairs(&items(name, &file)), expected, "{packed:?} {name}");
            }
        }
    }
}

/// Case 341: LAION's columns with no option; numbers are numbers, what is none is null, bytes are a text
/// or base64, a struct is an object.
#[test]
fn columns_of_parquet_mean_what_those_of_tables_do() {
    let schema = "message list { optional binary URL (UTF8); optional binary TEXT (UTF8); \
        optional int32 WIDTH; optional double similarity; optional binary hash; \
        optional int32 day (DATE); optional int64 class; \
        optional group exif { optional int32 z; optional binary a (UTF8); } }";
    let (url, text) = (texts(&["http://a/1", "http://a/2"]), texts(&["two words", "NaN"]));
    let hash = [Some(&b"\xff\x00"[..]), Some(&b"abc"[..])];
    let file = write(
        schema,
        WriterProperties::default(),
        &[&[
            Column::Text(&url),
            Column::Text(&text),
            Column::Int(&[Some(640), None]),
            Column::Double(&[Some(0.25), Some(f64::NAN)]),
            Column::Text(&hash),
            Column::Int(&[Some(20_000), None]),
            Column::Long(&[Some(i64::MAX), Some(-1)]),
            Column::Int(&[Some(1), None]),
            Column::Text(&[None, None]),
        ]],
    );
    let read = items("a.parquet", file);
    let said: Vec<_> =
        read.iter().map(|i| (i.url.as_str(), i.caption.as_deref(), i.class)).collect();
    assert_eq!(
        said,
        [("http://a/1", Some("two words"), Some(i64::MAX)), ("http://a/2", Some("NaN"), Some(-1)),]
    );
    let metas: Vec<&str> = read.iter().map(|item| item.meta.as_ref().unwrap().get()).collect();
    assert!(metas[0].starts_with(
        r#"{"WIDTH":640,"similarity":0.25,"hash":{"base64":"/wA="},"day":"2024-10-04""#
    ));
    assert!(metas[1].starts_with(r#"{"WIDTH":null,"similarity":null,"hash":"abc","day":null"#));
}

/// One list in every format, compressed or not, is the same items.
#[test]
fn one_list_in_every_format_is_the_same_items() {
    let urls = ["http://a/1", "http://a/ü,2", "no url", "http://a/4"];
    let column = texts(&urls);
    let schema = "message list { optional binary url (UTF8); }";
    let expected = items("a.txt", urls.join("\n"));
    let quoted: Vec<String> = urls.iter().map(|url| format!("\"{url}\"")).collect();
    let objects: Vec<String> = urls.iter().map(|url| format!("{{\"url\":\"{url}\"}}")).collect();
    let file = write(schema, WriterProperties::default(), &[&[Column::Text(&column)]]);
    assert_eq!(items("a.parquet", file), expected);
    for (name, text) in [
        ("a.txt", urls.join("\n")),
        ("a.jsonl", objects.join("\n")),
        ("a.json", format!("[{}]", objects.join(","))),
        ("a.csv", format!("url\n{}", quoted.join("\n"))),
        ("a.tsv", format!("url\n{}", urls.join("\n"))),
    ] {
        assert_eq!(items(name, &text), expected, "{name}");
        assert_eq!(items(&format!("{name}.gz"), gzip(text.as_bytes())), expected, "{name}.gz");
    }
    // What else is said of them, in those that can say it.
    let (captions, labels) = (["a, b", "ü \"c\"", "d", "e"], ["x", "y", "z", "w"]);
    let schema = "message list { optional binary url (UTF8); optional binary caption (UTF8); \
        optional binary label (UTF8); optional int32 class; optional binary k (UTF8); }";
    let file = write(
        schema,
        WriterProperties::default(),
        &[&[
            Column::Text(&column),
            Column::Text(&texts(&captions)),
            Column::Text(&texts(&labels)),
            Column::Int(&[Some(0), Some(1), Some(2), Some(3)]),
            Column::Text(&texts(&["v", "v", "v", "v"])),
        ]],
    );
    let expected = items("a.parquet", file);
    assert_eq!(expected[1].caption.as_deref(), Some("ü \"c\""));
    assert_eq!(expected[1].meta.as_ref().unwrap().get(), r#"{"k":"v"}"#);
    let row = |n: usize| {
        let object = json!({"url": urls[n], "caption": captions[n], "label": labels[n], "class": n, "k": "v"});
        object.to_string()
    };
    let objects: Vec<String> = (0..4).map(row).collect();
    let cell = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let table = |between: &str| {
        let head = ["url", "caption", "label", "class", "k"].join(between);
        let row = |n: usize| {
            [cell(urls[n]), cell(captions[n]), cell(labels[n]), n.to_string(), "v".into()]
                .join(between)
        };
        format!("{head}\n{}", (0..4).map(row).collect::<Vec<_>>().join("\n"))
    };
    for (name, text) in [
        ("a.jsonl", objects.join("\n")),
        ("a.json", format!("[{}]", objects.join(","))),
        ("a.csv", table(",")),
        ("b.csv", table(";")),
        ("a.tsv", table("\t")),
    ] {
        assert_eq!(items(name, &text), expected, "{name}");
        assert_eq!(items(&format!("{name}.gz"), gzip(text.as_bytes())), expected, "{name}.gz");
    }
}

/// Case 342: a row without a URL is a row, and so is one above the limit.
#[test]
fn every_row_of_parquet_is_an_item() {
    let long = "x".repeat(70_000);
    let file = write(
        TWO,
        WriterProperties::default(),
        &[&[
            Column::Text(&[None, Some(b"http://a"), Some(b" http://b\n")]),
            Column::Text(&[Some(b"x"), Some(long.as_bytes()), None]),
        ]],
    );
    let read = items("a.parquet", file);
    assert_eq!(
        read.iter().map(|item| item.url.as_str()).collect::<Vec<_>>(),
        ["", "http://a", "http://b"]
    );
    assert!(read[1].refused.is_some());
    assert_eq!(read[0].label.as_deref(), Some("x"));
}

/// One column `url` of one row, packed with LZ4, as pyarrow 22 writes it.
const PACKED_WITH_LZ4: &[u8] =
    b"PAR1\x15\x04\x15\x1c\x15\x1eL\x15\x02\x15\x00\x12\x00\x00\xe0\x0a\x00\x00\x00http://a/1\x15\
    \x00\x15\x12\x15\x14,\x15\x02\x15\x10\x15\x06\x15\x06\x1c\x00\x00\x00\x90\x02\x00\x00\x00\
    \x02\x01\x01\x02\x00\x15\x04\x19,5\x00\x18\x06schema\x15\x02\x00\x15\x0c%\x02\x18\x03url%\
    \x00L\x1c\x00\x00\x00\x16\x02\x19\x1c\x19\x1c&\x00\x1c\x15\x0c\x195\x00\x06\x10\x19\x18\x03u\
    rl\x15\x0e\x16\x02\x16p\x16t&B&\x08),\x15\x04\x15\x00\x15\x02\x00\x15\x00\x15\x10\x15\x02\
    \x00<\x16\x14\x19\x06\x19&\x00\x02\x00\x00\x00\x16p\x16\x02&\x08\x16t\x00( parquet-cpp-arrow\
    \x20version 26.0.1\x19\x1c\x1c\x00\x00\x00\x90\x00\x00\x00PAR1";

/// Case 343: what is no Parquet, encrypted, cut or without a column of URLs says so.
#[test]
fn parquet_that_cannot_be_read_is_refused() {
    let urls = texts(&["http://a/1", "http://a/2"]);
    let columns: &[Column<'_>] = &[Column::Text(&urls), Column::Text(&urls)];
    let file = write(TWO, WriterProperties::default(), &[columns]);
    let cut = &file[..file.len() / 2];
    let encrypted = [b"PARE", &file[4..file.len() - 4], b"PARE"].concat();
    let none = TWO.replace("binary url", "binary link");
    let none = write(&none, WriterProperties::default(), &[columns]);
    for (name, bytes, words) in [
        ("a.parquet", cut, "the Parquet file is broken"),
        ("a.parquet", &b"PAR1"[..], "the Parquet file is broken"),
        ("a.parquet", &b"my list"[..], "does not begin with PAR1"),
        ("a.parquet", &encrypted[..], "is encrypted, which is not read"),
        ("a.parquet", &none[..], "its columns are `link`, `label`: say --url-column"),
        (
            "a.csv",
            &file[..],
            "the name says a table with commas or semicolons (.csv), and the content is Parquet",
        ),
        ("a.parquet.gz", &gzip(&file)[..], "is Parquet inside gzip"),
        ("a.parquet", PACKED_WITH_LZ4, "is packed with lz4, which is not read; write it with"),
    ] {
        let error = refusal(name, bytes);
        assert!(error.contains(words), "{name}: {error}");
    }
    let names = Names {
        chosen: vec![Chosen { field: Field::Url, name: "link".into(), option: "--url-column" }],
        columns: None,
    };
    assert_eq!(rows_of("a.parquet", file_of(&none), None, &names).unwrap().len(), 2);
    let error = rows_of("a.parquet", file_of(&file), None, &names).unwrap_err().to_string();
    assert!(error.contains("there is no column `link`, which --url-column names"), "{error}");
}

/// A fuzz target: whatever is broken in a file, it is read or refused, in words.
#[test]
fn fuzz_parquet() {
    let urls = texts(&["http://a/1", "http://a/2", "http://a/3"]);
    let columns: &[Column<'_>] = &[Column::Text(&urls), Column::Text(&urls)];
    let seeds: Vec<Vec<u8>> =
        [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())]
            .into_iter()
            .map(|packed| {
                let properties = WriterProperties::builder().set_compression(packed).build();
                write(TWO, properties, &[columns, columns])
            })
            .collect();
    fuzz::target::run("parquet", &seeds, |bytes| {
        let read = rows_of("a.parquet", file_of(bytes), None, &Names::default());
        if let Err(said) = read {
            let said = said.to_string();
            assert!(!said.contains(char::is_control), "{said:?}");
        }
    });
}
