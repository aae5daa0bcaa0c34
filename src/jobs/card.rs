//! The card of a job's folder, `README.md`: for people who find the folder, and for loaders, which
//! read its head.
//!
//! Without the head Hugging Face `datasets` loads the manifests as rows
//! (<https://huggingface.co/docs/hub/datasets-manual-configuration>).

use crate::state::DatasetRows;
use serde_json::Value;
use std::iter;

/// The text of the card. `has_strays`: the folder has tars that are none of the job's.
pub(super) fn text(job_id: i64, rows: &DatasetRows, has_strays: bool) -> String {
    let with_samples: Vec<&str> = files(rows).filter(|(_, n)| *n > 0).map(|(f, _)| f).collect();
    // A chunk that is not complete may have left a shard that nobody counts.
    let are_all = !has_strays
        && with_samples.len() == files(rows).count()
        && total(rows, "chunks") == total(rows, "chunks_completed");
    let late = total(rows, "late_duplicates");
    [
        head(&with_samples, are_all),
        about(job_id, with_samples.len(), rows),
        how_to_load(!with_samples.is_empty(), late),
    ]
    .concat()
}

fn total(rows: &DatasetRows, name: &str) -> i64 {
    rows.totals.0.get(name).and_then(Value::as_i64).unwrap_or(0)
}

fn about(job_id: i64, shards: usize, rows: &DatasetRows) -> String {
    let total = |name| total(rows, name);
    let asked = |name| rows.asked.0.get(name).unwrap_or(&Value::Null);
    format!(
        "# Job {job_id}

Pictures: {valid}, in shards of WebDataset's format: {shards}. Each is a picture and a `.json` beside it, with
`url`, `label`, `caption`, `class` (-1: none), `width`, `height`, `format`, `file_size`, `sha256` and `meta`.
{members}
## Numbers

{chunks_completed} of {chunks} chunks are complete.

| of their URLs | number |
| --- | --- |
| all | {images_total} |
{again}| kept | {valid} |
| a duplicate of one that is kept | {duplicates} |
| downloaded and not kept | {invalid} |
| not downloaded | {failed} |

{reasons}
## Settings

As the first chunk asked: validation `{validation}`, duplicates `{dedupe}`.
{others}Servers that opted out of use for
machine learning are counted as `opt_out` above; where that is missing, nobody did, or it was not respected.{robots} The
manifest beside each shard says of each URL what became of it and why.
",
        members = members(asked("output")),
        valid = total("images_valid"),
        chunks = total("chunks"),
        chunks_completed = total("chunks_completed"),
        images_total = total("images_total"),
        again = again(total("images_asked_again")),
        duplicates = total("duplicates_removed"),
        invalid = total("images_invalid"),
        failed = total("images_failed"),
        reasons = reasons(&rows.reasons.0),
        validation = asked("validation"),
        dedupe = asked("dedupe"),
        others = others(asked("dedupe")),
        robots = robots(asked("robots")),
    )
}

/// What the samples have beside picture and `.json`, as the first chunk asked.
fn members(output: &Value) -> String {
    let text = output.get("text").and_then(Value::as_str);
    let text =
        text.map(|of| format!("The `.txt` of each is its {of}, empty where there is none.\n"));
    let has_class = output.get("class").and_then(Value::as_bool) == Some(true);
    let class = has_class.then_some("The `.cls` of each is its class, -1 where there is none.\n");
    text.unwrap_or_default() + class.unwrap_or_default()
}

/// The jobs whose pictures are left out, as the first chunk asked.
fn others(dedupe: &Value) -> String {
    let jobs = dedupe.get("with_jobs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if jobs.is_empty() {
        return String::new();
    }
    let jobs: Vec<String> = jobs.iter().map(Value::to_string).collect();
    format!(
        "Pictures that these other jobs held then are duplicates here, and are not kept again: {}. The manifest names\n\
        such a one as `JOB/KEY`.\n",
        jobs.join(", ")
    )
}

/// What robots.txt was to the job, if the first chunk said so.
fn robots(word: &Value) -> &'static str {
    match word.as_str() {
        Some("respect") => {
            "\nWhat the robots.txt of a server does not allow was not asked for, and is counted as `robots` above."
        }
        Some("ignore") => "\nNo server was asked for its robots.txt.",
        // The setting of the handlers decided, and is not known here.
        _ => "",
    }
}

/// The row of URLs that were asked for more than once, if there are some.
fn again(n: i64) -> String {
    match n {
        0 => String::new(),
        n => format!("| of them asked for again, each counted at every try | {n} |\n"),
    }
}

/// Name in the job's folder and number of samples of each shard.
fn files(rows: &DatasetRows) -> impl Iterator<Item = (&str, i64)> {
    let shards = rows.shards.0.as_array().map_or(&[][..], Vec::as_slice);
    shards
        .iter()
        .filter_map(|shard| Some((shard.get("file")?.as_str()?, shard.get("samples")?.as_i64()?)))
}

/// `chunks/sizes.json` as `open_clip` reads it: samples by the name of the shard.
pub(super) fn sizes(rows: &DatasetRows) -> Value {
    let names =
        files(rows).map(|(file, n)| (file.trim_start_matches("chunks/").to_owned(), n.into()));
    Value::Object(names.collect())
}

/// What loaders read: the shards that have samples. One that has none may not be the first, and none
/// at all are no dataset.
fn head(with_samples: &[&str], are_all: bool) -> String {
    if with_samples.is_empty() {
        return String::new();
    }
    let paths = if are_all {
        "    path: chunks/*.tar\n".to_owned()
    } else {
        let names = with_samples.iter().map(|file| format!("    - {file}\n"));
        iter::once("    path:\n".to_owned()).chain(names).collect()
    };
    format!(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n{paths}---\n\n"
    )
}

fn reasons(reasons: &Value) -> String {
    let Some(reasons) = reasons.as_object().filter(|reasons| !reasons.is_empty()) else {
        return String::new();
    };
    let rows = reasons.iter().map(|(reason, n)| format!("| `{reason}` | {n} |\n"));
    iter::once("| why not | number |\n| --- | --- |\n".to_owned()).chain(rows).collect()
}

fn how_to_load(has_samples: bool, late_duplicates: i64) -> String {
    if !has_samples {
        return "\nNo shard has a sample.\n".to_owned();
    }
    format!(
        "
## Load it

In this folder, whatever it is called:

```python
import os
from datasets import load_dataset
pictures = load_dataset(os.getcwd(), split=\"train\")
```

```python
import json, webdataset
sizes = json.load(open(\"chunks/sizes.json\"))
shards = [f\"chunks/{{name}}\" for name, samples in sorted(sizes.items()) if samples]
pictures = webdataset.WebDataset(shards, shardshuffle=False).decode(\"pil\")
```

open_clip finds the number of samples in `chunks/sizes.json`. Late duplicates, which chunks that ran at the same
time kept of the same picture: {late_duplicates}. To leave them out:

```python
import json
late = {{late[\"key\"] for late in json.load(open(\"dataset.json\"))[\"late_duplicates\"]}}
pictures = [picture for picture in pictures if picture[\"__key__\"] not in late]
```

## Licence and consent

The pictures belong to whoever made them; each `url` says where one came from. This tool knows neither their
licences nor who agreed to what. Whoever publishes this folder states both here.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use sqlx::types::Json;

    /// The head of a card of these shards, by their samples, of a job of so many chunks.
    fn head_of(samples: &[i64], chunks: usize) -> String {
        head_beside(samples, chunks, false)
    }

    fn head_beside(samples: &[i64], chunks: usize, has_strays: bool) -> String {
        let shard = |(n, samples): (usize, &i64)| json!({"file": format!("chunks/chunk_{n:05}.tar"), "samples": samples});
        let rows = DatasetRows {
            totals: Json(json!({"chunks": chunks, "chunks_completed": samples.len()})),
            shards: Json(samples.iter().enumerate().map(shard).collect()),
            late_duplicates: Json(json!([])),
            reasons: Json(json!({"http_404": 1})),
            asked: Json(json!({})),
        };
        let card = text(7, &rows, has_strays);
        card.split("# Job 7").next().unwrap().to_owned()
    }

    /// Whoever finds the folder reads which members its samples have, and only those.
    #[test]
    fn the_card_says_what_lies_beside_a_picture() {
        assert_eq!(members(&json!({"extension": "jpg"})), "");
        let both = members(&json!({"text": "label", "class": true}));
        let expected = "The `.txt` of each is its label, empty where there is none.\n\
            The `.cls` of each is its class, -1 where there is none.\n";
        assert_eq!(both, expected);
        assert_eq!(members(&Value::Null), "");
    }

    /// Who loads one job only is told whose pictures are missing in it.
    #[test]
    fn the_card_names_the_jobs_that_have_the_rest() {
        assert_eq!(others(&json!({"scope": "job"})), "");
        assert_eq!(others(&Value::Null), "");
        let two = others(&json!({"scope": "job", "with_jobs": [5, 6]}));
        assert!(two.contains("not kept again: 5, 6."), "{two}");
    }

    /// Loaders get all shards at once only where each that lies there is one of the job's, and has a sample.
    #[test]
    fn the_head_names_the_shards_that_count() {
        let one_by_one = "    path:\n    - chunks/chunk_00000.tar\n---";
        assert!(head_of(&[3, 1], 2).contains("    path: chunks/*.tar\n---"));
        assert!(head_of(&[3, 0], 2).contains(one_by_one));
        assert!(head_of(&[3], 2).contains(one_by_one), "a cancelled chunk may have left one");
        let beside = head_beside(&[3, 1], 2, true);
        assert!(beside.contains("    - chunks/chunk_00001.tar\n---"), "others lie there: {beside}");
        assert_eq!(head_of(&[0], 1), "");
    }
}
