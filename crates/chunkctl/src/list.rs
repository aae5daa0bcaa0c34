//! Reading a submitted file: text, JSON lines or a table, plain or gzip-compressed.

use chunk_handler::chunk::{Item, ListFormat};
use flate2::read::MultiGzDecoder;
use serde_json::{Map, Value};
use std::{borrow::Cow, io::Read as _};

/// Why a file is no list of a job's URLs.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Error(String);

/// What every compressed file begins with, and no list does.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// The most that a compressed file may unpack to, in MiB: some ten million URLs.
const MOST_UNPACKED_MB: u64 = 1024;

/// How a file is written: what the suffix of its name, but for `.gz`, says.
pub(crate) fn format_of(file_name: &str) -> &'static str {
    let name = file_name.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    match name.rsplit('.').next() {
        Some("csv") => "csv",
        Some("tsv") => "tsv",
        Some("parquet") => "parquet",
        _ if ListFormat::of(name) == ListFormat::JsonLines => "jsonl",
        _ => "text",
    }
}

/// The URLs of a file, each with what belongs to it.
pub(crate) fn read_items(format: &str, bytes: &[u8]) -> Result<Vec<Item>, Error> {
    let bytes = unpacked(bytes, MOST_UNPACKED_MB)?;
    let items = match format {
        "csv" => table_items(&bytes, b',')?,
        "tsv" => table_items(&bytes, b'\t')?,
        "parquet" => {
            let problem = "Parquet is not read; export the table as .csv or .jsonl";
            return Err(Error(problem.into()));
        }
        "jsonl" => ListFormat::JsonLines.parse(&bytes),
        _ => ListFormat::Text.parse(&bytes),
    };
    if items.is_empty() {
        return Err(Error("the file has no URL".into()));
    }
    Ok(items)
}

/// The file itself, or what was compressed in it. A small file can unpack to any size.
fn unpacked(bytes: &[u8], most_mb: u64) -> Result<Cow<'_, [u8]>, Error> {
    if !bytes.starts_with(&GZIP) {
        return Ok(Cow::Borrowed(bytes));
    }
    let most = most_mb << 20;
    let mut unpacked = Vec::new();
    MultiGzDecoder::new(bytes).take(most + 1).read_to_end(&mut unpacked).map_err(|error| {
        Error(format!("the file is compressed and cannot be unpacked: {error}"))
    })?;
    if u64::try_from(unpacked.len()).unwrap_or(u64::MAX) > most {
        let problem = format!("the file unpacks to more than {most_mb} MiB; split it into jobs");
        return Err(Error(problem));
    }
    Ok(Cow::Owned(unpacked))
}

/// Rows of a table with a `url` column. `label` and `meta` (JSON) are taken when there; the other
/// columns go into the meta.
fn table_items(bytes: &[u8], delimiter: u8) -> Result<Vec<Item>, Error> {
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(bytes);
    let broken = |error: csv::Error| Error(format!("the table cannot be read: {error}"));
    let headers: Vec<String> = reader
        .headers()
        .map_err(broken)?
        .iter()
        .map(|header| header.trim_matches(['\u{feff}', ' ']).to_owned())
        .collect();
    let column = |name: &str| headers.iter().position(|header| header.eq_ignore_ascii_case(name));
    let missing = || Error("the table has no url column in its first line".into());
    let (url, label, meta) = (column("url").ok_or_else(missing)?, column("label"), column("meta"));
    let is_other = |at: usize| at != url && Some(at) != label && Some(at) != meta;
    reader
        .records()
        .map(|record| {
            let record = record.map_err(broken)?;
            let field = |at: Option<usize>| {
                record.get(at?).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
            };
            let cells = headers.iter().zip(&record).enumerate();
            let others: Map<String, Value> = cells
                .filter(|(at, (header, _))| is_other(*at) && !header.is_empty())
                .map(|(_, (header, cell))| (header.clone(), cell.into()))
                .collect();
            let meta =
                field(meta).map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)));
            let item =
                Item { url: field(Some(url)).unwrap_or_default(), label: field(label), meta: None };
            Ok(item.with_meta(meta, others))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use serde_json::json;
    use std::io::Write as _;

    fn items(name: &str, bytes: impl AsRef<[u8]>) -> Vec<Item> {
        read_items(format_of(name), bytes.as_ref()).unwrap()
    }

    fn refusal(name: &str, bytes: impl AsRef<[u8]>) -> String {
        read_items(format_of(name), bytes.as_ref()).unwrap_err().to_string()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn tables_need_a_url_column_and_keep_every_row() {
        let items = items("a.csv", "URL,label\nhttp://a/1,cat\n,\n\"http://a/3,x\"\n");
        let pairs: Vec<(&str, Option<&str>)> =
            items.iter().map(|i| (i.url.as_str(), i.label.as_deref())).collect();
        assert_eq!(pairs, [("http://a/1", Some("cat")), ("", None), ("http://a/3,x", None)]);
        assert!(items.iter().all(|item| item.meta.is_none()));
        assert!(refusal("a.csv", "link\nhttp://a\n").contains("no url column"));
        assert!(refusal("a.txt", "\n \n").contains("no URL"));
        assert!(refusal("a.parquet", "PAR1").contains("Parquet is not read"));
    }

    /// Whatever else a table or a JSON line says of a URL is in its meta; what is called meta wins.
    #[test]
    fn other_columns_and_keys_go_into_the_meta() {
        let table = "id,url,TEXT,meta\n7,http://a/1,\"a, b\",\"{\"\"id\"\":8,\"\"k\"\":1}\"\n,http://a/2\n9,http://a/3,,[1]\n";
        let metas: Vec<Option<Value>> =
            items("a.csv", table).into_iter().map(|item| item.meta).collect();
        assert_eq!(
            metas,
            [
                Some(json!({"id": 8, "TEXT": "a, b", "k": 1})),
                Some(json!({"id": ""})),
                Some(json!({"id": "9", "TEXT": "", "meta": [1]})),
            ]
        );
        assert_eq!(
            items("a.TSV", "url\tmeta\nhttp://a\t{\"k\":1}\n")[0].meta,
            Some(json!({"k": 1}))
        );
        let line = r#"{"url":"http://a","id":7,"label":"x","meta":{"k":1},"n":null}"#;
        assert_eq!(items("a.jsonl", line)[0].meta, Some(json!({"id": 7, "k": 1, "n": null})));
    }

    /// What spreadsheets and other systems write: a byte order mark, CRLF, compressed or not.
    #[test]
    fn marks_line_ends_and_compression_change_nothing() {
        let lists = [
            ("a.txt", "http://a/1\nhttp://a/2\n"),
            (
                "a.jsonl",
                "{\"url\":\"http://a/1\",\"id\":\"1\"}\n{\"url\":\"http://a/2\",\"id\":\"2\"}\n",
            ),
            ("a.csv", "\"url\",id\nhttp://a/1,1\nhttp://a/2,2\n"),
            ("a.tsv", "url\tid\nhttp://a/1\t1\nhttp://a/2\t2\n"),
        ];
        for (name, plain) in lists {
            let expected = items(name, plain);
            assert_eq!(expected.len(), 2, "{name}");
            assert_eq!(expected[1].url, "http://a/2", "{name}");
            let strange = format!("\u{feff}{}", plain.replace('\n', "\r\n"));
            assert_eq!(items(name, strange.clone()), expected, "{name}");
            let compressed = format!("{name}.GZ");
            assert_eq!(items(&compressed, gzip(strange.as_bytes())), expected, "{name}");
            // One compressed file after another is one file.
            let (head, tail) = plain.split_at(plain.len() / 2);
            let joined = [gzip(head.as_bytes()), gzip(tail.as_bytes())].concat();
            assert_eq!(items(&compressed, joined), expected, "{name}");
            // Some transports unpack without changing the name.
            assert_eq!(items(&compressed, plain), expected, "{name}");
        }
    }

    #[test]
    fn a_broken_or_endless_archive_is_refused() {
        let whole = gzip("http://a/1\n".repeat(1000).as_bytes());
        let cut = whole[..whole.len() / 2].to_vec();
        let error = refusal("a.txt.gz", cut);
        assert!(error.contains("cannot be unpacked"), "{error}");
        let bomb = gzip(&vec![b'\n'; (1 << 20) + 1]);
        assert!(bomb.len() < 10_000);
        let error = unpacked(&bomb, 1).unwrap_err().to_string();
        assert_eq!(error, "the file unpacks to more than 1 MiB; split it into jobs");
        assert_eq!(unpacked(&bomb, 2).unwrap().len(), (1 << 20) + 1);
    }
}
