//! One run of a function app: its worker, its listeners, and how they stop.
//!
//! An edited host.json starts another one while it finishes its work, as on the real host.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::Options;
use crate::config::{App, Function, Trigger};
use crate::http::Framing;
use crate::invoke::Invoker;
use crate::log::{self, HOST, STAND_IN};
use crate::payload::{self, Sys};
use crate::queue::Listener;
use crate::timer::Timer;
use crate::worker::{State, Worker};

const CLOSE_IDLE: Duration = Duration::from_secs(5);

/// A running function app.
#[derive(Debug)]
pub struct ScriptHost {
    pub worker: Arc<Worker>,
    invoker: Arc<Invoker>,
    queues: BTreeMap<String, Function>,
    timers: BTreeMap<String, Arc<Timer>>,
    /// The listeners, and the invocations that they and the admin API have begun.
    work: TaskTracker,
    stop_listening: CancellationToken,
    draining: AtomicBool,
}

/// The answer to an admin call.
#[derive(Debug, PartialEq)]
pub enum ByHand {
    Accepted,
    NoSuchFunction,
}

impl ScriptHost {
    /// Starts the handler and listens at once; a reason to give up goes to `fatal`.
    pub fn start(
        app: App,
        options: &Options,
        status_dir: PathBuf,
        fatal: mpsc::UnboundedSender<Result<String>>,
    ) -> Result<Arc<Self>> {
        let app = Arc::new(app);
        let (worker, supervisor) = Worker::new(Arc::clone(&app))?;
        let framing = if options.core_tools { Framing::Length } else { Framing::Chunked };
        let invoker =
            Arc::new(Invoker::new(Arc::clone(&worker), Arc::clone(&app), framing, fatal.clone()));
        let (queues, timers) = split(&app, options, status_dir, &invoker);
        let host = Arc::new(Self {
            worker,
            invoker,
            queues,
            timers,
            work: TaskTracker::new(),
            stop_listening: CancellationToken::new(),
            draining: AtomicBool::new(false),
        });
        tokio::spawn(async move {
            let reason = match supervisor.run().await {
                Ok(true) => return,
                Ok(false) => Ok("Exceeded http worker restart retry count: three strikes".into()),
                Err(error) => Err(error),
            };
            // A closed channel means that the host is ending already.
            let _ = fatal.send(reason);
        });
        tokio::spawn(Arc::clone(&host).watch_connections());
        host.listen(&app, options)?;
        Ok(host)
    }

    /// Waits until the handler has answered for the first time.
    pub async fn ready(&self) {
        // It never answers when it has three strikes first.
        let _ = self.worker.state().wait_for(|state| matches!(state, State::Ready(_))).await;
    }

    /// Fetches and fires nothing new; what is open goes on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.stop_listening.cancel();
    }

    /// `None` when it is not draining, else whether that is completed.
    pub fn drained(&self) -> Option<bool> {
        self.draining.load(Ordering::SeqCst).then(|| self.n_outstanding() == 0)
    }

    /// How many invocations are open.
    pub fn n_outstanding(&self) -> usize {
        self.invoker.n_outstanding()
    }

    /// Stops listening, waits up to `patience` for what is open, then kills the handler; false when
    /// something was still open: the handler is left alone then.
    pub async fn stop(&self, patience: Option<Duration>) -> bool {
        self.stop_listening.cancel();
        self.work.close();
        let ended = self.work.wait();
        let in_time = match patience {
            Some(patience) => tokio::time::timeout(patience, ended).await.is_ok(),
            None => {
                ended.await;
                true
            }
        };
        if in_time {
            self.worker.kill().await;
        }
        in_time
    }

    /// Calls a function in the background.
    pub fn call_by_hand(&self, name: &str, input: Option<String>) -> ByHand {
        if let Some(timer) = self.timers.get(name) {
            let timer = Arc::clone(timer);
            self.work.spawn(async move { timer.fire_by_hand(input.as_deref()).await });
            return ByHand::Accepted;
        }
        let Some(function) = self.queues.get(name) else { return ByHand::NoSuchFunction };
        let Some(text) = input else {
            log::error(HOST, format!("{name}: there is no input to make a queue message of"));
            return ByHand::Accepted;
        };
        let sys = Sys { function: name, now: OffsetDateTime::now_utc(), guid: Uuid::new_v4() };
        let body = payload::queue_by_hand(&function.binding, &text, &sys);
        let (invoker, name) = (Arc::clone(&self.invoker), name.to_owned());
        self.work.spawn(async move { invoker.invoke(&name, body).await });
        ByHand::Accepted
    }

    fn listen(&self, app: &App, options: &Options) -> Result<()> {
        for function in self.queues.values() {
            let Trigger::Queue { queue, connection } = &function.trigger else { continue };
            let settings = app.queues.clone();
            let invoker = Arc::clone(&self.invoker);
            let listener = Listener::new(
                function.clone(),
                queue,
                connection,
                settings,
                options.time_scale,
                invoker,
            )?;
            log::info(HOST, format!("{} listens to queue '{queue}'", function.name));
            self.work.spawn(Arc::new(listener).run(self.stop_listening.clone()));
        }
        for (name, timer) in &self.timers {
            if options.no_timer {
                log::info(STAND_IN, format!("--no-timer: {name} runs by hand only"));
                continue;
            }
            let first = timer.first_run().map_or("never".into(), |run| run.to_string());
            log::info(HOST, format!("{name} has its first run: {first}"));
            self.work.spawn(Arc::clone(timer).run(self.stop_listening.clone()));
        }
        Ok(())
    }

    async fn watch_connections(self: Arc<Self>) {
        while !self.worker.is_over() {
            self.worker.http.close_idle();
            tokio::time::sleep(CLOSE_IDLE).await;
        }
    }
}

type ByName<T> = BTreeMap<String, T>;

fn split(
    app: &App,
    options: &Options,
    status_dir: PathBuf,
    invoker: &Arc<Invoker>,
) -> (ByName<Function>, ByName<Arc<Timer>>) {
    let mut queues = BTreeMap::new();
    let mut timers = BTreeMap::new();
    for function in &app.functions {
        match &function.trigger {
            Trigger::Queue { .. } => {
                queues.insert(function.name.clone(), function.clone());
            }
            Trigger::Timer { schedule, use_monitor, run_on_startup } => {
                let flags = (*use_monitor, *run_on_startup && !options.no_timer);
                let (function, schedule) = (function.clone(), schedule.clone());
                let name = function.name.clone();
                let timer = Timer::new(function, schedule, flags, &status_dir, Arc::clone(invoker));
                timers.insert(name, Arc::new(timer));
            }
        }
    }
    (queues, timers)
}
