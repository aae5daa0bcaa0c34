//! Kinds of columns: times, numbers that are bytes, bytes that should be texts, structs.

use super::*;

fn file(columns: &str, values: &[Column<'_>]) -> Vec<u8> {
    let schema = format!("message list {{ {columns} }}");
    write(&schema, WriterProperties::default(), &[values])
}

/// The meta of the one row of a file with a URL and some other columns.
fn meta_of(columns: &str, values: Vec<Column<'_>>) -> String {
    let url = texts(&["http://a"]);
    let columns = format!("optional binary url (UTF8); {columns}");
    let values: Vec<_> = [Column::Text(&url)].into_iter().chain(values).collect();
    items("a.parquet", file(&columns, &values)).remove(0).meta.unwrap().get().to_owned()
}

/// Case 341: dates and times are texts in every unit, with `Z` only where the column is in UTC.
#[test]
fn times_are_texts_and_only_those_in_utc_say_so() {
    const NANOS: i64 = 1_700_000_000_123_456_789;
    let columns = "optional int64 a (TIMESTAMP(NANOS,true)); optional int64 b (TIMESTAMP(NANOS,false)); \
        optional int64 c (TIMESTAMP(MICROS,false)); optional int64 d (TIMESTAMP(MILLIS,true)); \
        optional int64 e (TIMESTAMP_MILLIS); optional int64 f (TIME(NANOS,false)); \
        optional int64 g (TIME(MICROS,true)); optional int32 h (TIME(MILLIS,false)); \
        optional int32 i (DATE); optional int32 j (DATE); optional int64 k (TIMESTAMP(MILLIS,true)); \
        optional int64 l (TIMESTAMP(NANOS,false));";
    let midday = 43_200_000;
    let meta = meta_of(
        columns,
        vec![
            Column::Long(&[Some(NANOS)]),
            Column::Long(&[Some(NANOS)]),
            Column::Long(&[Some(NANOS / 1000)]),
            Column::Long(&[Some(NANOS / 1_000_000)]),
            Column::Long(&[Some(0)]),
            Column::Long(&[Some(midday * 1_000_000 + 7)]),
            Column::Long(&[Some(midday * 1000)]),
            Column::Int(&[Some(1)]),
            Column::Int(&[Some(20_000)]),
            Column::Int(&[Some(i32::MAX)]),
            Column::Long(&[Some(i64::MAX)]),
            Column::Long(&[Some(-1)]),
        ],
    );
    let expected = json!({
        "a": "2023-11-14T22:13:20.123456789Z",
        "b": "2023-11-14T22:13:20.123456789",
        "c": "2023-11-14T22:13:20.123456",
        "d": "2023-11-14T22:13:20.123Z",
        "e": "1970-01-01T00:00:00Z",
        "f": "12:00:00.000000007",
        "g": "12:00:00",
        "h": "00:00:00.001",
        "i": "2024-10-04",
        "j": "2147483647 days since 1970",
        "k": "9223372036854775807000000 ns since 1970",
        "l": "1969-12-31T23:59:59.999999999",
    });
    assert_eq!(serde_json::from_str::<Value>(&meta).unwrap(), expected);
}

/// Times inside structs, lists and maps, too.
#[test]
fn times_inside_of_others_are_texts() {
    let columns = "optional group s { optional int64 t (TIMESTAMP(NANOS,true)); }";
    let url = texts(&["http://a"]);
    let columns = format!("optional binary url (UTF8); {columns}");
    let schema = Arc::new(parse_message_type(&format!("message list {{ {columns} }}")).unwrap());
    let mut writer =
        SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::default()))
            .unwrap();
    let mut group = writer.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let bytes: Vec<ByteArray> = url.iter().flatten().map(|url| url.to_vec().into()).collect();
    column.typed::<ByteArrayType>().write_batch(&bytes, Some(&[1]), None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<Int64Type>().write_batch(&[5], Some(&[2]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    let item = items("a.parquet", writer.into_inner().unwrap()).remove(0);
    let expected = r#"{"s":{"t":"1970-01-01T00:00:00.000000005Z"}}"#;
    assert_eq!(item.meta.unwrap().get(), expected);
}

/// Case 341: bytes of a fixed length are numbers or hashes: never a text by accident.
#[test]
fn bytes_of_a_fixed_length_are_what_their_type_says() {
    let seven = [[7].as_slice(), &[0; 15]].concat();
    let decimal = [[0; 15].as_slice(), &[0x7b]].concat();
    let meta = meta_of(
        "optional fixed_len_byte_array(16) n; optional fixed_len_byte_array(16) id (UUID); \
         optional fixed_len_byte_array(16) d (DECIMAL(38,2)); optional int64 e (DECIMAL(18,3)); \
         optional binary b;",
        vec![
            Column::Fixed(&[Some(&seven)]),
            Column::Fixed(&[Some(&seven)]),
            Column::Fixed(&[Some(&decimal)]),
            Column::Long(&[Some(-1500)]),
            Column::Text(&[Some(b"abc")]),
        ],
    );
    let expected = json!({
        "n": {"base64": "BwAAAAAAAAAAAAAAAAAAAA=="},
        "id": "07000000-0000-0000-0000-000000000000",
        "d": "1.23",
        "e": "-1.500",
        "b": "abc",
    });
    assert_eq!(serde_json::from_str::<Value>(&meta).unwrap(), expected);
    let columns = "optional binary url (UTF8); optional fixed_len_byte_array(12) gap (INTERVAL);";
    let url = texts(&["http://a"]);
    let file = file(columns, &[Column::Text(&url), Column::Fixed(&[Some(&[0; 12])])]);
    assert!(refusal("a.parquet", file).contains("column `gap` has intervals; leave it out"));
}

/// Case 347: a caption or label in another encoding is none: it is told, and in the meta.
#[test]
fn a_caption_that_is_no_utf8_is_in_the_meta() {
    let (url, good) = (texts(&["http://a", "http://b"]), texts(&["x", "y"]));
    let caption = [Some(&b"caf\xe9"[..]), Some(&b"caf\xc3\xa9"[..])];
    let columns = "optional binary url; optional binary caption; optional binary label;";
    let file = file(columns, &[Column::Text(&url), Column::Text(&caption), Column::Text(&good)]);
    let rows = rows_of("a.parquet", file_of(&file), None, &Names::default()).unwrap();
    let said: Vec<_> =
        rows.iter().map(|row| (row.item.caption.as_deref(), row.doubt, meta(&row.item))).collect();
    let odd = Some(json!({"caption": {"base64": "Y2Fm6Q=="}}));
    assert_eq!(said, [(None, Some(Doubt::NoText), odd), (Some("caf\u{e9}"), None, None)]);
    assert!(rows.iter().all(|row| row.item.label.is_some()));
    let columns = "optional binary url; optional fixed_len_byte_array(1) label;";
    let one = [Some(&b"x"[..]), None];
    let fixed = self::file(columns, &[Column::Text(&url), Column::Fixed(&one)]);
    let rows = rows_of("a.parquet", file_of(&fixed), None, &Names::default()).unwrap();
    assert_eq!((rows[0].item.label.as_deref(), rows[0].doubt), (None, Some(Doubt::NoText)));
    assert_eq!(rows[1].doubt, None);
}

/// Case 343: two columns of one name are refused, as in tables: one would be read twice.
#[test]
fn two_columns_of_one_name_are_refused() {
    let (url, caption) = (texts(&["http://a"]), texts(&["x"]));
    let columns = "optional binary url (UTF8); optional binary caption (UTF8); \
        optional binary caption (UTF8);";
    let file = file(columns, &[Column::Text(&url), Column::Text(&caption), Column::Text(&caption)]);
    let error = refusal("a.parquet", file);
    assert!(error.contains("two columns are called `caption`; rename one of them"), "{error}");
}

/// Case 343: a URL inside a struct is no column: it says what to do.
#[test]
fn a_url_inside_a_struct_says_what_to_do() {
    let columns =
        "optional group image { optional binary url (UTF8); optional binary path (UTF8); }";
    let (url, path) = (texts(&["http://a"]), texts(&["x"]));
    let file = file(columns, &[Column::Text(&url), Column::Text(&path)]);
    let words = "column `image` is no text, but holds `url`, `path`: write what is the URL as a column of its own";
    let error = refusal("a.parquet", &file);
    assert!(error.contains("has no column url") && error.contains(words), "{error}");
    let chosen = vec![Chosen { field: Field::Url, name: "image".into(), option: "--url-column" }];
    let names = Names { chosen, columns: None };
    let error = rows_of("a.parquet", file_of(&file), None, &names).unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
    let none = List::without_url(Format::Parquet, "").to_string();
    assert!(!none.contains("first line"), "{none}");
}
