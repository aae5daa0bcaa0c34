//! What is shown while bytes go by: a bar on a terminal, a line now and then elsewhere.

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// Between two lines where there is no terminal.
const PERIOD: Duration = Duration::from_secs(5);

/// How many of so many bytes are done.
pub(crate) struct Progress {
    bar: ProgressBar,
    shows_lines: bool,
    last_line: Cell<Instant>,
    total: u64,
    done: Cell<u64>,
}

impl Progress {
    pub(crate) fn new(total: u64, is_quiet: bool) -> anyhow::Result<Self> {
        let bar = if is_quiet { ProgressBar::hidden() } else { ProgressBar::new(total) };
        let style = "{bar:30} {bytes} of {total_bytes}  {bytes_per_sec}  ETA {eta}";
        let bar = bar.with_style(ProgressStyle::with_template(style)?);
        let shows_lines = !is_quiet && bar.is_hidden();
        let (last_line, done) = (Cell::new(Instant::now()), Cell::new(0));
        Ok(Self { bar, shows_lines, last_line, total, done })
    }

    /// So many more are done.
    #[expect(clippy::print_stderr, reason = "a command line prints")]
    pub(crate) fn advance(&self, bytes: u64) {
        self.set(self.done.get() + bytes);
        if self.shows_lines && self.last_line.get().elapsed() > PERIOD {
            self.last_line.set(Instant::now());
            eprintln!("{} of {}", HumanBytes(self.done.get()), HumanBytes(self.total));
        }
    }

    /// So many were done before; the speed is without them.
    pub(crate) fn skip(&self, bytes: u64) {
        self.advance(bytes);
        self.bar.reset_eta();
    }

    /// What was done of these is of no use.
    pub(crate) fn forget(&self, bytes: u64) {
        self.set(self.done.get().saturating_sub(bytes));
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn set(&self, done: u64) {
        self.done.set(done);
        self.bar.set_position(done);
    }
}
