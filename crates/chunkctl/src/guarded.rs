//! Libraries that panic over the files of strangers.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    /// Whether what panics is a library, over a file that is broken in a way that it did not foresee.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// What a library makes of a file; none: it panicked, of which nobody is told.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_GUARDED.get() {
                before(info);
            }
        }));
    });
    IS_GUARDED.set(true);
    let made = panic::catch_unwind(AssertUnwindSafe(call));
    IS_GUARDED.set(false);
    made.ok()
}
