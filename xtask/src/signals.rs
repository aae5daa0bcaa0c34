//! INT, TERM and HUP: the first asks for a clean stop, the second ends everything at once.

use std::sync::mpsc;

use anyhow::{Context, Result};
use support::child::kill_all;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// The exit code after a signal.
pub(crate) const INTERRUPTED: u8 = 130;

/// Resolves to the name of the first signal.
///
/// A thread of its own listens, so that the second signal counts while the main thread waits for its
/// children to stop.
pub(crate) fn watch() -> Result<oneshot::Receiver<&'static str>> {
    let (first, received) = oneshot::channel();
    let (listening, ready) = mpsc::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let mut signals = match Signals::new() {
                Ok(signals) => signals,
                Err(error) => return drop(listening.send(Err(error))),
            };
            let _ = listening.send(Ok(()));
            let _ = first.send(signals.next().await);
            signals.next().await;
            kill_all();
            std::process::exit(i32::from(INTERRUPTED));
        });
    });
    ready.recv().context("the signal thread ended")??;
    Ok(received)
}

struct Signals {
    int: Signal,
    term: Signal,
    hup: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self {
            int: signal(SignalKind::interrupt())?,
            term: signal(SignalKind::terminate())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.int.recv() => "INT",
            _ = self.term.recv() => "TERM",
            _ = self.hup.recv() => "HUP",
        }
    }
}
