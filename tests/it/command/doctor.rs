//! `chunkctl doctor` names the one thing that is broken in a set-up, and what to do.

use std::time::Duration;
use support::{
    doctor::{doctor, failures, names},
    identity::Identity,
    raw::{Act, Raw, answer},
    rig::{Handler, Rig},
};

/// PR8 X13: a sound set-up passes every check; a database, a password, a storage account, a key or a
/// schema that is wrong is named with its remedy.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_what_is_broken_and_what_to_do() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let sound = doctor(&rig, &[], &["--json"]);
    assert_eq!((sound.code, failures(&sound)), (Some(0), Vec::new()), "{}", sound.stdout);
    let json = &["--json"][..];
    let closed = "postgres://u:p@127.0.0.1:1/db";
    names(
        &doctor(&rig, &[("DATABASE_URL", closed)], json),
        "Postgres",
        &["nobody listens", "port 1:", "is the server up"],
    );
    let (before, after) = rig.database_url.split_once("://").unwrap();
    let (_, host) = after.split_once('@').unwrap();
    // Roles of the test server may need no password: a role that does not exist is refused too.
    let wrong = format!("{before}://nobody-of-that-name:wrong@{host}");
    let answer = doctor(&rig, &[("DATABASE_URL", &wrong)], json);
    names(&answer, "Postgres", &["nobody-of-that-name", "DATABASE_URL", "percent-encoded"]);
    assert!(!answer.stdout.contains("is away"), "what is refused is not away: {}", answer.stdout);
    let dead =
        rig.storage.replace("BlobEndpoint=http://127.0.0.1:", "BlobEndpoint=http://127.0.0.2:");
    names(&doctor(&rig, &[("ChunkStorage", &dead)], json), "blob storage", &["check ChunkStorage"]);
    names(&doctor(&rig, &[("ChunkStorage", &dead)], json), "blob storage", &["nothing answers"]);
    let key = rig.storage.split("AccountKey=").nth(1).unwrap().split(';').next().unwrap();
    let other = rig.storage.replace(key, "d3Jvbmcga2V5IHdyb25nIGtleSB3cm9uZyBrZXkgd3Jvbmc=");
    let answer = doctor(&rig, &[("ChunkStorage", &other)], json);
    names(&answer, "blob storage", &["refused", "key"]);
    names(&answer, "queue storage", &["key"]);
    assert!(!answer.stdout.contains(key), "I11: the key is shown");
    rig.execute(
        "insert into chunk_handler._sqlx_migrations
            (version, description, success, checksum, execution_time)
        values (9999, 'of the future', true, '', 0)",
    )
    .await;
    names(&doctor(&rig, &[], json), "schema", &["version 9999", "newer release"]);
    let text = doctor(&rig, &[], &[]);
    assert!(text.stdout.contains("FAILED  schema"), "{}", text.stdout);
}

/// Telemetry that does not arrive is named: an endpoint that is away, and one that wants a token.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_when_alerts_would_see_nothing() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let refusing = axum::Router::new()
        .fallback(axum::routing::any(async || axum::http::StatusCode::UNAUTHORIZED));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, refusing).await });
    let connection = format!("InstrumentationKey=k;IngestionEndpoint=http://{address}/");
    let replaced = [("APPLICATIONINSIGHTS_CONNECTION_STRING", connection.as_str())];
    let answer = tokio::task::block_in_place(|| doctor(&rig, &replaced, &["--json"]));
    names(&answer, "telemetry", &["401", "Monitoring Metrics Publisher"]);
}

/// I11 PR8: where a token is the password, "no token" and "login refused" are told apart, each with its
/// remedy, and no token is shown.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_a_missing_token_from_a_refused_login() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let identity = Identity::serve(Duration::from_secs(3600), None).await;
    let (_, server) = rig.database_url.rsplit_once('@').unwrap();
    let url = format!("postgres://nobody-of-that-name@{server}");
    let entra = [("PIXCRAWLER_DATABASE_CREDENTIAL", "entra"), ("DATABASE_URL", &url)];
    let all = [entra, identity.environment()].concat();
    let refused = tokio::task::block_in_place(|| doctor(&rig, &all, &["--json"]));
    names(&refused, "Postgres", &["nobody-of-that-name", "login was refused", "least-privilege"]);
    assert_eq!(identity.shown_in(&format!("{refused:?}")), Vec::<String>::new());
    assert!(identity.logins() > 0, "no token was asked for");
    // A header that the endpoint does not know.
    let unknown = [entra.as_slice(), &[identity.environment()[0], ("IDENTITY_HEADER", "other")]];
    let without = tokio::task::block_in_place(|| doctor(&rig, &unknown.concat(), &["--json"]));
    names(&without, "Postgres", &["no token", "ChunkStorage__clientId"]);
}

/// Case 218: without a trusted certificate no client is made: both programs say so, and where they looked.
#[tokio::test(flavor = "multi_thread")]
async fn missing_certificates_are_named() {
    let rig = Rig::new().await;
    let nowhere = [("SSL_CERT_FILE", "/no/such/file.pem")];
    let answer = rig.chunkctl_with(&nowhere, &["doctor"]);
    assert_eq!(answer.code, Some(1), "{answer:?}");
    let handler = Handler::spawn(rig.environment(), &nowhere);
    handler.ended().await;
    for said in [answer.stderr, handler.errors().join("\n")] {
        for words in ["no trusted certificates", "SSL_CERT_FILE", "/etc/ssl/certs"] {
            assert!(said.contains(words), "{said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    }
}

/// What storage says is one line: status, code and the id that its support asks for, and no XML.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_storage_is_one_line_without_xml() {
    let rig = Rig::new().await;
    let answer = doctor(&rig, &[], &["--json"]);
    names(&answer, "blob storage", &["404 ContainerNotFound, request id "]);
    names(&answer, "schema", &["run `chunkctl migrate`"]);
    let key = rig.storage.split("AccountKey=").nth(1).unwrap().split(';').next().unwrap();
    let other = rig.storage.replace(key, "d3Jvbmcga2V5IHdyb25nIGtleSB3cm9uZyBrZXkgd3Jvbmc=");
    let list = rig.list("a.txt", &rig.pictures(1)).display().to_string();
    let submit = ["submit", "--job-id", "1", "--urls", &list];
    let submitted = rig.chunkctl_with(&[("ChunkStorage", &other)], &submit);
    assert_eq!(submitted.code, Some(1), "{submitted:?}");
    let said = submitted.stderr.trim_end();
    assert!(said.contains("403 AuthorizationFailure, request id "), "{said}");
    assert!(!said.contains('<') && said.lines().count() == 1, "{said}");
}

/// A login with tokens of this endpoint.
fn with_tokens<'a>(url: &'a str, endpoint: &'a str) -> [(&'static str, &'a str); 4] {
    [
        ("PIXCRAWLER_DATABASE_CREDENTIAL", "entra"),
        ("DATABASE_URL", url),
        ("IDENTITY_ENDPOINT", endpoint),
        ("IDENTITY_HEADER", "h"),
    ]
}

/// Case 273: an endpoint for tokens that answers 500, or not at all, is not an identity that is missing; one
/// that knows no such identity is.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_an_endpoint_that_fails_from_a_missing_identity() {
    let rig = Rig::new().await;
    let (_, server) = rig.database_url.rsplit_once('@').unwrap();
    let url = format!("postgres://app@{server}");
    let answering = |status, body: &'static str| {
        Raw::start(move |_, _| {
            Act::Close(answer(status, "content-type: text/plain\r\n", body.as_bytes()))
        })
    };
    let gone = "http://127.0.0.1:1/msi/token".to_owned();
    let (failing, busy) = (answering(500, "our fault"), answering(429, "later"));
    let (unknown, silent) =
        (answering(400, "no such identity"), Raw::start(|_, _| Act::Hang(vec![])));
    for (endpoint, said, remedy) in [
        (failing.url("/msi/token"), "500", "nothing is wrong with the settings"),
        (busy.url("/msi/token"), "429", "nothing is wrong with the settings"),
        (silent.url("/msi/token"), "no answer within 10 s", "nothing is wrong with the settings"),
        (gone, "no token", "nothing is wrong with the settings"),
        (unknown.url("/msi/token"), "400", "ChunkStorage__clientId"),
    ] {
        let variables = with_tokens(&url, &endpoint);
        let examined = tokio::task::block_in_place(|| doctor(&rig, &variables, &["--json"]));
        names(&examined, "Postgres", &["no token", said, remedy]);
        assert!(!failures(&examined)[0].1.contains('\n'), "{:?}", failures(&examined)[0]);
    }
    // No scheme that anything could be asked by: nothing is tried.
    let examined = doctor(&rig, &with_tokens(&url, "hush://127.0.0.1/"), &["--json"]);
    assert_eq!(examined.code, Some(2), "{examined:?}");
    let expected = "IDENTITY_ENDPOINT=***: must be an http or https URL";
    assert!(examined.stderr.contains(expected), "{examined:?}");
}

/// Case 276: what is odd about a set-up that works is said by `doctor` and by the handler's log, and not by
/// each command; what was left out of this very run is.
#[tokio::test(flavor = "multi_thread")]
async fn advice_about_a_set_up_is_doctors_to_give() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let odd = [
        ("DATABASE_URL", "postgres://u@db.invalid:5432/d"),
        ("PIXCRAWLER_ENVIRONMENT", "production"),
        ("PGOPTIONS", "-c statement_timeout=9s"),
        ("PIXCRAWLER_DRAIN_SECONDS", "'8'"),
    ];
    let advice = ["?sslmode=verify-full", "is no profile", "PGOPTIONS is set", "stands in quotes"];
    let said = tokio::task::block_in_place(|| doctor(&rig, &odd, &["--json"])).json()["warnings"]
        .to_string();
    let text = tokio::task::block_in_place(|| doctor(&rig, &odd, &[])).stdout;
    let handler = Handler::spawn(rig.environment(), &odd);
    for words in advice {
        assert!(said.contains(words), "{words}: {said}");
        assert!(text.lines().any(|l| l.starts_with("  warning ") && l.contains(words)), "{text}");
        handler.line(words).await;
    }
    let here = &odd[1..];
    let quiet = [&["migrate"][..], &["status"], &["control", "resume"], &["--json", "status"]];
    for arguments in quiet {
        let output = rig.chunkctl_with(here, arguments);
        assert_eq!((output.code, &*output.stderr), (Some(0), ""), "{arguments:?}: {output:?}");
    }
    std::fs::write(rig.temp.path().join("local.settings.json"), "{").unwrap();
    let slips = [here, &[("PIXCRAWLER_LEASE_SECOND", "9")]].concat();
    let said = rig.chunkctl_with(&slips, &["status"]).stderr;
    assert_eq!(said.lines().count(), 2, "{said}");
    for words in ["did you mean PIXCRAWLER_LEASE_SECONDS?", "local.settings.json is left out"] {
        assert!(said.contains(words), "{said}");
    }
}

/// Another app's file.
const FOREIGN: &str = r#"{
    "version": "2.0",
    "extensionBundle": {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)"},
    "customHandler": {"description": {"defaultExecutablePath": "other"}},
    "extensions": {"queues": {
        "maxDequeueCount": 1, "messageEncoding": "base64", "visibilityTimeout": "00:00:30"
    }}
}"#;

/// H5 H6 H8 Case 274: `chunkctl` works in a directory whose host.json no handler would start with, or get
/// its messages; `doctor` names each value, and goes on.
#[tokio::test(flavor = "multi_thread")]
async fn limits_of_the_handler_stop_no_command_but_are_told() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let (deadline, none) = ([("PIXCRAWLER_CHUNK_DEADLINE_SECONDS", "1081")], []);
    for (host_json, variables, word) in [
        (r#"{"functionTimeout": "00:02:00"}"#, &none[..], "functionTimeout=00:02:00"),
        (r#"{"functionTimeout": "00:20:00"}"#, &deadline, "functionTimeout (00:20:00)"),
        ("{", &none, "host.json is left out"),
        (FOREIGN, &none, "defaultExecutablePath=other: must be handler"),
        (FOREIGN, &none, "messageEncoding=base64: must be none"),
        (FOREIGN, &none, "maxDequeueCount=1: must be 5 or more"),
    ] {
        std::fs::write(rig.temp.path().join("host.json"), host_json).unwrap();
        let status = rig.chunkctl_with(variables, &["status"]);
        assert_eq!((status.code, &*status.stderr), (Some(0), ""), "{host_json}: {status:?}");
        let examined = doctor(&rig, variables, &["--json"]);
        names(&examined, "settings of the handler", &[word, "another app"]);
        assert_eq!(failures(&examined).len(), 1, "{}", examined.stdout);
    }
}

/// Who makes the schema owns it: where a person and the app are different roles, a person's migrate and
/// submit leave it to the app, and `doctor` does not send anybody to `migrate`.
#[tokio::test(flavor = "multi_thread")]
async fn with_tokens_the_schema_is_the_apps_to_make() {
    let rig = Rig::new().await;
    let role = format!("person-{}", std::process::id());
    let sql = format!("create role \"{role}\" login superuser");
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&rig.pool).await.unwrap();
    let own = Some((rig.pool.clone(), role.clone()));
    let identity = Identity::serve(Duration::from_secs(3600), own).await;
    let (_, server) = rig.database_url.rsplit_once('@').unwrap();
    let url = format!("postgres://{role}@{server}");
    let entra = [("PIXCRAWLER_DATABASE_CREDENTIAL", "entra"), ("DATABASE_URL", &url)];
    let person = [entra, identity.environment()].concat();
    tokio::task::block_in_place(|| {
        names(&doctor(&rig, &person, &["--json"]), "schema", &["the app makes it"]);
        let list = rig.list("a.txt", &rig.pictures(1));
        let submit = ["submit", "--job-id", "1", "--urls", list.to_str().unwrap()];
        for arguments in [&["migrate"][..], &submit] {
            let refused = rig.chunkctl_with(&person, arguments);
            assert_eq!(refused.code, Some(1), "{refused:?}");
            assert!(refused.stderr.contains("deploy and start the app"), "{refused:?}");
        }
    });
    let handler = rig.handler().await;
    handler.line("ready").await;
    tokio::task::block_in_place(|| {
        assert_eq!(doctor(&rig, &person, &["--json"]).code, Some(0));
        assert_eq!(rig.chunkctl_with(&person, &["migrate"]).code, Some(0));
    });
}

/// A chunk that waits while nobody is there is a failure, although everything `doctor` asks is sound.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_when_nobody_is_there_to_work() {
    let rig = Rig::new().await;
    rig.submit(1, &rig.pictures(1), 1);
    assert_eq!(doctor(&rig, &[], &["--json"]).code, Some(0), "it has just come");
    rig.execute("update chunk_handler.chunk set created_at = now() - interval '11 minutes'").await;
    names(&doctor(&rig, &[], &["--json"]), "handlers", &["none is there", "start the app"]);
}

/// A role that lost the schema altogether sees none of its tables: that is a right, and no old schema.
#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_a_schema_that_may_not_be_used() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let url = rig.limited_role(&["revoke usage on schema chunk_handler from ROLE"]).await;
    let answer = doctor(&rig, &[("DATABASE_URL", &url)], &["--json"]);
    names(&answer, "rights", &["lacks usage on schema chunk_handler", "grant"]);
    names(&answer, "schema", &["rights"]);
}
