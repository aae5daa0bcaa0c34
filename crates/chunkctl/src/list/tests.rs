//! Files of every kind, as people have them.

mod captions;

use super::*;
use chunk_handler::chunk::Item;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::io::{Seek as _, Write as _};

mod json;
mod names;
mod parquet;
mod sent_back;

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

/// The rows of a file.
pub(crate) fn rows_of(
    name: &str,
    file: File,
    told: Option<Format>,
    names: &Names,
) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    let list = List::open(name, file, told, names, Progress::hidden())?;
    if list.is_blank() {
        return Err(Error::Empty);
    }
    list.rows(&mut |row| {
        rows.push(row);
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

fn read(name: &str, bytes: &[u8]) -> Result<Vec<Item>, Error> {
    let rows = rows_of(name, file_of(bytes), None, &Names::default())?;
    Ok(rows.into_iter().map(|row| row.item).collect())
}

fn items(name: &str, bytes: impl AsRef<[u8]>) -> Vec<Item> {
    read(name, bytes.as_ref()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn refusal(name: &str, bytes: impl AsRef<[u8]>) -> String {
    read(name, bytes.as_ref()).unwrap_err().to_string()
}

/// Equal as JSON, whatever its spelling.
fn meta(item: &Item) -> Option<Value> {
    item.meta.as_ref().map(|meta| serde_json::from_str(meta.get()).unwrap())
}

fn pairs(items: &[Item]) -> Vec<(&str, Option<&str>)> {
    items.iter().map(|item| (item.url.as_str(), item.label.as_deref())).collect()
}

#[test]
fn tables_need_a_url_column_and_keep_every_row() {
    let items = items("a.csv", "URL,label\nhttp://a/1,cat\n,\n\"http://a/3,x\"\n   \n\n");
    assert_eq!(pairs(&items), [("http://a/1", Some("cat")), ("", None), ("http://a/3,x", None)]);
    assert!(items.iter().all(|item| item.meta.is_none()));
    assert!(
        refusal("a.csv", "link\nhttp://a\n")
            .contains("no url column between commas in its first line, which is `link`")
    );
    assert!(refusal("a.csv", "http://a,cat\n").contains("no url column"));
    assert!(refusal("a.txt", "\n \n").contains("no URL"));
    assert!(refusal("a.tsv", "url\tx\tx\nhttp://a\n").contains("two columns are called `x`"));
}

/// Whatever else a table or a JSON line says of a URL is in its meta; what is called meta wins.
#[test]
fn other_columns_and_keys_go_into_the_meta() {
    let table = "id,url,NOTE,meta\n7,http://a/1,\"a, b\",\"{\"\"id\"\":8,\"\"k\"\":NaN}\"\n,http://a/2\n9,http://a/3,,[1],,z\n";
    let metas: Vec<Option<Value>> = items("a.csv", table).iter().map(meta).collect();
    assert_eq!(
        metas,
        [
            Some(json!({"id": 8, "NOTE": "a, b", "k": null})),
            Some(json!({"id": ""})),
            Some(json!({"id": "9", "NOTE": "", "meta": [1], "column 6": "z"})),
        ]
    );
    let meta = |name: &str, text: &str| meta(&items(name, text)[0]);
    assert_eq!(meta("a.TSV", "url\tMeta\nhttp://a\t{\"k\":1}\n"), Some(json!({"k": 1})));
    let line = r#"{"url":"http://a","id":7,"label":"x","meta":{"k":1},"n":null}"#;
    assert_eq!(meta("a.jsonl", line), Some(json!({"id": 7, "k": 1, "n": null})));
}

/// A name in several cases means the same in every format: small letters first; nothing is lost.
#[test]
fn a_key_and_a_column_in_two_cases_mean_the_same() {
    let others = json!({"URL": "http://b", "Label": "y"});
    let expected = (Some("x".to_owned()), Some(others), "http://a".to_owned());
    let object = r#"{"URL":"http://b","url":"http://a","Label":"y","label":"x"}"#;
    for (name, text) in [
        ("a.csv", "URL,url,Label,label\nhttp://b,http://a,y,x".to_owned()),
        ("a.tsv", "URL\turl\tLabel\tlabel\nhttp://b\thttp://a\ty\tx".to_owned()),
        ("a.jsonl", object.to_owned()),
        ("a.json", format!("[{object}]")),
    ] {
        let item = items(name, &text).remove(0);
        let meta = meta(&item);
        assert_eq!((item.label, meta, item.url), expected, "{name}");
        let upper = text.replace("url", "Url").replace("label", "LABEL").replace("URL", "uRL");
        assert_eq!(items(name, upper).len(), 1, "{name}");
    }
}

/// Cases 165, 195: what spreadsheets and other systems write: marks, UTF-16, any line end, compressed or not.
#[test]
fn encodings_line_ends_and_compression_change_nothing() {
    let lists = [
        ("a.txt", "http://a/1\nhttp://a/ü\n"),
        (
            "a.ndjson",
            "{\"url\":\"http://a/1\",\"id\":\"1\"}\n{\"url\":\"http://a/ü\",\"id\":\"2\"}\n",
        ),
        ("a.json", "[{\"url\":\"http://a/1\"},\n{\"url\":\n\"http://a/ü\"}]\n"),
        ("a.csv", "\"url\",id\nhttp://a/1,1\nhttp://a/ü,2\n"),
        ("a.tsv", "url\tid\nhttp://a/1\t1\nhttp://a/ü\t2\n"),
    ];
    for (name, plain) in lists {
        let expected = items(name, plain);
        assert_eq!(expected.len(), 2, "{name}");
        assert_eq!(expected[1].url, "http://a/ü", "{name}");
        let compressed = format!("{name}.GZ");
        for end in ["\n", "\r\n", "\r"] {
            let strange = format!("\u{feff}{}", plain.replace('\n', end));
            let units = strange.encode_utf16();
            let little: Vec<u8> = units.clone().flat_map(u16::to_le_bytes).collect();
            let big: Vec<u8> = units.flat_map(u16::to_be_bytes).collect();
            for bytes in [strange.into_bytes(), little, big] {
                assert_eq!(items(name, &bytes), expected, "{name} {end:?}");
                assert_eq!(items(&compressed, gzip(&bytes)), expected, "{name} {end:?}");
            }
        }
        // One compressed file after another is one file.
        let (head, tail) = plain.as_bytes().split_at(plain.len() / 2);
        let joined = [gzip(head), gzip(tail)].concat();
        assert_eq!(items(&compressed, joined), expected, "{name}");
        // Some transports unpack without changing the name.
        assert_eq!(items(&compressed, plain), expected, "{name}");
        // Without a suffix the content decides.
        assert_eq!(items("list", plain), expected, "{name}");
        assert_eq!(items("-", gzip(plain.as_bytes())), expected, "{name}");
    }
    assert_eq!(items("a.txt", "http://a\r\nhttp://b\rhttp://c\nhttp://d").len(), 4);
}

/// A file that is certainly something else than its name says: both are named.
#[test]
fn another_content_than_the_name_says_is_refused() {
    let (array, lines) = ("[\n{\"url\":\"http://a\"}]", "{\"url\":\"http://a\"}\n");
    let page = "<!DOCTYPE html>\n<p>http://a</p>";
    for (name, text, named, content) in [
        ("a.txt", array, "(.txt)", "a JSON array"),
        ("a.jsonl", array, "(.jsonl)", "a JSON array"),
        ("a.csv", array, "(.csv)", "a JSON array"),
        ("a.txt", lines, "(.txt)", "JSON lines"),
        ("a.json", lines, "(.json)", "JSON lines"),
        ("a.tsv", lines, "(.tsv)", "JSON lines"),
        ("a.txt", "id\tURL\n", "(.txt)", "(TSV)"),
        ("a.txt", "url\nhttp://a", "(.txt)", "a table of one column"),
        ("a.csv", "url\tx\nhttp://a\tb", "(.csv)", "(TSV)"),
        ("a.tsv", "url,x\nhttp://a,b", "(.tsv)", "(CSV)"),
        ("a.jsonl", "url,x\nhttp://a,b", "(.jsonl)", "(CSV)"),
        ("a.jsonl", "http://a\nhttp://b", "(.jsonl)", "one URL a line"),
        ("a.json", "http://a\nhttp://b", "(.json)", "one URL a line"),
        ("a.txt", page, "(.txt)", "HTML"),
        ("a.jsonl", "\n<?xml version=\"1.0\"?><Error/>", "(.jsonl)", "XML"),
        ("a.csv", "PK\u{3}\u{4}[Content_Types].xml", "(.csv)", "xlsx"),
        ("a.txt", "%PDF-1.7\n", "(.txt)", "PDF"),
        ("a.csv", "PAR1\u{0}", "(.csv)", "Parquet"),
        ("a.parquet", "url,x\nhttp://a,b", "(.parquet)", "(CSV)"),
        ("list", page, "nothing", "HTML"),
        ("-", page, "nothing", "HTML"),
    ] {
        for (name, bytes) in [
            (name.to_owned(), text.as_bytes().to_vec()),
            (format!("{name}.gz"), gzip(text.as_bytes())),
        ] {
            let error = refusal(&name, bytes);
            assert!(error.contains(named), "{name} {text}: {error}");
            assert!(error.contains(content), "{name} {text}: {error}");
        }
    }
    assert!(refusal("a.txt", gzip(&gzip(b"http://a"))).contains("gzip inside gzip"));
    assert!(refusal("list.lst", "my list\nhttp://a").contains("first line, `my list`"));
    assert!(refusal("a.zip", "x").contains("a ZIP archive is not read"));
    let error = refusal("-", "my list\nhttp://a");
    assert!(error.contains("of stdin the first line must say it"), "{error}");
    let error = refusal("a.txt", b"http://a\nhttp://b/\xe9");
    assert!(error.contains("line 2, byte 10 is 0xE9"), "{error}");
}

/// A quote in a TSV is a character, unless it is around a cell.
#[test]
fn quotes_of_a_tsv_swallow_nothing() {
    let table = "url\tlabel\nu/0\t\"Untitled\" by\nu/1\t\"Sunset\nu/2\tpipe 6\" x 12\"\nu/3\tends\"\nu/4\t\"\nu/5\t\"a \"\"b\"\"\"\nu/6\t\"a\" and \"b\"\nu/7\t\"\"\t\n \nu/8\n\t\n";
    assert_eq!(
        pairs(&items("a.tsv", table)),
        [
            ("u/0", Some("\"Untitled\" by")),
            ("u/1", Some("\"Sunset")),
            ("u/2", Some("pipe 6\" x 12\"")),
            ("u/3", Some("ends\"")),
            ("u/4", Some("\"")),
            ("u/5", Some("a \"b\"")),
            ("u/6", Some("\"a\" and \"b\"")),
            ("u/7", None),
            ("u/8", None),
            ("", None),
        ]
    );
}

/// A quoted cell of a CSV may have several lines; one that took rows in is refused with its line.
#[test]
fn a_stray_quote_in_a_csv_is_refused_with_its_line() {
    let good = "url,label\r\nhttp://a/1,\"two\r\nlines, \"\"quoted\"\"\"\r\n\r\n\
                http://a/2,\"see\nhttp://x.y/z\"\nhttp://a/3,6\" pipe\nhttp://a/4,\"a\" b\n";
    assert_eq!(
        pairs(&items("a.csv", good)),
        [
            ("http://a/1", Some("two\r\nlines, \"quoted\"")),
            ("http://a/2", Some("see\nhttp://x.y/z")),
            ("http://a/3", Some("6\" pipe")),
            ("http://a/4", Some("a b")),
        ]
    );
    let first = "url,label\r\n\r\nhttp://a/1,x\r\n";
    for (rows, line) in [
        ("http://a/2,\"Sunset\nhttp://a/3,b\nhttp://a/4,c\n", 4),
        ("\"http://a/2,Sunset\nb\",c\n", 4),
        ("http://a/2,\"Sunset\nhttp://a/3,b\nhttp://a/4,\"the second\nhttp://a/5,d\n", 4),
        ("http://a/2,\"Sunset\nhttp://a/3,ends\"\nhttp://a/4,c\n", 4),
        ("http://a/2,y\n\n\"http://a/3,b\nhttp://a/4,c\n", 6),
        ("http://a/2,\"cut\nhere", 4),
    ] {
        let error = refusal("a.csv", format!("{first}{rows}"));
        assert!(error.starts_with(&format!("line {line}: a quote begins")), "{rows}: {error}");
    }
    // Wherever the column of URLs stands: the row that was begun has another one.
    for (table, line) in [
        ("id,label,url\n1,\"Sunset,http://a/1\n2,Dawn\",http://a/2\n", 2),
        ("label,url\n\"Sunset,http://a/1\nDawn\",http://a/2\n", 2),
        ("id,url,label\n\"1,http://a/1,x\n2\",http://a/2,y\n", 2),
    ] {
        let error = refusal("a.csv", table);
        assert!(error.starts_with(&format!("line {line}: a quote begins")), "{table}: {error}");
    }
    let last = "id,label,url\n1,\"two, or\nthree\nlines\",http://a/1\n2,\"  \",http://a/2\n3,  x ,http://a/3\n";
    let labels = [
        ("http://a/1", Some("two, or\nthree\nlines")),
        ("http://a/2", None),
        ("http://a/3", Some("  x ")),
    ];
    assert_eq!(pairs(&items("a.csv", last)), labels);
    let head = "url,\"label\nhttp://a/1,x\nhttp://a/2,y\n";
    assert!(refusal("a.csv", head).starts_with("line 1: a quote begins"));
}

/// Case 266: as Excel writes tables where a comma is in numbers, and its line that names the delimiter.
#[test]
fn a_table_may_have_semicolons_and_say_so() {
    let expected = [("http://a/1", Some("a, b")), ("http://a/2;x", Some("c;d"))];
    let rows = "http://a/1;a, b\r\n\"http://a/2;x\";\"c;d\"\r\n";
    for head in
        ["url;label", "sep=;\r\nURL;Label", "\"sep=;\"\n url ; label ", "\n\"url\";\"label\""]
    {
        let table = format!("{head}\r\n{rows}");
        for name in ["a.csv", "a.csv.gz", "-", "list"] {
            assert_eq!(pairs(&items(name, &table)), expected, "{name} {head}");
        }
    }
    let commas = items("a.csv", "sep=,\nurl,label\nhttp://a,x;y");
    assert_eq!(pairs(&commas), [("http://a", Some("x;y"))]);
    let tabs = "sep=\t\r\nurl\tlabel\r\nhttp://a\tx;y\r\n";
    for table in [tabs.to_owned(), tabs.replace("sep=\t", "\"sep=\t\"")] {
        assert_eq!(pairs(&items("a.tsv", &table)), [("http://a", Some("x;y"))]);
        assert!(refusal("a.csv", &table).contains("a table with tabs (TSV); name it .tsv"));
    }
    assert!(refusal("a.tsv", "url;label\nhttp://a;x").contains("name it .csv"));
    assert!(refusal("a.txt", "url;label\nhttp://a;x").contains("semicolons (CSV); name it .csv"));
    let stray = refusal("a.csv", "url;label\nhttp://a;\"x\nhttp://b;y\n");
    assert!(stray.starts_with("line 2: a quote begins"), "{stray}");
}

/// Case 268: not a number is no label, as in JSON; words are.
#[test]
fn a_label_that_is_not_a_number_is_none() {
    let table = "url,label,meta,k\nu/1,NaN,NaN,NaN\nu/2, nan ,\\N,\nu/3,NA,null,\nu/4,None,None,\nu/5,\"NaN!\",\"\",\n";
    let read = items("a.csv", table);
    let labels = [None, None, Some("NA"), Some("None"), Some("NaN!")];
    assert_eq!(pairs(&read).iter().map(|(_, label)| *label).collect::<Vec<_>>(), labels);
    assert_eq!(read[0].meta.as_ref().unwrap().get(), r#"{"k":"NaN"}"#);
    assert!(read.iter().skip(1).all(|item| item.meta.as_ref().unwrap().get() == r#"{"k":""}"#));
}

/// Case 267, and 160: what is compressed comes out whole, or is refused; it may be of any length.
#[test]
fn a_broken_archive_is_refused_and_a_long_one_is_read() {
    let whole = gzip("http://a/1\n".repeat(1000).as_bytes());
    let (half, _) = whole.split_at(whole.len() / 2);
    assert!(refusal("a.txt.gz", half).contains("cannot be unpacked"));
    let padded = [whole.clone(), vec![0; 100_000]].concat();
    assert_eq!(items("a.txt.gz", padded).len(), 1000);
    let behind = [whole.clone(), vec![0, 0, 7]].concat();
    assert!(
        refusal("a.txt.gz", behind).contains("bytes behind the gzip data are neither gzip nor")
    );
    let text = [whole.clone(), b"http://a\n".to_vec()].concat();
    assert!(refusal("a.txt.gz", text).contains("bytes behind the gzip data are neither gzip nor"));
    let twice = [whole.clone(), vec![0; 9], whole.clone()].concat();
    assert_eq!(items("a.txt.gz", twice).len(), 2000);
    assert!(refusal("a.txt", gzip(&whole)).contains("gzip inside gzip"));
    let blank = gzip(&vec![b'\n'; 8 << 20]);
    assert!(blank.len() < 50_000);
    assert!(refusal("a.csv.gz", &blank).contains("no URL"));
    let late = [blank, gzip(b"url\nhttp://a\nftp:/\0")].concat();
    assert_eq!(items("a.csv.gz", late).len(), 2);
}

/// A head of which no row could be below the limit is refused before its names are kept.
#[test]
fn a_head_above_the_limit_is_refused() {
    for (name, between) in [("a.csv", ","), ("a.tsv", "\t")] {
        let head = format!("url{between}{}", format!("x{between}").repeat(40_000));
        let error = refusal(name, format!("{head}\nhttp://a\n"));
        assert!(error.contains("the first line has 80004 bytes, and may have 64 KiB"), "{error}");
    }
}

/// Case 269: what is wrong with a first line, and what to do.
#[test]
fn a_head_without_url_says_what_to_do() {
    for (head, words) in [
        ("photo_url,label\nhttp://a,x", "say --url-column 'photo_url', or name the column url"),
        ("link,label\nhttp://a,x", "say --url-column 'link', or name the column url"),
        ("http://a,x\nhttp://b,y", "name the columns with --columns url,label"),
        ("url|label\nhttp://a|x", "with commas, semicolons or (.tsv) tabs between them"),
        ("# exported today\nurl,label\nhttp://a,x", "take lines before it away"),
        ("sep=|\nurl|label\nhttp://a|x", "which is `sep=|`"),
    ] {
        let error = refusal("a.csv", head);
        assert!(error.contains(words), "{error}");
    }
    assert!(refusal("a.jsonl", "{\n\"url\": \"http://a\"\n}").contains("`jq -c`"));
}

/// A fuzz target: under any name a list is read or refused, the same each time, and no row is made of
/// nothing.
#[test]
fn fuzz_lists() {
    let plain: [&str; 7] = [
        "http://a/1\n\n http://a/2 \r\nnonsense\n",
        "{\"url\":\"http://a/1\",\"label\":\"x\",\"meta\":{\"k\":NaN}}\n{\"URL\":\"http://a/2\"}\n",
        "[{\"url\":\"http://a/1\"},\n{\"url\":\"http://a/2\",\"meta\":[1,2]}]",
        "url,label,meta\nhttp://a/1,\"x, \"\"y\"\"\",{}\nhttp://a/2,,\n",
        "url\tlabel\nhttp://a/1\t\"x\"\nhttp://a/2\ty\n",
        "<!DOCTYPE html><html>http://a/1</html>",
        "PK\u{3}\u{4}",
    ];
    let mut seeds: Vec<Vec<u8>> = plain.iter().map(|seed| seed.as_bytes().to_vec()).collect();
    seeds.push(gzip(plain[3].as_bytes()));
    let utf16 = plain[3].encode_utf16().flat_map(u16::to_le_bytes);
    seeds.push([0xFF, 0xFE].into_iter().chain(utf16).collect());
    fuzz::target::run("list", &seeds, |bytes| {
        for name in ["a.txt", "a.jsonl", "a.json", "a.csv", "a.tsv", "a", "-", "a.csv.gz"] {
            let read = || {
                rows_of(name, file_of(bytes), None, &Names::default())
                    .map_err(|error| error.to_string())
            };
            let first = read();
            assert_eq!(first, read(), "{name}");
            match first {
                // A compressed byte may become a thousand.
                Ok(rows) => assert!(rows.len() <= 2_000 * bytes.len(), "{name}: {}", rows.len()),
                Err(said) => assert!(!said.contains(char::is_control), "{name}: {said:?}"),
            }
        }
    });
}
