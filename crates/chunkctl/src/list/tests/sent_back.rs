//! Rows of `chunkctl urls` as they come back from spreadsheets and data frames.

use super::*;
use crate::list::Doubt;

fn rows(name: &str, text: &str) -> Vec<Row> {
    rows_of(name, file_of(text.as_bytes()), None, &Names::default()).unwrap()
}

/// The place that a row is known by, its label, its meta, and its doubt.
fn said(row: &Row) -> (String, &str, &str, Option<Doubt>) {
    let first = row.first_try.map(|first| format!("{} {}", first.job_id, first.key));
    let label = row.item.label.as_deref().unwrap_or_default();
    let meta = row.item.meta.as_ref().map_or("", |meta| meta.get());
    (first.unwrap_or_default(), label, meta, row.doubt)
}

/// Case 434: integers that became fractions, heads in other letters and with other separators, and the
/// column of an index: the row is known, its cell has its own quotes, and no meta has what is the manifest's.
#[test]
fn rows_are_known_whatever_they_went_through() {
    let known = ("7 00004_00017".to_owned(), "=1+1", r#"{"mine":"x"}"#, None);
    for (name, text) in [
        (
            "a.csv",
            ",Job_Id,chunk index,IDX,url,label,Status,Retry-Of,mine\n\
             0,7.0,4.0,17.0,http://a,'=1+1,failed,,x\n",
        ),
        (
            "a.csv",
            "Unnamed: 0;job_id;chunk_index;idx;url;label;In Vain;retry_of;mine\n\
             0;7;9;0;http://a;'=1+1;00009_00004;00004_00017;x\n",
        ),
        (
            "a.tsv",
            "JobId\tChunkIndex\tidx\turl\tlabel\tstatus\tmine\n7\t4\t17\thttp://a\t'=1+1\t\tx\n",
        ),
        (
            "a.jsonl",
            r#"{"Unnamed: 0":0,"Job_Id":7.0,"CHUNK_INDEX":4.0,"idx":17.0,"url":"http://a",
             "label":"=1+1","Retry Of":null,"in_vain":"00009_00004","mine":"x"}"#,
        ),
    ] {
        let text = if name == "a.jsonl" { text.replace('\n', "") } else { text.to_owned() };
        let all = rows(name, &text);
        assert_eq!((all.len(), said(&all[0])), (1, known.clone()), "{text}");
    }
}

/// Case 435: a row that lost part of its key is taken as any other, and told; one without a key, and columns
/// that are called like the manifest's, are somebody's own, quotes and all.
#[test]
fn a_row_without_its_key_is_somebodys_own() {
    let head = "job_id,chunk_index,idx,url,label,status\n";
    let row = |cells: &str| {
        let text = format!("{head}7,4,17,http://a/1,'=1,failed\n{cells}\n");
        let all = rows("a.csv", &text);
        assert_eq!(said(&all[0]), ("7 00004_00017".to_owned(), "=1", "", None), "{text}");
        let (first, label, meta, doubt) = said(&all[1]);
        assert_eq!((&*first, label), ("", "'=1"), "{text}");
        (meta.to_owned(), doubt)
    };
    let own = (r#"{"status":"new"}"#.to_owned(), None);
    assert_eq!(row(",,,http://a/2,'=1,new"), own);
    let damaged = (r#"{"job_id":"7","idx":"17","status":"new"}"#.to_owned(), Some(Doubt::Key));
    assert_eq!(row("7,,17,http://a/2,'=1,new"), damaged);
    assert_eq!(row("7,4,1E+03,http://a/2,'=1,new").1, Some(Doubt::Key));
    // A column was dropped.
    let all = rows("a.csv", "job_id,idx,url,status\n7,17,http://a,failed\n");
    let meta = r#"{"job_id":"7","idx":"17","status":"failed"}"#;
    assert_eq!(said(&all[0]), (String::new(), "", meta, Some(Doubt::Key)));
    let all = rows("a.jsonl", r#"{"chunk_index":4,"idx":17,"url":"http://a","key":1}"#);
    let meta = r#"{"chunk_index":4,"idx":17,"key":1}"#;
    assert_eq!(said(&all[0]), (String::new(), "", meta, Some(Doubt::Key)));
    // Of one name nobody can tell.
    let all = rows("a.csv", "idx,url,status,shard\n17,http://a,ok,3\n");
    let meta = r#"{"idx":"17","status":"ok","shard":"3"}"#;
    assert_eq!(said(&all[0]), (String::new(), "", meta, None));
}
