//! What the database keeps, how large it is, and for how long it stays.

use chunk_handler::{
    settings::{KeepSettings, MIB},
    state::TableSize,
};
use serde_json::{Value, json};

/// A table that nothing removes from is worth a warning from this size on.
const LARGE_BYTES: i64 = 1 << 30;

/// The setting that says how long a table's rows stay, and its value.
fn setting(table: &str, keep: KeepSettings) -> (&'static str, i32) {
    match table {
        "image_hash" => ("PIXCRAWLER_KEEP_HASHES_DAYS", keep.hashes_days),
        "attempt" | "health_check" => ("PIXCRAWLER_KEEP_HISTORY_DAYS", keep.history_days),
        "rejected" => ("PIXCRAWLER_KEEP_REJECTED_DAYS", keep.rejected_days),
        _ => ("PIXCRAWLER_KEEP_JOBS_DAYS", keep.jobs_days),
    }
}

/// Why a table will trouble its operator; none: it will not.
fn warning(size: &TableSize, keep: KeepSettings) -> Option<String> {
    let (name, days) = setting(&size.name, keep);
    (days == 0 && size.bytes >= LARGE_BYTES)
        .then(|| format!("it is large and nothing of it ever goes: set {name}"))
}

/// A line for each table, and one for what is odd about it.
pub(crate) fn as_text(sizes: &[TableSize], keep: KeepSettings) -> Vec<String> {
    let mut lines = Vec::new();
    for size in sizes {
        let (name, days) = setting(&size.name, keep);
        let mb = u64::try_from(size.bytes).unwrap_or(0) / MIB;
        let stays = if days == 0 { "for ever".into() } else { format!("{days} days") };
        lines.push(format!(
            "  {}: about {} rows, {mb} MB, kept {stays} ({name})",
            size.name, size.rows
        ));
        lines.extend(warning(size, keep).map(|text| format!("          WARNING: {text}")));
    }
    lines
}

/// The same for programs.
pub(crate) fn as_json(sizes: &[TableSize], keep: KeepSettings) -> Vec<Value> {
    let row = |size: &TableSize| {
        let (name, days) = setting(&size.name, keep);
        json!({
            "table": size.name, "rows": size.rows, "bytes": size.bytes,
            "setting": name, "days": days, "warning": warning(size, keep),
        })
    };
    sizes.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP: KeepSettings =
        KeepSettings { hashes_days: 30, history_days: 30, rejected_days: 90, jobs_days: 0 };

    fn size(name: &str, bytes: i64) -> TableSize {
        TableSize { name: name.into(), rows: 7, bytes }
    }

    /// A large table is odd only where nothing is removed from it.
    #[test]
    fn a_large_table_that_only_grows_is_named_with_its_setting() {
        let sizes = [size("image_hash", LARGE_BYTES), size("chunk", LARGE_BYTES)];
        assert_eq!(
            as_text(&sizes, KEEP),
            [
                "  image_hash: about 7 rows, 1024 MB, kept 30 days (PIXCRAWLER_KEEP_HASHES_DAYS)",
                "  chunk: about 7 rows, 1024 MB, kept for ever (PIXCRAWLER_KEEP_JOBS_DAYS)",
                "          WARNING: it is large and nothing of it ever goes: set \
                 PIXCRAWLER_KEEP_JOBS_DAYS",
            ]
        );
        let json = as_json(&sizes, KEEP);
        assert!(json[0]["warning"].is_null() && json[1]["warning"].is_string(), "{json:?}");
        assert!(as_json(&[size("job", LARGE_BYTES - 1)], KEEP)[0]["warning"].is_null());
    }
}
