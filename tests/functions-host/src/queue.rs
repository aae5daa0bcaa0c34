//! The queue trigger: fetching, renewing, deleting, retrying, and the poison queue.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use base64::prelude::{BASE64_STANDARD, Engine};
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::{Function, QueueSettings};
use crate::invoke::{Invoker, Outcome};
use crate::log::{self, HOST};
use crate::payload::{self, Message, Sys};
use crate::storage::{self, Account, Queue};

/// How long a fetched message stays invisible; renewed after half of it. Hard-coded in the real host.
const VISIBILITY: Duration = Duration::from_secs(10 * 60);
/// After a failed renewal.
const RENEW_AGAIN: Duration = Duration::from_secs(60);
const SHORTEST_POLL: Duration = Duration::from_millis(100);
/// A queue that does not exist yet is found within a second.
const MISSING_POLL: Duration = Duration::from_secs(1);
const LAST_FETCH: Duration = Duration::from_millis(100);
const LONGEST_QUEUE_NAME: usize = 63;

/// Why a message has no text for a function under `messageEncoding: base64`.
enum Undecodable {
    /// The queue client refuses it: to the poison queue, the first time it is received.
    NotBase64,
    /// The binding fails: five deliveries without a call.
    NotUtf8,
}

/// Listens to the queue of one function.
#[derive(Debug)]
pub struct Listener {
    function: Function,
    queue: Queue,
    /// Where messages go that are given up; none for a queue that is one itself or whose name is too long.
    poison: Option<Queue>,
    settings: QueueSettings,
    visibility: Duration,
    time_scale: f64,
    invoker: Arc<Invoker>,
}

impl Listener {
    /// A listener that has not fetched anything yet.
    pub fn new(
        function: Function,
        queue: &str,
        connection: &str,
        settings: QueueSettings,
        time_scale: f64,
        invoker: Arc<Invoker>,
    ) -> Result<Self> {
        let account = Account::parse(connection)?;
        let poison = format!("{queue}-poison");
        let has_poison = !queue.ends_with("-poison") && poison.len() <= LONGEST_QUEUE_NAME;
        Ok(Self {
            function,
            queue: account.queue(queue),
            poison: has_poison.then(|| account.queue(&poison)),
            settings,
            visibility: VISIBILITY.div_f64(time_scale),
            time_scale,
            invoker,
        })
    }

    /// Fetches until `stop`, then waits for the invocations that are open.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut running = JoinSet::new();
        let mut delay = Backoff::new(self.settings.max_polling_interval);
        while let Some(received) = self.receive(&stop).await {
            let wait = match received {
                Ok(Some(messages)) if !messages.is_empty() => {
                    for message in messages {
                        running.spawn(Arc::clone(&self).process(message));
                    }
                    delay.reset();
                    None
                }
                Ok(Some(_)) => Some(delay.next()),
                Ok(None) => Some(delay.next().min(MISSING_POLL)),
                Err(error) => {
                    log::error(HOST, format!("{error:#}"));
                    Some(delay.next())
                }
            };
            let pause = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => room(&mut running, self.settings.new_batch_threshold).await,
                }
            };
            let _ = stop.run_until_cancelled(pause).await;
            while running.try_join_next().is_some() {}
        }
        while running.join_next().await.is_some() {}
    }

    /// Fetches once; none after `stop`. A fetch that is under way then has a moment to end, so that the
    /// messages it took are worked on.
    async fn receive(&self, stop: &CancellationToken) -> Option<Result<Option<Vec<Message>>>> {
        if stop.is_cancelled() {
            return None;
        }
        let late = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST_FETCH).await;
        };
        tokio::select! {
            received = self.queue.receive(self.settings.batch_size, self.visibility) => Some(received),
            () = late => None,
        }
    }

    async fn process(self: Arc<Self>, mut message: Message) {
        let result = self.process_or_fail(&mut message).await;
        if let Err(error) = result {
            log::error(
                HOST,
                format!("message {} of queue {}: {error:#}", message.id, self.queue.name),
            );
        }
    }

    async fn process_or_fail(&self, message: &mut Message) -> Result<()> {
        let raw = message.text.clone();
        if message.dequeue_count > self.settings.max_dequeue_count {
            return self.to_poison(message, &raw).await;
        }
        let outcome = match self.decode(&raw) {
            Ok(text) => {
                message.text = text;
                self.call(message).await?
            }
            Err(Undecodable::NotBase64) => {
                let id = &message.id;
                let text = "Message decoding has failed! Check MessageEncoding settings";
                log::warn(HOST, format!("{text} (message {id}, its text is not Base64)"));
                return self.to_poison(message, &raw).await;
            }
            Err(Undecodable::NotUtf8) => {
                let id = &message.id;
                let text = "its text is Base64 of what is not UTF-8: it reaches no function";
                log::error(HOST, format!("message {id}: {text}"));
                Outcome::Failure
            }
        };
        match outcome {
            Outcome::Success => self.queue.delete(message).await,
            Outcome::Abandoned => Ok(()),
            Outcome::Failure if message.dequeue_count >= self.settings.max_dequeue_count => {
                self.to_poison(message, &raw).await
            }
            Outcome::Failure => {
                self.queue.update(message, self.settings.visibility_timeout).await.map(drop)
            }
        }
    }

    fn decode(&self, raw: &str) -> Result<String, Undecodable> {
        if !self.settings.base64 {
            return Ok(raw.into());
        }
        let bytes = BASE64_STANDARD.decode(raw).map_err(|_| Undecodable::NotBase64)?;
        String::from_utf8(bytes).map_err(|_| Undecodable::NotUtf8)
    }

    /// Calls the function, and renews the message for as long as that takes.
    async fn call(&self, message: &mut Message) -> Result<Outcome> {
        let name = &self.function.name;
        let sys = Sys { function: name, now: OffsetDateTime::now_utc(), guid: Uuid::new_v4() };
        let body = payload::queue(&self.function.binding, message, &sys);
        let invocation = self.invoker.invoke(name, body);
        tokio::pin!(invocation);
        let mut next = Some(self.visibility / 2);
        loop {
            let renewal = async {
                match next {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                outcome = &mut invocation => return Ok(outcome),
                () = renewal => next = self.renew(message).await,
            }
        }
    }

    /// Returns when to renew again; none when the message is no longer this host's.
    async fn renew(&self, message: &mut Message) -> Option<Duration> {
        match self.queue.update(message, self.visibility).await {
            Ok(receipt) => {
                message.pop_receipt = receipt;
                Some(self.visibility / 2)
            }
            Err(error) => {
                log::warn(HOST, format!("renewing message {}: {error:#}", message.id));
                (!storage::is_lost(&error)).then(|| RENEW_AGAIN.div_f64(self.time_scale))
            }
        }
    }

    /// Copies the text, and nothing else, to the poison queue, which is made when it is needed, and
    /// deletes the message.
    async fn to_poison(&self, message: &Message, raw: &str) -> Result<()> {
        let (id, count) = (&message.id, message.dequeue_count);
        let Some(poison) = &self.poison else {
            let text = "has no poison queue: it stays invisible and comes back for ever";
            log::error(HOST, format!("message {id}, taken {count} times, {text}"));
            return Ok(());
        };
        let max = self.settings.max_dequeue_count;
        let reason = if count < max {
            "Message cannot be decoded".into()
        } else {
            format!("Message has reached MaxDequeueCount of {max}")
        };
        let text = format!("{reason}. Moving message to queue '{}'", poison.name);
        log::error(HOST, format!("{text} (message {id}, taken {count} times)."));
        if poison.put(raw).await.is_err() {
            poison.create().await?;
            poison.put(raw).await?;
        }
        self.queue.delete(message).await
    }
}

/// Waits until at most `threshold` are running.
async fn room(running: &mut JoinSet<()>, threshold: usize) {
    while running.len() > threshold {
        running.join_next().await;
    }
}

/// The growing pause between polls of an empty queue.
#[derive(Debug)]
struct Backoff {
    longest: Duration,
    misses: u32,
}

impl Backoff {
    fn new(longest: Duration) -> Self {
        Self { longest, misses: 0 }
    }

    fn reset(&mut self) {
        self.misses = 0;
    }

    /// 100 ms, then 100 ms more than 100 ms x 2^n, give or take a fifth.
    fn next(&mut self) -> Duration {
        self.misses += 1;
        if self.misses == 1 {
            return SHORTEST_POLL;
        }
        let random = f64::from(Uuid::new_v4().as_bytes()[0]) / 255.0;
        let factor = (0.8 + 0.4 * random) * 2f64.powi((self.misses.min(20) - 2) as i32);
        (SHORTEST_POLL + SHORTEST_POLL.mul_f64(factor)).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_get_rarer_up_to_the_longest_interval() {
        let mut backoff = Backoff::new(Duration::from_secs(2));
        let waits: Vec<_> = (0..8).map(|_| backoff.next().as_secs_f64()).collect();
        assert_eq!(waits[0], 0.1);
        assert!(
            (0.18..=0.22).contains(&waits[1]) && (0.26..=0.34).contains(&waits[2]),
            "{waits:?}"
        );
        assert_eq!(waits[7], 2.0);
        backoff.reset();
        assert_eq!(backoff.next(), SHORTEST_POLL);
    }
}
