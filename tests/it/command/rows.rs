//! Rows in are rows accounted for: lists in every format with odd rows, submitted and run.

use fastrand::Rng;
use serde_json::{Value, json};
use support::rig::{Handler, Rig, wake_up};

/// A row as it was meant, and as it is written in its format.
struct Row {
    /// As the manifest must have it.
    url: String,
    label: Option<String>,
    /// Whether it can be downloaded.
    is_url: bool,
    /// Whether it is above 64 KiB, and so refused.
    is_large: bool,
    /// Of a table.
    cells: usize,
    written: String,
}

/// With semicolons a CSV is another format.
const FORMATS: [&str; 7] = ["txt", "jsonl", "ndjson", "json", "csv", "tsv", "semicolons.csv"];
const ROWS: usize = 24;
const CHUNK: usize = 7;
/// What stands where a URL should.
const ODD: [&str; 6] = ["no url", "ftp://a/b.jpg", "//a/b.jpg", "'", "{broken", "a;b"];
/// Captions as people write them; the second and third need quotes in a CSV.
const LABELS: [&str; 5] = ["a red chair", "6\" pipe, \"new\"", "two\nlines", "ends\"", "ü 日本"];

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

fn quoted(cell: &str) -> String {
    format!("\"{}\"", cell.replace('"', "\"\""))
}

/// A row of a format; every third has no URL, every twelfth is too large, and in tables every fourth has
/// another number of cells than the head.
fn row(rng: &mut Rng, format: &str, picture: &str) -> Row {
    let is_url = rng.u8(..3) > 0;
    let is_large = format != "txt" && rng.u8(..12) == 0;
    let url = if is_url { picture.to_owned() } else { pick(rng, &ODD).to_owned() };
    let label = rng.bool().then(|| pick(rng, &LABELS).to_owned());
    let row =
        |url: String, label, cells, written| Row { url, label, is_url, is_large, cells, written };
    let large = if is_large { "x".repeat(65_600) } else { String::new() };
    match format {
        "csv" | "semicolons.csv" => {
            let delimiter = if format == "csv" { "," } else { ";" };
            let cell = |text: &str| match text.contains(['"', '\n', ',', ';']) {
                true => quoted(text),
                false => text.to_owned(),
            };
            // Without a label the row is short.
            let mut cells = vec![cell(&url)];
            cells.extend(label.as_deref().map(cell));
            if is_large {
                cells.resize(2, String::new());
                cells.push(large);
            }
            row(url, label, cells.len(), cells.join(delimiter))
        }
        "tsv" => {
            // One line: quotes are characters, unless they are around the cell.
            let label = label.map(|label| label.replace('\n', " "));
            let cell = |label: &str| if rng.bool() { quoted(label) } else { label.to_owned() };
            let mut cells = vec![url.clone()];
            cells.extend(label.as_deref().map(cell));
            if is_large {
                cells.resize(2, String::new());
                cells.push(large);
            }
            row(url, label, cells.len(), cells.join("\t"))
        }
        "txt" => row(url.clone(), None, 0, format!("{}{url} ", pick(rng, &["", " ", "\u{feff}"]))),
        _ if !is_url && !is_large && rng.bool() => {
            let value =
                pick(rng, &["7", "[1,2]", "{\"u\":\"http://a/b.jpg\"}", "true", "{\"url\":null}"]);
            row(value.to_owned(), None, 0, value.to_owned())
        }
        _ => {
            let written = object(rng, &url, label.as_deref(), &large);
            row(url, label, 0, written)
        }
    }
}

/// As Python's writer has it: keys in some case, a number that is none.
fn object(rng: &mut Rng, url: &str, label: Option<&str>, text: &str) -> String {
    let key = pick(rng, &["url", "URL", "Url"]);
    let mut object = format!("{{\"{key}\": {}", json!(url));
    if let Some(label) = label {
        object += &format!(", \"{}\": {}", pick(rng, &["label", "LABEL"]), json!(label));
    }
    let score = pick(rng, &["NaN", "-Infinity", "0.5", "\"NaN\""]);
    let text = if text.is_empty() { String::new() } else { format!(", \"text\": \"{text}\"") };
    format!("{object}, \"score\": {score}{text}}}")
}

/// A file of rows with line ends and blank lines as they come, in an encoding, perhaps compressed.
fn file(rng: &mut Rng, format: &str, rows: &[Row]) -> (String, Vec<u8>) {
    let end = |rng: &mut Rng| {
        let blank = pick(rng, &["", "", "\n", "\r\n", "  \n"]);
        format!("{}{blank}", pick(rng, &["\n", "\r\n", "\r"]))
    };
    let mut text = match format {
        "csv" => format!("{},Label{}", pick(rng, &["url", "URL", "\"Url\""]), end(rng)),
        "semicolons.csv" => {
            let sep = pick(rng, &["", "sep=;\r\n"]);
            format!("{sep}{};label{}", pick(rng, &["url", "\"URL\""]), end(rng))
        }
        "tsv" => format!("{}\tLABEL{}", pick(rng, &["url", "URL", "\"Url\""]), end(rng)),
        "json" => "[".to_owned(),
        _ => String::new(),
    };
    for (n, row) in rows.iter().enumerate() {
        let comma = if format == "json" && n + 1 < rows.len() { "," } else { "" };
        text += &format!("{}{comma}{}", row.written, end(rng));
    }
    text += if format == "json" { "]" } else { "" };
    let units = format!("\u{feff}{text}").encode_utf16().collect::<Vec<u16>>();
    let bytes = match rng.u8(..4) {
        0 => units.iter().flat_map(|unit| unit.to_le_bytes()).collect(),
        1 => units.iter().flat_map(|unit| unit.to_be_bytes()).collect(),
        2 => format!("\u{feff}{text}").into_bytes(),
        _ => text.into_bytes(),
    };
    if rng.bool() {
        return (format!("list.{format}"), bytes);
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &bytes).unwrap();
    (format!("list.{format}.gz"), encoder.finish().unwrap())
}

/// What is said at submission, and every item of every manifest, against the rows.
async fn check(rig: &Rig, handler: &Handler, job: i64, name: &str, rows: &[Row]) {
    let path = rig.temp.path().join(name);
    let (job_id, size) = (job.to_string(), CHUNK.to_string());
    let list = path.to_str().unwrap();
    let options = ["--job-id", &job_id, "--urls", list, "--chunk-size", &size];
    let said = rig.chunkctl(&[&["--json", "submit"], &options[..]].concat());
    assert_eq!(said.code, Some(0), "{name}: {}", said.stderr);
    let said = said.json();
    assert_eq!(said["images"], rows.len());
    let is_odd = |row: &Row| !row.is_url || row.is_large;
    let odd: Vec<usize> = (0..rows.len()).filter(|n| is_odd(&rows[*n])).collect();
    assert_eq!(said["unusable"]["rows"], odd.len(), "{said}");
    let large = rows.iter().filter(|row| row.is_large).count();
    assert_eq!(said["unusable"]["too_large"], large, "{said}");
    let uneven = rows.iter().filter(|row| row.cells > 0 && row.cells != 2).count();
    assert_eq!(said["doubtful"]["rows"], uneven, "{said}");
    assert_eq!(said["doubtful"]["first"].as_array().unwrap().len(), uneven.min(5), "{said}");
    let first = said["unusable"]["first"].as_array().unwrap().iter();
    let place = |row: &Value| (row["chunk_index"].as_u64().unwrap(), row["idx"].as_u64().unwrap());
    let expected = odd.iter().take(5).map(|n| ((n / CHUNK) as u64, (n % CHUNK) as u64));
    assert_eq!(first.map(place).collect::<Vec<_>>(), expected.collect::<Vec<_>>());

    let mut n = 0;
    for (index, part) in (0..).zip(rows.chunks(CHUNK)) {
        let (status, answer) =
            handler.deliver(&format!("{job}-{index}"), &wake_up(job, index)).await;
        assert_eq!(status, 200, "{answer}");
        let manifest = rig.manifest(job, index).await;
        let items = manifest["items"].as_array().unwrap();
        assert_eq!(items.len(), part.len(), "{name}");
        for (idx, (item, row)) in items.iter().zip(part).enumerate() {
            assert_eq!(item["idx"], idx);
            assert_eq!(item["url"], row.url, "{name}, {:.99}", row.written);
            let verdict = (item["status"].as_str().unwrap(), item["reason"].as_str());
            let detail = item["detail"].as_str() == Some("item_too_large");
            assert_eq!(detail, row.is_large, "{name}, idx {idx}");
            match !is_odd(row) {
                true => assert_eq!(verdict, ("valid", None), "{name}, {:.99}", row.written),
                false => {
                    assert_eq!(verdict, ("failed", Some("url_refused")), "{:.99}", row.written);
                }
            }
            n += 1;
        }
    }
    assert_eq!(n, rows.len());
    assert_eq!(
        labels(rig, job).await,
        rows.iter().map(|row| row.label.clone()).collect::<Vec<_>>()
    );
}

/// The labels of the registered lists, in order.
async fn labels(rig: &Rig, job: i64) -> Vec<Option<String>> {
    let mut labels = Vec::new();
    for name in rig.blobs.list("chunk-sources", &format!("job_{job}/")).await.unwrap() {
        let list = rig.blobs.read("chunk-sources", &name).await.unwrap();
        for line in String::from_utf8_lossy(&list).lines() {
            let item: Value = serde_json::from_str(line).unwrap();
            labels.push(item["label"].as_str().map(str::to_owned));
        }
    }
    labels
}

/// I15: two seeds, one of them fresh; each row of each list is one item of a manifest, in its place,
/// with its URL and label; what cannot be used is counted and shown when it is submitted.
#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_every_format_is_accounted_for() {
    let rig = Rig::new().await;
    let handler = rig.handler().await;
    let mut job = 0;
    for seed in [15, fastrand::u64(..)] {
        println!("seed {seed}");
        let mut rng = Rng::with_seed(seed);
        for format in FORMATS {
            let pictures: Vec<String> = rig.pictures(ROWS as u64);
            let rows: Vec<Row> =
                pictures.iter().map(|picture| row(&mut rng, format, picture)).collect();
            let (name, bytes) = file(&mut rng, format, &rows);
            std::fs::write(rig.temp.path().join(&name), bytes).unwrap();
            job += 1;
            check(&rig, &handler, job, &name, &rows).await;
        }
    }
}
