//! The bodies of invocation requests, byte for byte as the real host writes them.
//!
//! The tests compare them with bodies recorded from the real host: `tests/fixtures/vectors` from queue
//! extension 4.0.5, the folder `v5` below it from 5.3.10. The README lists the rules.

use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

use crate::dotnet::{self, Token, quote};

/// A queue message as the service delivered it, its text decoded.
#[derive(Debug, Clone)]
pub struct Message {
    pub id: String,
    pub pop_receipt: String,
    pub dequeue_count: u64,
    pub inserted: OffsetDateTime,
    pub expires: OffsetDateTime,
    pub next_visible: OffsetDateTime,
    pub text: String,
}

/// What the host says about the call itself (`Metadata.sys`).
#[derive(Debug, Clone)]
pub struct Sys<'a> {
    pub function: &'a str,
    pub now: OffsetDateTime,
    pub guid: Uuid,
}

/// What a timer remembers between its runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScheduleStatus {
    pub last: OffsetDateTime,
    pub next: OffsetDateTime,
    pub last_updated: OffsetDateTime,
}

/// The time .NET writes for a run that never was.
pub const NEVER: OffsetDateTime = datetime!(0001-01-01 0:00 UTC);
/// The time .NET writes for an end that never comes.
const FOREVER: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);

/// The body of a call for a queue message.
pub fn queue(binding: &str, message: &Message, sys: &Sys<'_>) -> String {
    let mut metadata = Metadata::default();
    metadata.text("DequeueCount", &message.dequeue_count.to_string());
    metadata.text("ExpirationTime", &seconds(message.expires));
    metadata.text("Id", &quote(&message.id));
    metadata.text("InsertionTime", &seconds(message.inserted));
    metadata.text("NextVisibleTime", &seconds(message.next_visible));
    metadata.text("PopReceipt", &quote(&message.pop_receipt));
    metadata.set("sys", sys.to_json());
    metadata.copy_properties(&message.text);
    envelope(binding, &quote(&quote(&message.text)), &metadata)
}

/// The body of a queue function's call by hand (`POST /admin/functions/…`).
pub fn queue_by_hand(binding: &str, text: &str, sys: &Sys<'_>) -> String {
    let mut metadata = Metadata::default();
    metadata.text("DequeueCount", "0");
    metadata.text("ExpirationTime", &seconds(FOREVER));
    metadata.text("InsertionTime", &seconds(sys.now));
    metadata.text("NextVisibleTime", &seconds(FOREVER));
    metadata.text(binding, &quote(text));
    metadata.set("sys", sys.to_json());
    metadata.copy_properties(text);
    envelope(binding, &quote(&quote(text)), &metadata)
}

/// The body of a timer's call; `by_hand` is the input of a call by hand, where it had one.
pub fn timer(
    binding: &str,
    status: Option<ScheduleStatus>,
    past_due: bool,
    by_hand: Option<&str>,
    sys: &Sys<'_>,
) -> String {
    let mut metadata = Metadata::default();
    if let Some(input) = by_hand {
        metadata.text(binding, &quote(input));
    }
    metadata.set("sys", sys.to_json());
    let status = status.map_or("null".into(), |status| status.to_json());
    let info = format!(
        r#"{{"Schedule":{{"AdjustForDST":true}},"ScheduleStatus":{status},"IsPastDue":{past_due}}}"#
    );
    envelope(binding, &info, &metadata)
}

impl Sys<'_> {
    fn to_json(&self) -> String {
        format!(
            r#"{{"MethodName":{},"UtcNow":"{}","RandGuid":"{}"}}"#,
            quote(self.function),
            dotnet::utc(self.now),
            self.guid
        )
    }
}

impl ScheduleStatus {
    /// The status as the host writes it, in bodies and in its own records.
    pub fn to_json(self) -> String {
        format!(
            r#"{{"Last":"{}","Next":"{}","LastUpdated":"{}"}}"#,
            dotnet::offset(self.last),
            dotnet::offset(self.next),
            dotnet::offset(self.last_updated)
        )
    }
}

fn envelope(binding: &str, data: &str, metadata: &Metadata) -> String {
    format!(r#"{{"Data":{{{}:{data}}},"Metadata":{}}}"#, quote(binding), metadata.to_json())
}

fn seconds(time: OffsetDateTime) -> String {
    dotnet::offset(time.replace_nanosecond(0).unwrap_or(time))
}

/// Keys in order, compared without letter case; values are JSON texts.
#[derive(Debug, Default)]
struct Metadata(Vec<(String, String)>);

impl Metadata {
    /// Replaces the value of a key that is there, in whatever letter case, and keeps its name.
    fn set(&mut self, key: &str, json: String) {
        let folded = key.to_lowercase();
        match self.0.iter_mut().find(|(known, _)| known.to_lowercase() == folded) {
            Some(entry) => entry.1 = json,
            None => self.0.push((key.into(), json)),
        }
    }

    fn text(&mut self, key: &str, value: &str) {
        self.set(key, quote(value));
    }

    /// Copies the top-level properties of a message that is one JSON object.
    fn copy_properties(&mut self, text: &str) {
        let Some(Token::Object(properties)) = Token::parse(text) else { return };
        for (name, value) in properties {
            match value {
                Token::Object(_) => self.set(&name, value.to_string()),
                _ => {
                    if let Some(scalar) = value.to_invariant_string() {
                        self.text(&name, &quote(&scalar));
                    }
                }
            }
        }
    }

    fn to_json(&self) -> String {
        let members: Vec<_> = self
            .0
            .iter()
            .filter(|(key, _)| !key.to_lowercase().ends_with("trigger"))
            .map(|(key, value)| format!("{}:{value}", quote(key)))
            .collect();
        format!("{{{}}}", members.join(","))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use time::format_description::well_known::Rfc3339;

    use super::*;

    /// Recorded bodies of calls for queue messages. The two of 48 KiB are checked by their length.
    const V4: [&str; 16] = [
        "hdr_appinsights",
        "hdr_coretools",
        "hdr_otel",
        "poison_invocation",
        "q_array",
        "q_bom",
        "q_comment",
        "q_empty",
        "q_json",
        "q_nested",
        "q_nonjson",
        "q_null",
        "q_number",
        "q_shadow",
        "q_text",
        "q_unicode",
    ];
    const V5: [&str; 17] = [
        "poison_invocation",
        "q_array",
        "q_b64",
        "q_b64like",
        "q_bom",
        "q_comment",
        "q_dup",
        "q_empty",
        "q_json",
        "q_nested",
        "q_nonjson",
        "q_null",
        "q_number",
        "q_shadow",
        "q_text",
        "q_trail",
        "q_unicode",
    ];

    fn recorded(name: &str) -> (String, Value) {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/vectors");
        let body = std::fs::read_to_string(format!("{directory}/{name}.json")).unwrap();
        let parsed = serde_json::from_str(&body).unwrap();
        (body, parsed)
    }

    fn time(value: &Value) -> OffsetDateTime {
        let text = value.as_str().unwrap();
        OffsetDateTime::parse(text, &Rfc3339).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    fn unquoted(value: &Value) -> String {
        serde_json::from_str(value.as_str().unwrap_or("\"\"")).unwrap()
    }

    /// The recorded call's own times and ids, so that the bodies must be equal without masks.
    fn sys(body: &Value) -> Sys<'_> {
        let sys = &body["Metadata"]["sys"];
        Sys {
            function: sys["MethodName"].as_str().unwrap_or("process_chunk"),
            now: sys.get("UtcNow").map_or(OffsetDateTime::UNIX_EPOCH, time),
            guid: sys["RandGuid"].as_str().unwrap_or_default().parse().unwrap_or_default(),
        }
    }

    fn message(binding: &str, body: &Value) -> Message {
        let metadata = &body["Metadata"];
        Message {
            id: unquoted(&metadata["Id"]),
            pop_receipt: unquoted(&metadata["PopReceipt"]),
            dequeue_count: metadata["DequeueCount"].as_str().unwrap().parse().unwrap_or(1),
            inserted: time(&metadata["InsertionTime"]),
            expires: time(&metadata["ExpirationTime"]),
            next_visible: time(&metadata["NextVisibleTime"]),
            text: unquoted(&body["Data"][binding]),
        }
    }

    #[track_caller]
    fn queue_body_is_the_recorded_one(binding: &str, name: &str) {
        let (body, parsed) = recorded(name);
        assert_eq!(queue(binding, &message(binding, &parsed), &sys(&parsed)), body, "{name}");
    }

    #[test]
    fn queue_bodies_are_the_recorded_ones() {
        for name in V4 {
            queue_body_is_the_recorded_one("chunkMessage", name);
        }
        for name in V5 {
            queue_body_is_the_recorded_one("message", &format!("v5/{name}"));
        }
    }

    #[test]
    fn queue_bodies_by_hand_are_the_recorded_ones() {
        for name in ["m_json", "m_text"] {
            let (body, parsed) = recorded(name);
            let text = unquoted(&parsed["Data"]["chunkMessage"]);
            assert_eq!(queue_by_hand("chunkMessage", &text, &sys(&parsed)), body, "{name}");
        }
    }

    #[test]
    fn timer_bodies_are_the_recorded_ones() {
        for (name, input) in [
            ("timer10s", None),
            ("timer1m_1st_run", None),
            ("timer1m_2nd_run", None),
            ("timer1m_pastdue", None),
            ("m_timer", Some("")),
            ("m_timer_empty", None),
            ("v5/timer1m_1st_run", None),
            ("v5/timer1m_2nd_run", None),
        ] {
            let (body, parsed) = recorded(name);
            let info = &parsed["Data"]["timer"];
            let status = info["ScheduleStatus"].as_object().map(|status| ScheduleStatus {
                last: time(&status["Last"]),
                next: time(&status["Next"]),
                last_updated: time(&status["LastUpdated"]),
            });
            let past_due = info["IsPastDue"].as_bool().unwrap();
            assert_eq!(timer("timer", status, past_due, input, &sys(&parsed)), body, "{name}");
        }
    }

    #[test]
    fn bodies_of_the_largest_messages_have_the_recorded_length() {
        let (_, parsed) = recorded("q_json");
        for (filling, times, length) in [("x", 49_144, 98_741), ("\\\"", 24_572, 295_317)] {
            let text = format!("{{\"p\":\"{}\"}}", filling.repeat(times));
            assert_eq!(text.len(), 49_152);
            let message = Message { text, ..message("chunkMessage", &parsed) };
            assert_eq!(queue("chunkMessage", &message, &sys(&parsed)).len(), length);
        }
    }

    #[test]
    fn the_last_of_equal_names_wins_and_null_takes_no_place() {
        let (_, parsed) = recorded("q_json");
        let text = r#"{"A":1,"b":[1],"a":2,"b":3,"sys":null,"ID":null}"#.to_owned();
        let body = queue("m", &Message { text, ..message("chunkMessage", &parsed) }, &sys(&parsed));
        let metadata = &serde_json::from_str::<Value>(&body).unwrap()["Metadata"];
        assert_eq!(metadata["A"], "\"2\"");
        assert_eq!(metadata["b"], "\"3\"");
        assert!(metadata.get("a").is_none() && metadata["sys"].is_object());
        assert_eq!(metadata["Id"], parsed["Metadata"]["Id"]);
    }

    #[test]
    fn odd_values_are_written_as_they_were_seen() {
        let (_, parsed) = recorded("v5/q_json");
        let text = r#"{"offset":"2026-11-22T08:00:00+02:00","day":"2026-11-22","huge":1e400,"zero":-0.0,"e":1e3}"#;
        let message = Message { text: text.into(), ..message("message", &parsed) };
        let body = queue("message", &message, &sys(&parsed));
        let seen = r#""offset":"\"11/22/2026 06:00:00\"","day":"\"2026-11-22\"","huge":"\"Infinity\"","zero":"\"-0\"","e":"\"1000\"""#;
        assert!(body.ends_with(&format!(",{seen}}}}}")), "{body}");
    }
}
