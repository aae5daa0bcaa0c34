//! One invocation: wait for the handler, post, judge, and the function timeout.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::answer::{Verdict, judge};
use crate::config::App;
use crate::http::{Framing, Head};
use crate::log::{self, Level, STAND_IN};
use crate::worker::{State, Worker};

const VERSION: &str = "4.1037.0.0";
/// Between a function's timeout and the end of its process.
const GRACE: Duration = Duration::from_secs(2);
/// How long a broken call waits for the news that its process was the third to end.
const GIVE_UP_NEWS: Duration = Duration::from_millis(50);

/// An invocation waits for a first start of the handler and for one after each strike.
const INITIALIZATIONS: u32 = 4;

/// How an invocation ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    Success,
    Failure,
    /// The host gives up: whatever triggered the invocation stays as it is.
    Abandoned,
}

/// Calls the handler.
#[derive(Debug)]
pub struct Invoker {
    pub worker: Arc<Worker>,
    app: Arc<App>,
    framing: Framing,
    outstanding: AtomicUsize,
    /// Takes the reason why the host cannot go on.
    fatal: mpsc::UnboundedSender<anyhow::Result<String>>,
}

impl Invoker {
    /// An invoker for one worker; reasons to give up go to `fatal`.
    pub fn new(
        worker: Arc<Worker>,
        app: Arc<App>,
        framing: Framing,
        fatal: mpsc::UnboundedSender<anyhow::Result<String>>,
    ) -> Self {
        Self { worker, app, framing, outstanding: AtomicUsize::new(0), fatal }
    }

    /// How many invocations are open.
    pub fn n_outstanding(&self) -> usize {
        self.outstanding.load(Ordering::SeqCst)
    }

    /// Runs one invocation to its end.
    pub async fn invoke(&self, function: &str, body: String) -> Outcome {
        let _open = Open::new(&self.outstanding);
        let invocation = Invocation { id: Uuid::new_v4(), function: function.into() };
        let started = Instant::now();
        invocation.log(Level::Information, "Executing", "");
        let call = call(
            Arc::clone(&self.worker),
            self.head(&invocation),
            body,
            self.app.initialization * INITIALIZATIONS,
        );
        // A task of its own: a function that times out does not cancel its request.
        let mut task = tokio::spawn(call);
        let result = match self.app.function_timeout {
            None => (&mut task).await,
            Some(limit) => match tokio::time::timeout(limit, &mut task).await {
                Ok(result) => result,
                Err(_) => {
                    self.time_out(invocation, limit, task);
                    return Outcome::Failure;
                }
            },
        };
        let result = result.unwrap_or_else(|panic| Err(Trouble::Failed(panic.to_string())));
        self.conclude(&invocation, started.elapsed(), result).await
    }

    async fn conclude(
        &self,
        invocation: &Invocation,
        duration: Duration,
        result: CallResult,
    ) -> Outcome {
        let milliseconds = duration.as_millis();
        let failed = |text: &str| {
            invocation.log(
                Level::Error,
                "Executed",
                &format!(" Failed, Duration={milliseconds}ms: {text}"),
            );
        };
        match result {
            Ok(logs) => {
                for line in logs {
                    log::info(&format!("Function.{}.User", invocation.function), line);
                }
                invocation.log(
                    Level::Information,
                    "Executed",
                    &format!(" Succeeded, Duration={milliseconds}ms"),
                );
                Outcome::Success
            }
            Err(Trouble::Failed(text)) => {
                failed(&text);
                Outcome::Failure
            }
            Err(Trouble::Broken(text)) => {
                failed(&text);
                let mut state = self.worker.state();
                let over = state.wait_for(|state| *state == State::GivenUp);
                let is_over = tokio::time::timeout(GIVE_UP_NEWS, over).await.is_ok();
                if is_over { Outcome::Abandoned } else { Outcome::Failure }
            }
            Err(Trouble::NotReady) => {
                let text = "the handler was not ready for four times initializationTimeout";
                // A closed channel means that the host is ending already.
                let _ = self.fatal.send(Ok(text.into()));
                Outcome::Abandoned
            }
            Err(Trouble::GivenUp) => Outcome::Abandoned,
        }
    }

    /// The invocation has failed. Its process is killed 2 s later, and its other invocations fail.
    fn time_out(&self, invocation: Invocation, limit: Duration, task: JoinHandle<CallResult>) {
        let text = format!(" Failed: Timeout value of {limit:?} was exceeded");
        invocation.log(Level::Error, "Executed", &text);
        let (State::Starting(start) | State::Ready(start)) = *self.worker.state().borrow() else {
            return;
        };
        let worker = Arc::clone(&self.worker);
        tokio::spawn(async move {
            tokio::time::sleep(GRACE).await;
            let text = ": A function timeout has occurred. Restarting worker process.";
            invocation.log(Level::Error, "Executed", text);
            worker.restart(start);
            task.abort();
        });
    }

    fn head(&self, invocation: &Invocation) -> Head {
        Head {
            path: format!("/{}", invocation.function),
            headers: vec![
                ("Host", self.worker.http.authority()),
                ("X-Azure-Functions-HostVersion", VERSION.into()),
                ("X-Azure-Functions-InvocationId", invocation.id.to_string()),
                ("User-Agent", format!("Azure-Functions-Host/{VERSION}")),
            ],
            traceparent: traceparent(self.app.trace_flags),
            framing: self.framing,
        }
    }
}

/// One call of a function, as the log names it.
struct Invocation {
    id: Uuid,
    function: String,
}

impl Invocation {
    fn log(&self, level: Level, what: &str, rest: &str) {
        let (name, id) = (&self.function, self.id);
        log::write(
            level,
            &format!("Function.{name}"),
            format!("{what} 'Functions.{name}' (Id={id}){rest}"),
        );
    }
}

/// Why an invocation did not succeed.
enum Trouble {
    /// The handler's answer says so.
    Failed(String),
    /// There was no answer.
    Broken(String),
    /// There was no handler for longer than the host waits.
    NotReady,
    /// There will be no handler any more.
    GivenUp,
}

/// The lines to log, or why there are none.
type CallResult = Result<Vec<String>, Trouble>;

/// Posts once the handler is ready; ends only when the host would know the result.
async fn call(worker: Arc<Worker>, head: Head, body: String, patience: Duration) -> CallResult {
    let mut state = worker.state();
    let ready = state.wait_for(|state| !matches!(state, State::Starting(_)));
    match tokio::time::timeout(patience, ready).await {
        Err(_) => return Err(Trouble::NotReady),
        Ok(Ok(state)) if *state != State::GivenUp => {}
        Ok(_) => return Err(Trouble::GivenUp),
    }
    let response = worker.http.call(&head, body.as_bytes()).await.map_err(|error| {
        Trouble::Broken(match error.kind() {
            ErrorKind::ConnectionRefused => {
                format!("Connection refused ({})", worker.http.authority())
            }
            _ => format!("An error occurred while sending the request. {error}"),
        })
    })?;
    match judge(&response) {
        Verdict::Success { logs } => Ok(logs),
        Verdict::Failure(text) => Err(Trouble::Failed(text)),
        Verdict::Hang(what) => {
            let text = format!(
                "{} was answered with status {} and {what}. The real host never completes such an invocation: \
                 it hangs until functionTimeout, then the whole process is killed, and nothing names the cause. \
                 Answer a JSON object, at least {{}}. Hanging now, as the real host does.",
                head.path, response.status
            );
            log::error(STAND_IN, text);
            std::future::pending().await
        }
    }
}

/// A new trace with these flags: `00` is not sampled, `01` is.
pub fn traceparent(flags: Option<&str>) -> Option<String> {
    let span = Uuid::new_v4().simple().to_string();
    flags.map(|flags| format!("00-{}-{}-{flags}", Uuid::new_v4().simple(), &span[..16]))
}

/// Counts an open invocation for as long as it lives.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
