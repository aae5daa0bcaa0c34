//! What columns and keys are called, and options that say it.

use super::*;

/// The rows of a text with options, or the refusal.
fn with(name: &str, text: &str, options: &[(&'static str, &str)]) -> Result<Vec<Item>, String> {
    let mut names = Names::default();
    let mut told = None;
    for (option, value) in options {
        let field = match *option {
            "--url-column" => Field::Url,
            "--caption-column" => Field::Caption,
            "--label-column" => Field::Label,
            "--class-column" => Field::Class,
            "--columns" => {
                names.columns = Some(value.split(',').map(str::to_owned).collect());
                continue;
            }
            _ => {
                told = Some(clap::ValueEnum::from_str(value, true).unwrap());
                continue;
            }
        };
        names.chosen.push(Chosen { field, name: (*value).to_owned(), option });
    }
    let rows = rows_of(name, file_of(text.as_bytes()), told, &names);
    let rows = rows.map_err(|error| error.to_string())?;
    Ok(rows.into_iter().map(|row| row.item).collect())
}

/// What a column or key is called, in any case, is the same in each format.
#[test]
fn columns_and_keys_have_several_names() {
    let item = |name: &str, names: [&str; 4]| {
        let values = ["http://a", "two words", "x", "7"];
        let line = |cells: [&str; 4], between: &str| cells.join(between);
        let members: Vec<String> =
            names.iter().zip(values).map(|(key, value)| format!("\"{key}\":\"{value}\"")).collect();
        // Integers are numbers in JSON.
        let object = format!("{{{}}}", members.join(",").replace("\"7\"", "7"));
        let text = match name {
            "a.csv" => format!("{}\n{}", line(names, ","), line(values, ",")),
            "a.tsv" => format!("{}\n{}", line(names, "\t"), line(values, "\t")),
            "a.json" => format!("[{object}]"),
            _ => object,
        };
        items(name, text).remove(0)
    };
    for name in ["a.csv", "a.tsv", "a.json", "a.jsonl"] {
        for names in [
            ["url", "caption", "label", "class"],
            ["URL", "TEXT", "Label", "CLASS"],
            ["Image_Url", "Caption", "LABEL", "Class"],
            ["URI", "text", "label", "class"],
        ] {
            let item = item(name, names);
            assert_eq!(item.url, "http://a", "{name} {names:?}");
            assert_eq!(item.caption.as_deref(), Some("two words"), "{name} {names:?}");
            assert_eq!((item.label.as_deref(), item.class), (Some("x"), Some(7)), "{name}");
            assert_eq!(item.meta, None, "{name}");
        }
    }
}

/// Case 344: of two that mean the same the better name wins; the other goes into the meta, and it is said.
#[test]
fn of_two_names_that_mean_the_same_the_better_wins() {
    let names = ["image_url", "uri", "url", "text", "caption"];
    let values = ["http://b", "http://c", "http://a", "long", "short"];
    let others = json!({"image_url": "http://b", "uri": "http://c", "text": "long"});
    let table = format!("{}\n{}", names.join(","), values.join(","));
    let pairs: Vec<String> =
        names.iter().zip(values).map(|(key, value)| format!("\"{key}\":\"{value}\"")).collect();
    for (name, text) in [("a.csv", table), ("a.jsonl", format!("{{{}}}", pairs.join(",")))] {
        let item = items(name, text).remove(0);
        assert_eq!((item.url.as_str(), item.caption.as_deref()), ("http://a", Some("short")));
        assert_eq!(meta(&item), Some(others.clone()), "{name}");
    }
    let said = crate::rows::tests::judged(&[("a.csv", "uri,url,text\nhttp://b,http://a,x\n")], 9);
    let said = said.unwrap().remarks.warnings(1);
    assert_eq!(said, ["column `uri` means the same as `url`, and is kept in the meta"]);
}

/// Case 345: an option wins over every name; one that names nothing is refused with the columns that are there.
#[test]
fn an_option_names_the_column() {
    let table = "url,link,text,title,n\nhttp://b,http://a,long,short,3\n";
    let object = r#"{"url":"http://b","link":"http://a","text":"long","title":"short","n":3}"#;
    let options = [
        ("--url-column", "link"),
        ("--caption-column", "TITLE"),
        ("--label-column", "text"),
        ("--class-column", "n"),
    ];
    let tabs = table.replace(',', "\t");
    for (name, text) in [("a.csv", table), ("a.tsv", &tabs), ("a.jsonl", object)] {
        let item = with(name, text, &options).unwrap().remove(0);
        assert_eq!((item.url.as_str(), item.class), ("http://a", Some(3)), "{name}");
        assert_eq!((item.caption.as_deref(), item.label.as_deref()), (Some("short"), Some("long")));
        assert_eq!(meta(&item), Some(json!({"url": "http://b"})), "{name}");
    }
    let error = with("a.csv", table, &[("--label-column", "kind")]).unwrap_err();
    let words = "line 1: there is no column `kind`, which --label-column names; the columns are \
                 `url`, `link`, `text`, `title`, `n`";
    assert_eq!(error, words);
    let error = with("a.txt", "http://a", &[("--url-column", "x")]).unwrap_err();
    assert!(error.contains("--url-column names a column of a table, and the list is one URL"));
}

/// Case 346: tables without a head, as Conceptual Captions has them: every line is a row.
#[test]
fn columns_may_be_named_for_a_table_without_a_head() {
    let table = "a red chair\thttp://a/1\n\"x\thttp://a/2\n";
    let options = [("--columns", "caption,url")];
    let read = with("cc3m.tsv", table, &options).unwrap();
    let said: Vec<_> = read.iter().map(|i| (i.url.as_str(), i.caption.as_deref())).collect();
    assert_eq!(said, [("http://a/1", Some("a red chair")), ("http://a/2", Some("\"x"))]);
    for table in ["http://a/1,x\nhttp://a/2,\"y, z\"\n", "http://a/1;x\nhttp://a/2;\"y, z\"\n"] {
        let read = with("a.csv", table, &[("--columns", "url,caption")]).unwrap();
        let captions: Vec<_> = read.iter().map(|item| item.caption.as_deref()).collect();
        assert_eq!(captions, [Some("x"), Some("y, z")], "{table}");
    }
    let error = with("a.csv", "http://a,x", &[("--columns", "a,b")]).unwrap_err();
    assert!(error.contains("no url column"), "{error}");
    let error = with("a.jsonl", "{\"url\":\"http://a\"}", &options).unwrap_err();
    assert!(error.contains("--columns names a column of a table, and the list is JSON lines"));
}

/// Case 346: what is told of a list counts more than its name and content; broken is broken.
#[test]
fn a_format_that_is_told_wins() {
    let table = "a red chair,http://a/1\n";
    let options = [("--columns", "caption,url"), ("--format", "csv")];
    assert_eq!(with("-", table, &options).unwrap().len(), 1);
    assert_eq!(with("a.xyz", "no url\nhttp://a", &[("--format", "txt")]).unwrap().len(), 2);
    assert_eq!(with("a.csv", "{\"url\":\"http://a\"}", &[("--format", "jsonl")]).unwrap().len(), 1);
    assert_eq!(with("a.zip", "http://a", &[("--format", "txt")]).unwrap().len(), 1);
    let error = with("a.jsonl", "http://a", &[("--format", "json")]).unwrap_err();
    assert!(error.starts_with("line 1: no JSON array"), "{error}");
    let error = with("a.jsonl", "{\"url\":\"http://a\"}", &[("--format", "csv")]).unwrap_err();
    assert!(error.contains("no url column"), "{error}");
    let error = with("a.txt", "url\nhttp://a", &[("--format", "parquet")]).unwrap_err();
    assert!(error.contains("Parquet"), "{error}");
    let error = with("a.csv", "%PDF-1.7\nurl", &[("--format", "csv")]).unwrap_err();
    assert!(error.contains("a PDF"), "{error}");
}

/// Case 347: a class is an integer, or stays in the meta as it is written, and the row is told.
#[test]
fn a_class_is_an_integer_or_stays_in_the_meta() {
    for (name, text) in [
        ("a.csv", "url,class\nu,3\nu, -9 \nu,\nu,NaN\nu,3.5\nu,cat\n"),
        (
            "a.jsonl",
            "{\"url\":\"u\",\"class\":3}\n{\"url\":\"u\",\"class\":-9}\n{\"url\":\"u\"}\n\
             {\"url\":\"u\",\"class\":null}\n{\"url\":\"u\",\"class\":3.5}\n\
             {\"url\":\"u\",\"class\":\"cat\"}\n",
        ),
    ] {
        let rows = rows_of(name, file_of(text.as_bytes()), None, &Names::default()).unwrap();
        let classes: Vec<_> = rows.iter().map(|row| row.item.class).collect();
        assert_eq!(classes, [Some(3), Some(-9), None, None, None, None], "{name}");
        let doubts: Vec<_> = rows.iter().map(|row| row.doubt == Some(Doubt::Class)).collect();
        assert_eq!(doubts, [false, false, false, false, true, true], "{name}");
        let as_written = if name == "a.csv" { json!("3.5") } else { json!(3.5) };
        assert_eq!(meta(&rows[4].item), Some(json!({"class": as_written})), "{name}");
        assert_eq!(meta(&rows[5].item), Some(json!({"class": "cat"})), "{name}");
    }
}

/// Case 345: as a table says it, a key that no row has, with the keys that the first has; one row is enough.
#[test]
fn a_key_that_no_row_has_is_refused() {
    let rows = ["{\"url\":\"http://a\",\"title\":\"x\"}", "{\"url\":\"http://b\",\"k\":1}"];
    for (name, text) in [
        ("a.jsonl", format!("\n{}", rows.join("\n"))),
        ("a.json", format!("\n[{}]", rows.join(",\n"))),
    ] {
        let error = with(name, &text, &[("--caption-column", "titel")]).unwrap_err();
        let words = "line 2: no row has a key `titel`, which --caption-column names; the keys of the \
                     first are `url`, `title`";
        assert_eq!(error, words, "{name}");
        assert_eq!(with(name, &text, &[("--label-column", "K")]).unwrap().len(), 2, "{name}");
    }
    let error = with("a.jsonl", "\"http://a\"", &[("--url-column", "link")]).unwrap_err();
    assert!(error.ends_with("the keys of the first are none"), "{error}");
    // What stands behind the limit is not known.
    let long = format!("{{\"url\":\"http://a\",\"k\":\"{}\",\"t\":1}}", "x".repeat(70_000));
    assert_eq!(with("a.jsonl", &long, &[("--caption-column", "t")]).unwrap().len(), 1);
}

/// Case 345: two options that name one column cannot both be meant.
#[test]
fn two_options_name_two_columns() {
    let options = [("--url-column", "url"), ("--caption-column", "url")];
    for (name, text) in [("a.csv", "url,x\nhttp://a,y"), ("a.jsonl", "{\"url\":\"http://a\"}")] {
        let error = with(name, text, &options).unwrap_err();
        assert!(error.contains("--url-column and --caption-column name one column"), "{error}");
    }
    let options = [("--url-column", "url"), ("--caption-column", "URL")];
    let error = with("a.csv", "url,x\nhttp://a,y", &options).unwrap_err();
    assert!(error.contains("--url-column and --caption-column name one column"), "{error}");
    let two = with("a.csv", "url,URL\nhttp://a,y", &options).unwrap().remove(0);
    assert_eq!((two.url.as_str(), two.caption.as_deref()), ("http://a", Some("y")));
}
