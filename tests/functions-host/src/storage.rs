//! Queues over REST, with an account SAS made from the connection string.
//!
//! REST and not the SDK, because a message's text must arrive exactly as the service holds it (blanks,
//! byte order mark, nothing at all), and because nothing here may retry by itself.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::prelude::{BASE64_STANDARD, Engine};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use sha2::Sha256;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::payload::Message;

const VERSION: &str = "2021-12-02";
const EMULATOR: &str = "AccountName=devstoreaccount1;\
    AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;\
    QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1";
const CALL: Duration = Duration::from_secs(30);

/// A storage account's queues.
#[derive(Debug, Clone)]
pub struct Account {
    http: reqwest::Client,
    endpoint: String,
    sas: String,
}

/// One queue.
#[derive(Debug, Clone)]
pub struct Queue {
    account: Account,
    pub name: String,
}

impl Account {
    /// Reads a connection string: an account key, a SAS, or `UseDevelopmentStorage=true`.
    pub fn parse(connection: &str) -> Result<Self> {
        let given = |name: &str| {
            let parts = connection.split(';').filter_map(|part| part.trim().split_once('='));
            parts
                .into_iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        };
        if given("UseDevelopmentStorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Self::parse(EMULATOR);
        }
        let name = given("AccountName");
        let endpoint = match (given("QueueEndpoint"), name) {
            (Some(endpoint), _) => endpoint.trim_end_matches('/').to_owned(),
            (None, Some(name)) => {
                let protocol = given("DefaultEndpointsProtocol").unwrap_or("https");
                let suffix = given("EndpointSuffix").unwrap_or("core.windows.net");
                format!("{protocol}://{name}.queue.{suffix}")
            }
            _ => bail!("the connection string names no account and no QueueEndpoint"),
        };
        let sas = match (given("SharedAccessSignature"), name, given("AccountKey")) {
            (Some(sas), ..) => sas.trim_start_matches('?').to_owned(),
            (None, Some(name), Some(key)) => account_sas(name, key)?,
            _ => {
                bail!("the connection string has neither an AccountKey nor a SharedAccessSignature")
            }
        };
        let http = reqwest::Client::builder().no_proxy().timeout(CALL).build()?;
        Ok(Self { http, endpoint, sas })
    }

    /// A queue of this account, whether it exists or not.
    pub fn queue(&self, name: &str) -> Queue {
        Queue { account: self.clone(), name: name.into() }
    }
}

impl Queue {
    /// Creates it unless it is there.
    pub async fn create(&self) -> Result<()> {
        self.expect(Method::PUT, "", "", None, &[201, 204]).await.map(drop)
    }

    /// Adds a message, visible at once, for seven days.
    pub async fn put(&self, text: &str) -> Result<()> {
        let body = Some(message_body(text));
        self.expect(Method::POST, "/messages", "", body, &[201]).await.map(drop)
    }

    /// Takes up to `count` messages for `visibility`; `None` when there is no such queue.
    pub async fn receive(&self, count: u32, visibility: Duration) -> Result<Option<Vec<Message>>> {
        let seconds = visibility.as_secs().max(1);
        let query = format!("numofmessages={}&visibilitytimeout={seconds}&", count.min(32));
        self.list(&query).await
    }

    /// Looks at up to 32 messages without taking them; `None` when there is no such queue.
    pub async fn peek(&self) -> Result<Option<Vec<Message>>> {
        self.list("peekonly=true&numofmessages=32&").await
    }

    /// Makes a taken message visible after `visibility`; returns its new pop receipt.
    pub async fn update(&self, message: &Message, visibility: Duration) -> Result<String> {
        let query = format!(
            "popreceipt={}&visibilitytimeout={}&",
            percent(&message.pop_receipt),
            visibility.as_secs()
        );
        let path = format!("/messages/{}", message.id);
        let answer = self.expect(Method::PUT, &path, &query, None, &[204]).await?;
        let receipt = answer.headers.get("x-ms-popreceipt").and_then(|value| value.to_str().ok());
        Ok(receipt.context("the service sent no pop receipt")?.into())
    }

    /// Removes a taken message.
    pub async fn delete(&self, message: &Message) -> Result<()> {
        let query = format!("popreceipt={}&", percent(&message.pop_receipt));
        let path = format!("/messages/{}", message.id);
        self.expect(Method::DELETE, &path, &query, None, &[204]).await.map(drop)
    }

    /// How many messages it holds, the invisible ones too.
    pub async fn count(&self) -> Result<u64> {
        let answer = self.expect(Method::GET, "", "comp=metadata&", None, &[200]).await?;
        let count = answer.headers.get("x-ms-approximate-messages-count");
        let count = count.and_then(|value| value.to_str().ok()?.parse().ok());
        count.context("the service sent no count")
    }

    async fn list(&self, query: &str) -> Result<Option<Vec<Message>>> {
        let answer = self.send(Method::GET, "/messages", query, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        ensure!(answer.status == StatusCode::OK, "receiving from queue {}: {answer}", self.name);
        let parts = answer.body.split("<QueueMessage>").skip(1);
        parts.map(parse_message).collect::<Result<_>>().map(Some)
    }

    /// Sends a request that must end with one of these statuses.
    async fn expect(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: Option<String>,
        good: &[u16],
    ) -> Result<Answer> {
        let what = format!("{method} queue {}", self.name);
        let answer = self.send(method, path, query, body).await?;
        ensure!(good.contains(&answer.status.as_u16()), "{what}: {answer}");
        Ok(answer)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        query: &str,
        body: Option<String>,
    ) -> Result<Answer> {
        let Account { http, endpoint, sas } = &self.account;
        let url = format!("{endpoint}/{}{path}?{query}{sas}", self.name);
        let request = http.request(method, url).header("x-ms-version", VERSION);
        let request = request.body(body.unwrap_or_default());
        // The error would name the URL, and that holds the signature.
        let response = request.send().await.map_err(reqwest::Error::without_url)?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.text().await.map_err(reqwest::Error::without_url)?;
        Ok(Answer { status, headers, body })
    }
}

/// What the service said.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

/// For messages: its status and, of its XML, the code.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, tag(&self.body, "Code").unwrap_or_default())
    }
}

/// Whether an error says that the message is no longer ours: it is gone, or was taken by another.
pub fn is_lost(error: &anyhow::Error) -> bool {
    let text = format!("{error:#}");
    ["PopReceiptMismatch", "MessageNotFound", "QueueNotFound"]
        .iter()
        .any(|code| text.contains(code))
}

fn account_sas(name: &str, key: &str) -> Result<String> {
    let key = BASE64_STANDARD.decode(key).context("the AccountKey is not Base64")?;
    let day = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let expiry = (OffsetDateTime::now_utc() + Duration::from_secs(365 * 86_400)).format(day)?;
    let to_sign = format!("{name}\nrwdlacup\nq\nsco\n\n{expiry}\n\nhttps,http\n{VERSION}\n\n");
    let mut mac =
        Hmac::<Sha256>::new_from_slice(&key).map_err(|_| anyhow!("unusable AccountKey"))?;
    mac.update(to_sign.as_bytes());
    let signature = percent(&BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    let expiry = percent(&expiry);
    Ok(format!("sv={VERSION}&ss=q&srt=sco&sp=rwdlacup&se={expiry}&spr=https,http&sig={signature}"))
}

fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte.into())
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn message_body(text: &str) -> String {
    let text =
        text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\r', "&#13;");
    format!("<QueueMessage><MessageText>{text}</MessageText></QueueMessage>")
}

fn parse_message(xml: &str) -> Result<Message> {
    let needed = |name: &str| tag(xml, name).with_context(|| format!("a message without {name}"));
    let date = |name: &str| needed(name).and_then(|text| rfc1123(&text));
    Ok(Message {
        id: needed("MessageId")?,
        // A peeked message has neither.
        pop_receipt: tag(xml, "PopReceipt").unwrap_or_default(),
        next_visible: date("TimeNextVisible").unwrap_or(OffsetDateTime::UNIX_EPOCH),
        dequeue_count: needed("DequeueCount")?.parse()?,
        inserted: date("InsertionTime")?,
        expires: date("ExpirationTime")?,
        text: tag(xml, "MessageText").unwrap_or_default(),
    })
}

/// The text of the first element of this name; the service's answers have no attributes.
fn tag(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    Some(unescape(text))
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let (entity, after) = after.split_once(';').unwrap_or((after, ""));
        let number =
            |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        out.extend(match entity {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => match entity.strip_prefix("#x").or(entity.strip_prefix("#X")) {
                Some(digits) => number(digits, 16),
                None => entity.strip_prefix('#').and_then(|digits| number(digits, 10)),
            },
        });
        rest = after;
    }
    out.push_str(rest);
    out
}

fn rfc1123(text: &str) -> Result<OffsetDateTime> {
    let format = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    let time = time::PrimitiveDateTime::parse(text, format);
    Ok(time.with_context(|| format!("the time '{text}'"))?.assume_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings_give_an_endpoint() {
        for (text, endpoint) in [
            ("UseDevelopmentStorage=true", "http://127.0.0.1:10001/devstoreaccount1"),
            ("AccountName=a;AccountKey=YQ==;EndpointSuffix=x.net", "https://a.queue.x.net"),
            ("QueueEndpoint=http://h:1/a/;SharedAccessSignature=?sig=1", "http://h:1/a"),
        ] {
            assert_eq!(Account::parse(text).unwrap().endpoint, endpoint);
        }
        assert!(Account::parse("AccountName=a").is_err() && Account::parse("").is_err());
    }

    #[test]
    fn texts_survive_the_wire() {
        let text = " \u{feff}{\"a\":\"<&>'\"}\r\n";
        let sent = message_body(text);
        assert_eq!(tag(&sent, "MessageText").unwrap(), text);
        assert_eq!(unescape("&#x41;&#66;&apos;&quot;"), "AB'\"");
    }
}
