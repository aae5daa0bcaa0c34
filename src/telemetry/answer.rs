//! What an ingestion endpoint says, in words: what happened, and what a person can do.
//!
//! <https://learn.microsoft.com/troubleshoot/azure/azure-monitor/app-insights/telemetry/investigate-missing-telemetry>,
//! and the exporters' own list of statuses, of which 402 and 439 are in no standard.

use crate::redact::one_line;
use axum::http::StatusCode;
use serde::Deserialize;
use std::fmt::Write as _;

/// Why telemetry did not arrive, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The status of the answer; 0: there was none.
    pub(super) status: u16,
    /// What happened.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

const CONNECTION: &str = "APPLICATIONINSIGHTS_CONNECTION_STRING";

/// The answer's own account: what it took, and why it did not take the rest.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Account {
    items_received: Option<u64>,
    items_accepted: Option<u64>,
    errors: Vec<ItemError>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ItemError {
    status_code: u16,
    message: Option<String>,
}

impl Problem {
    pub(super) fn new(status: u16, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status, what: what.into(), remedy: remedy.into() }
    }

    /// No answer: `cause` says why.
    pub(super) fn no_answer(cause: &str) -> Self {
        let remedy = if cause.contains("invalid peer certificate") {
            "its certificate is not trusted here: look at SSL_CERT_FILE and /etc/ssl/certs"
                .to_owned()
        } else {
            format!("is the endpoint of {CONNECTION} right, and does a firewall let it through?")
        };
        Self::new(0, format!("no answer: {}", one_line(cause)), remedy)
    }

    /// A redirect that is not followed; `why` says where it points.
    pub(super) fn redirect(status: StatusCode, why: &str) -> Self {
        let remedy = format!(
            "if that is right, put it into {CONNECTION} as IngestionEndpoint; else correct the one there"
        );
        Self::new(status.as_u16(), format!("{} {why}", status.as_u16()), remedy)
    }

    /// A success of something else than an ingestion endpoint: a proxy, a sign-in page, another service.
    fn foreign(status: u16, body: &[u8]) -> Self {
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        let kind = match body.trim_ascii() {
            [] => "nothing",
            [b'<', ..] => "a page in HTML or XML",
            _ if is_json => "other JSON",
            _ => "other text",
        };
        let what = format!("{status} with {kind} in place of how many items were taken");
        let remedy = format!(
            "something else answers there, as a proxy or a sign-in page: correct the \
             IngestionEndpoint of {CONNECTION}, or let this machine through"
        );
        Self::new(status, what, remedy)
    }

    /// What is wrong with an answer; none: all was taken.
    pub(super) fn of(
        status: StatusCode,
        body: &[u8],
        wait_s: Option<u64>,
        has_token: bool,
    ) -> Option<Self> {
        let account: Account = serde_json::from_slice(body).unwrap_or_default();
        let refused = account.refused();
        let code = status.as_u16();
        if status.is_success() && !account.is_one() {
            return Some(Self::foreign(code, body));
        }
        if status.is_success() && refused == 0 {
            return None;
        }
        let first = account.errors.first();
        // Of a part that was not taken the first item's status says why.
        let reason = if status.is_success() { first.map_or(code, |e| e.status_code) } else { code };
        let mut what = format!("{code}");
        if status.is_success() {
            let all = account.items_received.unwrap_or_default();
            write!(what, " {refused} of {all} items were not taken").unwrap_or_default();
        } else {
            write!(what, " {}", meaning(code)).unwrap_or_default();
        }
        if let Some(first) = first {
            let message = first.message.as_deref().map(one_line).unwrap_or_default();
            write!(what, "; the first: {} {message}", first.status_code).unwrap_or_default();
        }
        if let Some(seconds) = wait_s {
            write!(what, "; it asks to wait {seconds} s").unwrap_or_default();
        }
        Some(Self::new(code, what.trim_end(), remedy(reason, has_token)))
    }
}

impl Account {
    /// Whether an ingestion endpoint wrote it.
    fn is_one(&self) -> bool {
        self.items_received.is_some() && self.items_accepted.is_some()
    }

    fn refused(&self) -> u64 {
        let received = self.items_received.unwrap_or_default();
        received.saturating_sub(self.items_accepted.unwrap_or_default())
    }
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "it does not understand what was sent",
        401 => "it wants a token",
        402 => "the daily cap is reached",
        403 => "this identity may not send",
        404 => "there is no ingestion endpoint at this address",
        408 | 504 => "it took too long",
        429 => "too much at once: it throttles",
        439 => "too much over a longer time: the quota is used up",
        500..=599 => "it cannot take anything now",
        _ => "it refuses",
    }
}

fn remedy(status: u16, has_token: bool) -> String {
    match status {
        400 => format!("is the InstrumentationKey of {CONNECTION} that of the component?"),
        401 if has_token => "does the identity's tenant own the component? The token was sent".into(),
        401 => "where local authentication is off, set APPLICATIONINSIGHTS_AUTHENTICATION_STRING to \
                Authorization=AAD and give the identity the role Monitoring Metrics Publisher"
            .into(),
        402 => "nothing is taken until the cap's reset hour: raise the daily cap of the component and \
                of its Log Analytics workspace, or send less (RUST_LOG)"
            .into(),
        403 if has_token => "give the identity the role Monitoring Metrics Publisher on the component; \
                a new role takes some minutes"
            .into(),
        403 => "local authentication is off, or the component takes telemetry from its private network \
                only: set APPLICATIONINSIGHTS_AUTHENTICATION_STRING to Authorization=AAD with the role \
                Monitoring Metrics Publisher, or send from there"
            .into(),
        404 => format!("correct the IngestionEndpoint of {CONNECTION}"),
        429 => "nothing if it passes; if it lasts, send less (RUST_LOG)".into(),
        439 => "wait until the quota is renewed, each day; if it lasts, send less (RUST_LOG), or ask \
                for more"
            .into(),
        408 | 500..=599 => "nothing if it passes; if it lasts, look at Azure's status".into(),
        _ => format!("is the endpoint of {CONNECTION} right?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, body: &str, wait_s: Option<u64>, has_token: bool) -> Option<Problem> {
        Problem::of(StatusCode::from_u16(status).unwrap(), body.as_bytes(), wait_s, has_token)
    }

    /// Case 214: each answer has words of its own, and advice about a token is for 401 and 403 alone.
    #[test]
    fn each_answer_has_its_words_and_its_remedy() {
        for (status, words, remedy) in [
            (400, "400 it does not understand", "InstrumentationKey"),
            (401, "401 it wants a token", "Authorization=AAD"),
            (402, "402 the daily cap", "raise the daily cap"),
            (403, "403 this identity may not", "local authentication is off"),
            (404, "404 there is no ingestion endpoint", "IngestionEndpoint"),
            (408, "408 it took too long", "Azure's status"),
            (429, "429 too much at once", "send less"),
            (439, "439 too much over a longer time", "quota"),
            (503, "503 it cannot take", "Azure's status"),
            (418, "418 it refuses", "right?"),
        ] {
            let problem = of(status, "<html>", None, false).unwrap();
            assert!(problem.what.starts_with(words), "{problem:?}");
            assert!(problem.remedy.contains(remedy), "{problem:?}");
            let is_about_tokens = problem.remedy.contains("Authorization=AAD");
            assert_eq!(is_about_tokens, matches!(status, 401 | 403), "{problem:?}");
        }
        let with_token = of(403, "", None, true).unwrap();
        assert!(with_token.remedy.starts_with("give the identity the role"), "{with_token:?}");
        let waits = of(429, "", Some(7), false).unwrap();
        assert!(waits.what.ends_with("wait 7 s"), "{waits:?}");
    }

    /// Case 214: of a part that was not taken the number and the first reason are said.
    #[test]
    fn a_part_that_was_not_taken_is_counted() {
        let body = r#"{"itemsReceived":3,"itemsAccepted":1,"errors":[
            {"index":1,"statusCode":402,"message":"Daily\nquota"},{"index":2,"statusCode":400}]}"#;
        let problem = of(206, body, None, false).unwrap();
        assert_eq!(problem.what, "206 2 of 3 items were not taken; the first: 402 Daily quota");
        assert!(problem.remedy.contains("daily cap"), "{problem:?}");
        let taken = r#"{"itemsReceived":3,"itemsAccepted":3,"errors":[]}"#;
        assert_eq!((of(200, taken, None, false), of(206, taken, None, false)), (None, None));
    }

    /// Case 488: who says nothing of what it took is no ingestion endpoint.
    #[test]
    fn a_success_of_something_else_is_named() {
        for (body, kind) in [
            ("\n<!DOCTYPE html><title>Sign in</title>", "a page in HTML or XML"),
            ("", "nothing"),
            ("{}", "other JSON"),
            (r#"{"itemsReceived":1}"#, "other JSON"),
            ("OK", "other text"),
        ] {
            let problem = of(200, body, None, false).unwrap();
            let what = format!("200 with {kind} in place of how many items were taken");
            assert_eq!(problem.what, what, "{body}");
            assert!(problem.remedy.contains("something else answers there"), "{problem:?}");
        }
    }
}
