//! The grid of a job's chunks: one path for each state, so that ten thousand chunks are a few kB.

use crate::dashboard::{look::pattern, show};
use chunk_handler::state::{ChunkCell, JobProgress};
use maud::{Markup, html};
use std::fmt::Write as _;

/// The most cells of a grid; a job with more chunks has several in a cell.
const MOST_CELLS: i32 = 10_000;
/// Units of a cell.
const CELL: i64 = 10;

/// By rank: what a cell shows, the class of its colour.
const STATES: [(&str, &str); 5] = [
    ("missing", "none-fill"),
    ("completed", "completed-fill"),
    ("pending", "pending-fill"),
    ("running", "running-fill"),
    ("failed", "failed-fill"),
];

/// How many chunks of a job are in one cell.
pub(super) fn per_cell(total_chunks: i32) -> i32 {
    (total_chunks.max(1) - 1) / MOST_CELLS + 1
}

/// The grid with its legend.
pub(super) fn grid(job: &JobProgress, cells: &[ChunkCell], per_cell: i32) -> Markup {
    let last = cells.last().map_or(0, |cell| cell.cell + 1);
    let n = last.max((job.total_chunks + per_cell - 1) / per_cell);
    let n = usize::try_from(n).unwrap_or(0);
    let mut ranks = vec![0_usize; n];
    for cell in cells {
        let place = usize::try_from(cell.cell).ok().and_then(|i| ranks.get_mut(i));
        if let (Some(place), Ok(rank)) = (place, usize::try_from(cell.rank)) {
            *place = rank;
        }
    }
    let columns = match n {
        0..=200 => 25,
        201..=1000 => 50,
        _ => 100,
    };
    let (width, height) = (units(columns) * CELL, units(n.div_ceil(columns)) * CELL);
    let counts = [
        job.missing_chunks,
        job.completed_chunks,
        job.pending_chunks,
        job.active_chunks,
        job.failed_chunks,
    ];
    let words: Vec<String> = STATES
        .iter()
        .zip(counts)
        .filter(|(_, n)| *n > 0)
        .map(|((word, _), n)| format!("{} {word}", show::count(n.into())))
        .collect();
    html! {
        @if n > 0 {
            svg role="img" aria-labelledby="grid-title grid-text" width=(width) height=(height)
                viewBox={ "0 0 " (width) " " (height) } {
                title #grid-title { "Chunks of job " (job.job_id) }
                desc #grid-text { (words.join(", ")) ". The table of open chunks has them one by one." }
                defs {
                    @for (word, class) in STATES { (pattern("g-", word, class)) }
                    pattern id="g-lines" width=(CELL) height=(CELL) patternUnits="userSpaceOnUse" {
                        path.cells d={ "M0 0H" (CELL) "M0 0V" (CELL) } {}
                    }
                }
                @for (rank, (word, _)) in STATES.iter().enumerate() {
                    @let path = path(&ranks, rank, columns);
                    @if !path.is_empty() { path fill={ "url(#g-" (word) ")" } d=(path) {} }
                }
                rect width=(width) height=(height) fill="url(#g-lines)" {}
            }
        }
        ul.legend {
            @for ((word, class), n) in STATES.iter().zip(counts) {
                @if n > 0 {
                    li { svg viewBox="0 0 16 16" aria-hidden="true" {
                        defs { (pattern("l-", word, class)) }
                        rect width="16" height="16" fill={ "url(#l-" (word) ")" } {}
                    } (show::count(n.into())) " " (word) }
                }
            }
        }
        @if per_cell > 1 {
            p.quiet {
                "A cell is " (per_cell) " chunks, and shows what wants attention most among them: failed, then \
                 running, pending, completed, missing."
            }
        }
    }
}

fn units(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(0)
}

/// The cells of one rank, as rectangles: a run is its part of the first row, its whole rows, its part of
/// the last row.
fn path(ranks: &[usize], rank: usize, columns: usize) -> String {
    let mut path = String::new();
    let mut from = 0;
    for run in ranks.chunk_by(|a, b| a == b) {
        let to = from + run.len();
        if run.first() == Some(&rank) {
            rectangles(&mut path, from, to, columns);
        }
        from = to;
    }
    path
}

fn rectangles(path: &mut String, mut from: usize, to: usize, columns: usize) {
    while from < to {
        let column = from % columns;
        // Whole rows at once.
        let rows = if column == 0 { ((to - from) / columns).max(1) } else { 1 };
        let wide = if column == 0 && to - from >= columns {
            columns
        } else {
            (to - from).min(columns - column)
        };
        let (x, y) = (units(column) * CELL, units(from / columns) * CELL);
        let (width, height) = (units(wide) * CELL, units(rows) * CELL);
        write!(path, "M{x} {y}h{width}v{height}h-{width}z").unwrap_or_default();
        from += wide * rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cells that the rectangles of a path cover.
    fn covered(path: &str) -> i64 {
        path.split('z')
            .filter_map(|one| {
                let (_, size) = one.split_once('h')?;
                let (width, rest) = size.split_once('v')?;
                let height = rest.split_once('h')?.0;
                let area = width.parse::<i64>().ok()? * height.parse::<i64>().ok()?;
                Some(area / CELL / CELL)
            })
            .sum()
    }

    /// Ten thousand chunks in runs are 1 kB; at worst, each unlike its neighbours, 62 kB in two states.
    #[test]
    fn a_grid_is_small_and_covers_each_cell_once() {
        let mut ranks = vec![1; 10_000];
        ranks[4_242..4_999].fill(4);
        ranks[9_000..].fill(2);
        let paths: Vec<String> = (0..5).map(|rank| path(&ranks, rank, 100)).collect();
        assert!(paths.concat().len() < 1000, "{}", paths.concat().len());
        let sizes: Vec<i64> = paths.iter().map(|path| covered(path)).collect();
        assert_eq!(sizes, [0, 8_243, 1_000, 0, 757]);
        let worst: Vec<usize> = (0..10_000).map(|i| 1 + i % 2).collect();
        let paths = path(&worst, 1, 100) + &path(&worst, 2, 100);
        assert_eq!(covered(&paths), 10_000);
        println!("10,000 chunks at worst: {} bytes", paths.len());
    }

    #[test]
    fn a_large_job_has_several_chunks_in_a_cell() {
        let sizes = [0, 1, 10_000, 10_001, 100_000].map(per_cell);
        assert_eq!(sizes, [1, 1, 1, 2, 10]);
    }
}
