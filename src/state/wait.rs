//! The one way to wait for a database that is away.

use crate::redact::cause_chain;
use std::{future::Future, pin::pin, time::Duration};
use tokio::time::sleep;

/// Before the second question; the pause doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A database that is back is noticed within this.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Asks again and again while `is_passing` says that the error will pass, and until `patience`
/// ends; returns the last answer.
///
/// `patience` is any future: `pending()` waits for ever, `sleep_until(t)` until a time,
/// [`super::Lease::lost`] until the chunk is somebody else's, `Shutdown::intake_stopped` until the drain. It
/// ends the pause, never a question that is under way: that one has its own time limit.
///
/// # Errors
///
/// The last error: one that does not pass, or the one that was there when patience ended.
pub async fn until_answered<T, E, F>(
    patience: impl Future<Output = ()>,
    is_passing: impl Fn(&E) -> bool,
    mut ask: impl FnMut() -> F,
) -> Result<T, E>
where
    E: std::error::Error,
    F: Future<Output = Result<T, E>>,
{
    let mut patience = pin!(patience);
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match ask().await {
            Err(error) if is_passing(&error) => error,
            answer => return answer,
        };
        if pause == FIRST_PAUSE {
            tracing::warn!(cause = cause_chain(&error), "no answer yet, asking again");
        }
        tokio::select! {
            biased;
            () = &mut patience => return Err(error),
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Error;
    use std::{cell::Cell, future::pending};
    use tokio::time::Instant;

    async fn away() -> Result<(), Error> {
        Err(Error::Away { doing: "test", source: None })
    }

    /// H8: a database that stays away is asked until patience ends, and not too often.
    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_its_patience() {
        let (since, asked) = (Instant::now(), Cell::new(0));
        let ask = || {
            asked.set(asked.get() + 1);
            away()
        };
        let patience = sleep(Duration::from_secs(180));
        let answer = until_answered(patience, Error::is_away, ask).await;
        assert!(matches!(answer, Err(Error::Away { .. })));
        assert_eq!(since.elapsed().as_secs(), 180);
        assert!((300..400).contains(&asked.get()), "asked {} times", asked.get());
    }

    /// H2 H8: a drain that has begun ends a wait before its first pause.
    #[tokio::test(start_paused = true)]
    async fn patience_that_is_over_allows_one_question() {
        let since = Instant::now();
        assert!(until_answered(async {}, Error::is_away, away).await.is_err());
        assert_eq!(since.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_that_does_not_pass_ends_the_wait() {
        let asked = Cell::new(0);
        let ask = || async {
            asked.set(asked.get() + 1);
            match asked.get() {
                1 | 2 => away().await,
                _ => Err(Error::Refused { doing: "test", source: sqlx::Error::RowNotFound }),
            }
        };
        let answer = until_answered(pending(), Error::is_away, ask).await;
        assert!(matches!(answer, Err(Error::Refused { .. })));
        assert_eq!(asked.get(), 3);
    }
}
