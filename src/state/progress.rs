//! How far a chunk is, for whoever looks. Said with the renewals of its lease: nothing is decided by it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

/// How far the work of one claim is.
#[derive(Debug, Default)]
pub struct Progress {
    /// URLs of the list; none: it is not read yet.
    items: OnceLock<i32>,
    /// Those of them that have a verdict.
    done: AtomicU64,
    /// Temp bytes that the chunk holds, kept up to date by who holds them.
    temp: OnceLock<Arc<AtomicU64>>,
}

/// What a renewal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) items_done: Option<i32>,
    pub(super) items_total: Option<i32>,
    pub(super) temp_bytes: Option<i64>,
}

impl Progress {
    /// The temp bytes of the chunk are counted there.
    pub(crate) fn holds(&self, temp: Arc<AtomicU64>) {
        self.temp.get_or_init(|| temp);
    }

    /// The list is read, and none of its URLs has a verdict; also when a round begins anew.
    pub(crate) fn begin(&self, items: usize) {
        self.items.get_or_init(|| i32::try_from(items).unwrap_or(i32::MAX));
        self.done.store(0, Ordering::Relaxed);
    }

    /// One more URL has its verdict.
    pub(crate) fn item_done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn said(&self) -> Said {
        let items_total = self.items.get().copied();
        let done = i32::try_from(self.done.load(Ordering::Relaxed)).unwrap_or(i32::MAX);
        let held = |temp: &Arc<AtomicU64>| i64::try_from(temp.load(Ordering::Relaxed));
        Said {
            items_done: items_total.map(|_| done),
            items_total,
            temp_bytes: self.temp.get().and_then(|temp| held(temp).ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is said of URLs before the list is read; a round that begins anew counts from 0.
    #[test]
    fn what_is_said_is_known() {
        let progress = Progress::default();
        let nothing = Said { items_done: None, items_total: None, temp_bytes: None };
        assert_eq!(progress.said(), nothing);
        progress.holds(Arc::new(AtomicU64::new(7)));
        progress.begin(3);
        progress.item_done();
        let said = Said { items_done: Some(1), items_total: Some(3), temp_bytes: Some(7) };
        assert_eq!(progress.said(), said);
        progress.begin(3);
        assert_eq!(progress.said(), Said { items_done: Some(0), ..said });
    }
}
