//! Secrets of any form, in every place that a real set-up has one: nothing that people read shows them.

use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use support::{
    doctor::doctor,
    ingestion::{Ingestion, serve},
    programs::Output,
    rig::{Handler, Rig, all, envelope, inline},
};

/// What joins the parts of URLs and connection strings, and what looks like a port.
const JOINTS: [&str; 20] = [
    "@", "/", ":", "#", "?", "%", "&", "=", ";", " ", "\"", "'", ",", "[", "%40", "://", "é", "密",
    "5432", "443/",
];
/// Shorter parts of a secret would be found by chance.
const PART: usize = 6;

/// Makes secrets, and remembers what must not be seen of them.
struct Secrets {
    random: fastrand::Rng,
    parts: Vec<String>,
}

impl Secrets {
    fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), parts: Vec::new() }
    }

    /// Characters that no id, length or time is made of; each part of [`PART`] of them counts.
    fn core(&mut self) -> String {
        let letters: Vec<char> = ('g'..='z').chain('G'..='Z').collect();
        let core: Vec<char> =
            (0..18).map(|_| letters[self.random.usize(..letters.len())]).collect();
        self.parts.extend(core.windows(PART).map(|part| part.iter().collect()));
        core.into_iter().collect()
    }

    /// One with joints before, in and after it.
    fn odd(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..2 {
            text += JOINTS[self.random.usize(..JOINTS.len())];
            text += &self.core();
        }
        text + JOINTS[self.random.usize(..JOINTS.len())]
    }

    /// One where only Base64 is taken. Logs have other Base64: longer parts count.
    fn base64(&mut self) -> String {
        let text = base64_of_random(&mut self.random);
        let chars: Vec<char> = text.chars().collect();
        self.parts.extend(chars.windows(PART + 2).map(|part| part.iter().collect()));
        text
    }

    /// The parts that this text shows, as they stand or percent-encoded; five at most.
    fn shown_in(&self, what: &str, text: &str) -> Vec<String> {
        let shown = self.parts.iter().filter(|part| text.contains(part.as_str())).take(5);
        let around = |part: &String| {
            let at = text.find(part.as_str()).unwrap_or_default();
            text[..at]
                .chars()
                .rev()
                .take(120)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<String>()
        };
        shown.map(|part| format!("{what} shows {part} after {}", around(part))).collect()
    }
}

fn base64_of_random(random: &mut fastrand::Rng) -> String {
    use base64::Engine as _;
    let bytes: Vec<u8> = (0..64).map(|_| random.u8(..)).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// As it stands in a URL.
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// All that is written down for people in the database: every column but the messages themselves.
const ROWS: &str = "select coalesce(string_agg(r, ' '), '') from (
    select (to_jsonb(t) - 'message')::text from chunk_handler.chunk t
    union all select to_jsonb(t)::text from chunk_handler.attempt_log t
    union all select to_jsonb(t)::text from chunk_handler.job t
    union all select to_jsonb(t)::text from chunk_handler.process t
    union all select to_jsonb(t)::text from chunk_handler.health t
    union all select to_jsonb(t)::text from chunk_handler.fleet t
    union all select (to_jsonb(t) - 'body')::text from chunk_handler.rejected_message t) as rows (r)";

/// How storage is named.
#[derive(Clone, Copy, Debug)]
enum Storage {
    /// As it is.
    Sound,
    /// With a key that is refused.
    Key,
    /// With a signature that is refused.
    Signature,
}

fn storage_of(rig: &Rig, kind: Storage, secrets: &mut Secrets) -> String {
    let part = |name: &str| {
        let mut parts = rig.storage.split(';');
        parts.find(|part| part.starts_with(name)).unwrap().to_owned()
    };
    match kind {
        Storage::Sound => rig.storage.clone(),
        Storage::Key => {
            let key = format!("AccountKey={}", secrets.base64());
            rig.storage.replace(&part("AccountKey="), &key)
        }
        Storage::Signature => format!(
            "{};{};SharedAccessSignature=sv=2024-01-01&se=2030-01-01&sp=rw&sig={}",
            part("BlobEndpoint="),
            part("QueueEndpoint="),
            encoded(&secrets.odd())
        ),
    }
}

/// URLs that are fetched, redirected, refused and not understood, each with secrets of its own.
fn urls(rig: &Rig, secrets: &mut Secrets) -> Vec<String> {
    let host = rig.origin.address();
    let paths = ["/img/1", "/404", "/html", "/loop", "/cut/1", "/noai/1"];
    let mut urls: Vec<String> = paths
        .iter()
        .map(|path| {
            let signature = encoded(&secrets.odd());
            format!("http://{host}{path}?sv=1&sig={signature}")
        })
        .collect();
    urls.push(format!("http://u:{}@{host}/img/2", encoded(&secrets.odd())));
    urls.push(format!("http://127.0.0.2/x?sig={}", secrets.core()));
    urls.push(format!("http://nothing.invalid/x?token={}", secrets.odd()));
    urls.push(format!("http://u:{}@[bad/x", secrets.core()));
    urls.push(format!("u:{}@h/x", secrets.core()));
    urls
}

/// Messages that are refused, each with a secret where a careless producer has one.
fn refused(secrets: &mut Secrets) -> Vec<(&'static str, String)> {
    let mut url = || format!("https://u:{}@a.b/l?sig={}", secrets.core(), encoded(&secrets.odd()));
    let chunk = |source: Value| {
        json!({"version": 1, "job_id": 9, "chunk_index": 0, "source": source}).to_string()
    };
    vec![
        ("/process_chunk", format!("{} is no JSON", url())),
        ("/process_chunk", chunk(json!({"blob": url()}))),
        ("/process_chunk", chunk(json!(url()))),
        ("/process_chunk", chunk(json!({"items": [url()]}))),
        ("/process_chunk", json!({"version": url(), "job_id": 1}).to_string()),
        ("/control", json!({"version": 1, "action": url()}).to_string()),
    ]
}

fn said(output: &Output) -> String {
    format!("{} {}", output.stdout, output.stderr)
}

/// I11 H14 Case 278: passwords, keys, signatures and user info of random forms, all of them at once: neither
/// the log at its most talkative level, nor telemetry, answers to the host, columns of the database,
/// `doctor`, `status` or `submit` show six characters of one.
#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_a_random_secret_is_shown_anywhere() {
    let set_ups = [(1, Storage::Sound), (2, Storage::Key), (3, Storage::Signature)];
    all(set_ups.into_iter().map(|(seed, kind)| shows_nothing(seed, kind))).await;
}

async fn shows_nothing(seed: u64, kind: Storage) {
    let (rig, mut secrets) = (Rig::new().await, Secrets::new(seed));
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let shown = everything(&rig, kind, &mut secrets).await;
    let found: Vec<String> =
        shown.iter().flat_map(|(what, text)| secrets.shown_in(what, text)).collect();
    assert!(found.is_empty(), "{kind:?}: {found:#?}");
    // The check can fail, and there was something to be seen.
    let planted = format!("x{}", &secrets.parts[3]);
    assert!(!secrets.shown_in("plant", &planted).is_empty());
    let is_sound = matches!(kind, Storage::Sound);
    for (what, words) in [
        ("the log", if is_sound { "\"DEBUG\"" } else { "degraded" }),
        ("the log", "Message rejected"),
        ("a row", "neither JSON nor Base64"),
        ("a row", if is_sound { "source_missing" } else { "queues: storage " }),
        ("doctor", if is_sound { "takes our metrics" } else { "FAILED  blob storage" }),
        ("an answer", if is_sound { "completed" } else { "Logs" }),
    ] {
        assert!(
            shown[what].contains(words),
            "{kind:?}: {what} lacks {words}: {:.3000}",
            shown[what]
        );
    }
}

/// A set-up at work, and all that it says.
async fn everything(
    rig: &Rig,
    kind: Storage,
    secrets: &mut Secrets,
) -> BTreeMap<&'static str, String> {
    let seen = Arc::new(Ingestion::default());
    let (before, after) = rig.database_url.split_once("://").unwrap();
    let (user, server) = after.split_once('@').unwrap();
    let user = user.split(':').next().unwrap();
    let database = format!("{before}://{user}:{}@{server}", encoded(&secrets.odd()));
    let storage = storage_of(rig, kind, secrets);
    let telemetry = format!("{};ApplicationId={}", serve(&seen).await, secrets.core());
    let others = [secrets.odd(), format!("http://u:{}@127.0.0.1:1", encoded(&secrets.odd()))];
    let foreign = format!("AccountName=a;AccountKey={}", secrets.base64());
    let settings = [
        ("DATABASE_URL", &*database),
        ("ChunkStorage", &storage),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", &telemetry),
        ("AzureWebJobsStorage", &foreign),
        ("IDENTITY_HEADER", &others[0]),
        ("HTTPS_PROXY", &others[1]),
        ("OTEL_BSP_SCHEDULE_DELAY", "300"),
        ("RUST_LOG", "trace"),
    ];
    let handler = Handler::spawn(rig.environment(), &settings);
    handler.answers().await;
    let urls = urls(rig, secrets);
    let mut answers = String::new();
    let mut messages: Vec<(&str, String)> = refused(secrets);
    if matches!(kind, Storage::Sound) {
        handler.line("\"ready\"").await;
        messages.push(("/process_chunk", inline(1, 0, &urls).to_string()));
        let missing =
            json!({"version": 1, "job_id": 2, "chunk_index": 0, "source": {"blob": "a.txt"}});
        messages.push(("/process_chunk", missing.to_string()));
    } else {
        handler.line("degraded: no chunk starts here").await;
    }
    for (n, (route, text)) in messages.iter().enumerate() {
        answers += &handler.post(route, &n.to_string(), envelope(text)).await.1.to_string();
    }
    answers += &handler.post("/health_check", "timer", envelope("{}")).await.1.to_string();
    let list = rig.list("list.txt", &urls).display().to_string();
    let command = |arguments: &[&str]| {
        tokio::task::block_in_place(|| said(&rig.chunkctl_with(&settings[..6], arguments)))
    };
    let submitted = command(&["submit", "--job-id", "3", "--urls", &list]);
    let talkative =
        tokio::task::block_in_place(|| said(&rig.chunkctl_with(&settings, &["status"])));
    let examined = tokio::task::block_in_place(|| {
        [&[][..], &["--json"]].map(|how| said(&doctor(rig, &settings[..6], how))).concat()
    });
    support::rig::wait_for("telemetry", async || !seen.of("RequestData").is_empty()).await;
    let sent = seen.envelopes.lock().unwrap().clone();
    BTreeMap::from([
        ("the log", [handler.lines(), handler.errors()].concat().join("\n")),
        ("an answer", answers),
        ("telemetry", Value::from(sent).to_string()),
        ("a row", rig.value::<String>(ROWS).await),
        ("submit", submitted),
        ("status", [command(&["status"]), talkative, command(&["--json", "status"])].concat()),
        ("doctor", examined),
    ])
}
