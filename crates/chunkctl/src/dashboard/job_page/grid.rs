//! The grid of a job's chunks: one path for each state, so that ten thousand chunks are a few kB.
//!
//! A cell is a unit of the picture, and a run of cells a line as wide as a cell: `m3 0h2` is the shortest
//! that an SVG has for it.

use crate::dashboard::{look::pattern, show};
use chunk_handler::state::{ChunkCell, JobProgress};
use maud::{Markup, html};
use std::fmt::Write as _;

/// The most chunks that have a cell each.
const MOST_ALONE: i32 = 10_000;
/// The most cells of a job with more.
const MOST_CELLS: i32 = 5000;
/// Pixels of a cell.
const CELL: usize = 10;

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
    if total_chunks <= MOST_ALONE { 1 } else { (total_chunks - 1) / MOST_CELLS + 1 }
}

/// The grid with its legend.
pub(super) fn grid(job: &JobProgress, cells: &[ChunkCell], per_cell: i32) -> Markup {
    let last = cells.last().map_or(0, |cell| cell.cell + 1);
    let n = last.max((job.total_chunks + per_cell - 1) / per_cell);
    // A message may have named an index far above all others.
    let n = usize::try_from(n.min(MOST_ALONE)).unwrap_or(0);
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
    let rows = n.div_ceil(columns);
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
            svg role="img" aria-labelledby="grid-title grid-text" width=(columns * CELL)
                height=(rows * CELL) viewBox={ "0 0 " (columns) " " (rows) } {
                title #grid-title { "Chunks of job " (job.job_id) }
                desc #grid-text { (words.join(", ")) ". The table of open chunks has them one by one." }
                defs {
                    @for (word, class) in STATES { (pattern("g-", word, class, Some("scale(.125)"))) }
                    pattern id="g-lines" width="1" height="1" patternUnits="userSpaceOnUse" {
                        path.cells d="M0 0H1M0 0V1" {}
                    }
                }
                @for (rank, (word, _)) in STATES.iter().enumerate() {
                    @let path = path(&ranks, rank, columns);
                    @if !path.is_empty() { path fill="none" stroke={ "url(#g-" (word) ")" } d=(path) {} }
                }
                rect width=(columns) height=(rows) fill="url(#g-lines)" {}
            }
        }
        ul.legend {
            @for ((word, class), n) in STATES.iter().zip(counts) {
                @if n > 0 {
                    li { svg viewBox="0 0 16 16" aria-hidden="true" {
                        defs { (pattern("l-", word, class, None)) }
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

/// The cells of one rank: a line for each run, of each row that it is in.
fn path(ranks: &[usize], rank: usize, columns: usize) -> String {
    let mut path = String::new();
    for (y, row) in ranks.chunks(columns).enumerate() {
        let (mut from, mut pen) = (0, None);
        for run in row.chunk_by(|a, b| a == b) {
            let length = run.len();
            if run.first() == Some(&rank) {
                let moved = match pen {
                    Some(pen) => write!(path, "m{} 0h{length}", from - pen),
                    None => write!(path, "M{from} {y}.5h{length}"),
                };
                moved.unwrap_or_default();
                pen = Some(from + length);
            }
            from += length;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many cells the lines of a path cover.
    fn covered(path: &str) -> usize {
        let lengths = path.split('h').skip(1);
        lengths.map(|rest| rest.split(['m', 'M']).next().unwrap().parse::<usize>().unwrap()).sum()
    }

    /// Ten thousand chunks in runs are about 1 kB; at worst, each unlike its neighbours, about 62 kB.
    #[test]
    fn a_grid_is_small_and_covers_each_cell_once() {
        let mut ranks = vec![1; 10_000];
        ranks[4_242..4_999].fill(4);
        ranks[9_000..].fill(2);
        let paths: Vec<String> = (0..5).map(|rank| path(&ranks, rank, 100)).collect();
        let sizes: Vec<usize> = paths.iter().map(|path| covered(path)).collect();
        assert_eq!(sizes, [0, 8_243, 1_000, 0, 757]);
        assert!(paths.concat().len() < 1300, "{}", paths.concat().len());
        let worst: Vec<usize> = (0..10_000).map(|i| 1 + i % 2).collect();
        let paths = path(&worst, 1, 100) + &path(&worst, 2, 100);
        assert_eq!(covered(&paths), 10_000);
        assert!(paths.len() < 62_000, "{}", paths.len());
    }

    /// A row begins anew, and what follows in it is where the last line ended.
    #[test]
    fn runs_are_lines_in_each_of_their_rows() {
        let ranks = [4, 1, 4, 4, 1, 1, 4];
        assert_eq!(path(&ranks, 4, 3), "M0 0.5h1m1 0h1M0 1.5h1M0 2.5h1");
    }

    #[test]
    fn a_large_job_has_several_chunks_in_a_cell() {
        let sizes = [0, 1, 10_000, 10_001, 100_000].map(per_cell);
        assert_eq!(sizes, [1, 1, 1, 3, 20]);
    }
}
