//! The host's envelope: `{"Data": {binding: …}, "Metadata": {…}}` in, `{"Logs": […]}` out.

use crate::redact::refusal;
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{borrow::Cow, collections::BTreeMap};

/// The binding's name in both queue functions' `function.json`.
const BINDING: &str = "message";

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "Data", borrow)]
    data: BTreeMap<Cow<'a, str>, &'a RawValue>,
}

/// The queue message's text: `Data.message` is a JSON string that holds a JSON string.
///
/// A single string and a bare value are taken too: older documentation shows them.
///
/// # Errors
///
/// What is wrong with the envelope.
pub(super) fn queue_text(body: &[u8]) -> Result<String, String> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let envelope: Envelope<'_> = serde_json::from_slice(body)
        .map_err(|error| format!("the request is no invocation: {}", refusal(&error)))?;
    let Some(value) = envelope.data.get(BINDING) else {
        return Err(format!("the invocation has no Data.{BINDING}; check function.json"));
    };
    let Ok(once) = serde_json::from_str::<String>(value.get()) else {
        return Ok(value.get().to_owned());
    };
    Ok(serde_json::from_str::<String>(&once).unwrap_or(once))
}

/// The reply to an invocation.
#[derive(Debug)]
pub(super) enum Reply {
    /// The message is deleted.
    Done(String),
    /// It is delivered again: the database gave no answer for 180 s, or until the drain (rule H8).
    NoAnswer(String),
    /// It is delivered again: a defect.
    Failed(String),
}

impl IntoResponse for Reply {
    /// Always a JSON object: after an empty body, `null` or another type the host hangs or fails
    /// the invocation (rule H4). No outputs (rule H15); every log is a string.
    fn into_response(self) -> Response {
        let (status, log) = match self {
            Self::Done(log) => (StatusCode::OK, log),
            Self::NoAnswer(cause) => {
                (StatusCode::SERVICE_UNAVAILABLE, format!("to be delivered again: {cause}"))
            }
            Self::Failed(log) => (StatusCode::INTERNAL_SERVER_ERROR, log),
        };
        let body = serde_json::json!({"Outputs": {}, "Logs": [log], "ReturnValue": null});
        (status, Json(body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_found_under_every_encoding_seen() {
        for (body, text) in [
            (r#"{"Data":{"message":"\"{\\\"a\\\":1}\""},"Metadata":{}}"#, r#"{"a":1}"#),
            (r#"{"Data":{"message":"\"hello\""}}"#, "hello"),
            (r#"{"Data":{"message":"\"\""}}"#, ""),
            (r#"{"Data":{"message":"{\"a\":1}"}}"#, r#"{"a":1}"#),
            (r#"{"Data":{"message":{"a":1}}}"#, r#"{"a":1}"#),
            ("\u{feff}{\"Data\":{\"message\":\"x\"}}", "x"),
        ] {
            assert_eq!(queue_text(body.as_bytes()).as_deref(), Ok(text), "{body}");
        }
        assert!(queue_text(b"{\"Data\":{\"other\":1}}").unwrap_err().contains("function.json"));
        assert!(queue_text(b"[]").is_err());
    }

    /// A fuzz target: any request is an invocation or is none; what is one has its message's text, in any
    /// of the encodings.
    #[test]
    fn fuzz_envelopes() {
        let seeds = [
            r#"{"Data":{"message":"\"{\\\"a\\\":1}\""},"Metadata":{"DequeueCount":"1"}}"#,
            r#"{"Data":{"message":{"a":1}}}"#,
            "\u{feff}{\"Data\":{\"message\":\"x\"}}",
            r#"{"Data":{"message":"\"{\\\"version\\\":1,\\\"action\\\":\\\"retry\\\",\\\"job_id\\\":1}\""}}"#,
        ]
        .map(|seed| seed.as_bytes().to_vec());
        fuzz::target::run("envelope", &seeds, |bytes| {
            let Ok(text) = queue_text(bytes) else { return };
            let once = serde_json::json!({"Data": {"message": text}}).to_string();
            let twice = serde_json::Value::String(text.clone()).to_string();
            let twice = serde_json::json!({"Data": {"message": twice}}).to_string();
            assert_eq!(queue_text(twice.as_bytes()).as_deref(), Ok(&*text));
            assert!(queue_text(once.as_bytes()).is_ok());
            crate::jobs::Command::parse(&text).ok();
            crate::chunk::ChunkMessage::parse(&text).ok();
        });
    }
}
