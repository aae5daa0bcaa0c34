//! How far a long step is: a bar where somebody looks at a terminal, else a line now and then.

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use std::{
    io::IsTerminal as _,
    sync::Arc,
    time::{Duration, Instant},
};

/// Between two lines.
const PERIOD: Duration = Duration::from_secs(10);

/// A step of which so much is done.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    what: &'static str,
    /// When it was last said, where no bar shows it.
    said: Option<Arc<Mutex<Instant>>>,
}

impl Progress {
    /// Of bytes.
    pub(crate) fn of_bytes(what: &'static str, total: u64) -> Self {
        let template = "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta}";
        Self::new(what, total, template)
    }

    /// Of lists that are written.
    pub(crate) fn of_lists(what: &'static str, total: usize) -> Self {
        let total = u64::try_from(total).unwrap_or(u64::MAX);
        Self::new(what, total, "{msg} {wide_bar} {pos} of {len}, {eta}")
    }

    /// That nobody sees.
    pub(crate) fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), what: "", said: None }
    }

    fn new(what: &'static str, total: u64, template: &str) -> Self {
        if !std::io::stderr().is_terminal() {
            let said = Some(Arc::new(Mutex::new(Instant::now())));
            let bar = ProgressBar::hidden();
            bar.set_length(total);
            return Self { bar, what, said };
        }
        let style = ProgressStyle::with_template(template);
        let bar = ProgressBar::new(total).with_message(what);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, what, said: None }
    }

    /// More is done.
    pub(crate) fn add(&self, n: u64) {
        self.bar.inc(n);
        let Some(said) = &self.said else { return };
        let mut said = said.lock();
        if said.elapsed() >= PERIOD {
            *said = Instant::now();
            let (done, total) = (self.bar.position(), self.bar.length().unwrap_or_default());
            eprintln!("{}: {}%", self.what, done.saturating_mul(100) / total.max(1));
        }
    }

    /// So much was done before; the speed is without it.
    pub(crate) fn skip(&self, n: u64) {
        self.add(n);
        self.bar.reset_eta();
    }

    /// What was done of this is of no use.
    pub(crate) fn forget(&self, n: u64) {
        self.bar.set_position(self.bar.position().saturating_sub(n));
    }

    /// All is done: the bar goes.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
