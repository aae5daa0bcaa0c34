//! What the host makes of a handler's answer.
//!
//! The README lists the rules. The real host also reads single quotes, trailing commas and text after
//! the object; here these are failures, so that no handler comes to rely on them.

use serde_json::{Map, Value};

use crate::dotnet::without_comments;
use crate::http::Response;

/// What an answer does to its invocation.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// It succeeded; each line is logged under the function's name.
    Success { logs: Vec<String> },
    /// It failed, with the message the host logs.
    Failure(String),
    /// The host never completes it: it hangs until functionTimeout.
    Hang(&'static str),
}

/// Judges an answer that was not redirected.
pub fn judge(response: &Response) -> Verdict {
    if !(200..300).contains(&response.status) {
        let (status, reason) = (response.status, &response.reason);
        return Verdict::Failure(format!(
            "Response status code does not indicate success: {status} ({reason})."
        ));
    }
    if response.body.is_empty() {
        return Verdict::Hang("an empty body (or 204)");
    }
    let content_type = response.header("Content-Type").unwrap_or("application/octet-stream");
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_lowercase();
    if !matches!(media_type.as_str(), "application/json" | "text/json") {
        return invalid(response, &format!("no formatter reads media type '{media_type}'"));
    }
    let text = String::from_utf8_lossy(&response.body);
    let text = without_comments(text.trim_start_matches('\u{feff}'));
    if text.trim().is_empty() {
        return Verdict::Hang("a body of blanks");
    }
    match serde_json::from_str(&text) {
        Ok(Value::Null) => Verdict::Hang("a body that is the JSON literal null"),
        Ok(Value::Object(members)) => of_object(response, &members),
        Ok(_) => invalid(response, "the JSON value is not an object"),
        Err(error) => invalid(response, &error.to_string()),
    }
}

/// Names are matched in any letter case; unknown names are ignored.
fn of_object(response: &Response, members: &Map<String, Value>) -> Verdict {
    let member = |name: &str| {
        members.iter().rfind(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    if !matches!(member("Outputs"), None | Some(Value::Null | Value::Object(_))) {
        return invalid(response, "Outputs is not an object");
    }
    let logs = match member("Logs") {
        None | Some(Value::Null) => return Verdict::Success { logs: Vec::new() },
        Some(Value::Array(logs)) => logs,
        Some(_) => return invalid(response, "Logs is not an array"),
    };
    let lines = logs.iter().map(|log| match log {
        Value::Object(_) | Value::Array(_) => None,
        Value::String(text) => Some(text.clone()),
        Value::Null => Some("[null]".into()),
        scalar => Some(scalar.to_string()),
    });
    match lines.collect() {
        Some(logs) => Verdict::Success { logs },
        None => invalid(response, "Logs holds an object or an array"),
    }
}

fn invalid(response: &Response, reason: &str) -> Verdict {
    let body: String = String::from_utf8_lossy(&response.body).chars().take(500).collect();
    let status = response.status;
    Verdict::Failure(format!(
        "Invalid HttpResponseMessage: {reason}. StatusCode: {status}, Body: {body}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, content_type: Option<&str>, body: &str) -> Verdict {
        let content_type = content_type.map(|value| ("content-type".to_owned(), value.to_owned()));
        judge(&Response {
            status,
            reason: "R".into(),
            headers: content_type.into_iter().collect(),
            body: body.into(),
        })
    }

    fn json(body: &str) -> Verdict {
        answer(200, Some("application/json; charset=utf-8"), body)
    }

    #[test]
    fn objects_succeed_and_their_logs_are_taken() {
        let none = || Verdict::Success { logs: vec![] };
        assert_eq!(json("{}"), none());
        assert_eq!(json("\u{feff}/* c */ {\"x\":1} // \"end"), none());
        assert_eq!(
            answer(201, Some("TEXT/JSON"), r#"{"Outputs":{"a":1},"ReturnValue":[]}"#),
            none()
        );
        let logs = vec!["a//b".to_owned(), "1".into(), "true".into()];
        assert_eq!(json(r#"{"logs":["a//b",1,true]}"#), Verdict::Success { logs });
    }

    #[test]
    fn nothing_and_null_hang() {
        for (status, body) in [(200, ""), (204, ""), (200, "  \n"), (200, "null"), (200, "/* c */")]
        {
            assert!(
                matches!(answer(status, Some("application/json"), body), Verdict::Hang(_)),
                "{body}"
            );
        }
        assert!(matches!(answer(200, None, ""), Verdict::Hang(_)));
    }

    #[test]
    fn everything_else_fails() {
        for body in [
            "[]",
            "1",
            "\"x\"",
            "{",
            "{} x",
            "{} /* x",
            r#"{"Logs":[{}]}"#,
            r#"{"Logs":"x"}"#,
            r#"{"Outputs":1}"#,
        ] {
            assert!(matches!(json(body), Verdict::Failure(_)), "{body}");
        }
        for kind in [
            None,
            Some("text/plain"),
            Some("application/octet-stream"),
            Some("application/problem+json"),
        ] {
            assert!(matches!(answer(200, kind, "{}"), Verdict::Failure(_)), "{kind:?}");
        }
        for status in [302, 304, 404, 500, 503] {
            assert!(
                matches!(answer(status, Some("application/json"), "{}"), Verdict::Failure(_)),
                "{status}"
            );
        }
        let Verdict::Failure(text) = answer(500, None, "") else { panic!("a failure") };
        assert_eq!(text, "Response status code does not indicate success: 500 (R).");
    }
}
