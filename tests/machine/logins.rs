//! `doctor` about logins to Postgres that do not come about: each cause by its name, and what to do.

use crate::database::on_its_own_server;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};
use support::{
    doctor::{doctor, failures},
    identity::Identity,
    ingestion::{Ingestion, serve},
    postgres::Postgres,
    raw::tls_fixture,
    rig::{Handler, Rig, wait_for},
};

/// Who may come in, and how. `stranger` has no line.
const RULES: &str = "host all postgres 127.0.0.1/32 trust
    host all locked,nobody_of_that_name 127.0.0.1/32 trust
    hostssl all safe 127.0.0.1/32 trust
    host all app 127.0.0.1/32 scram-sha-256\n";

/// What all rows share.
struct World {
    server: Postgres,
    rig: Rig,
}

impl World {
    async fn new() -> Self {
        let (server, rig) = on_its_own_server().await;
        let world = Self { server, rig };
        for statement in [
            "create role app login password 'right'",
            "create role locked nologin",
            "create role safe login",
            "create role stranger login",
            "create database closed",
        ] {
            world.execute(statement).await;
        }
        world.server.set_rules(RULES).await.unwrap();
        world
    }

    async fn execute(&self, statement: &str) {
        let executed =
            sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&self.rig.pool).await;
        executed.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    fn url(&self, user: &str, rest: &str) -> String {
        let (_, server) = self.rig.database_url.rsplit_once('@').unwrap();
        let (address, _) = server.split_once('/').unwrap();
        format!("postgres://{user}@{address}/{rest}")
    }

    /// What is wrong with what doctor says of this URL: it must say these words of Postgres, send nobody to
    /// a firewall, and ask nothing more of the database.
    fn says(&self, url: &str, words: &[&str]) -> Vec<String> {
        let answer = doctor(&self.rig, &[("DATABASE_URL", url)], &["--json"]);
        if answer.code != Some(1) {
            return vec![format!("{url}: {answer:?}")];
        }
        let failures = failures(&answer);
        let of = |what: &str| {
            let found = failures.iter().find(|(name, _)| name == what);
            found.map(|(_, said)| said.as_str()).unwrap_or_default()
        };
        let (postgres, schema) = (of("Postgres"), of("schema"));
        let lacks = words.iter().any(|word| !postgres.contains(word));
        let misleads = ["pool timed out", "a firewall let"].iter().any(|w| postgres.contains(w));
        let is_wrong = lacks || misleads || !schema.contains("not asked");
        let wrong = is_wrong.then(|| format!("{url}: {words:?}: {postgres} || {schema}"));
        wrong.into_iter().collect()
    }
}

/// Case 217 270: the server is there and refuses the login, for each of its reasons.
pub async fn doctor_names_why_a_login_is_refused() {
    let world = World::new().await;
    // What breaks it, the login, what doctor says, what mends it.
    let rows: &[(&str, &str, &str, &[&str], &str)] = &[
        ("", "app:wrong", "crashing", &["28P01", "password in DATABASE_URL is wrong", "%23"], ""),
        ("", "app", "crashing", &["has no password", "PIXCRAWLER_DATABASE_CREDENTIAL=entra"], ""),
        ("", "locked", "crashing", &["28000", "alter role NAME login"], ""),
        ("", "nobody_of_that_name", "crashing", &["28000", "no role that may log in"], ""),
        ("", "stranger", "crashing", &["28000", "pg_hba.conf lets this user"], ""),
        ("", "safe", "crashing?sslmode=disable", &["28000", "sslmode=verify-full"], ""),
        ("", "app:right", "no_such_database", &["3D000", "create the database"], ""),
        (
            "revoke connect on database crashing from public",
            "app:right",
            "crashing",
            &["42501", "grant connect on database"],
            "grant connect on database crashing to public",
        ),
        (
            "alter database closed with allow_connections false",
            "app:right",
            "closed",
            &["55000", "allow_connections true"],
            "",
        ),
        (
            "alter role app connection limit 0",
            "app:right",
            "crashing",
            &["53300", "alter role ROLE connection limit"],
            "alter role app connection limit -1",
        ),
        (
            "alter database closed with allow_connections true connection limit 0",
            "app:right",
            "closed",
            &["53300", "alter database NAME connection limit"],
            "",
        ),
        (
            "",
            "app:right",
            "crashing?options=-c%20nothing.such%3Don%20-c%20no_such%3D1",
            &["42704", "PGOPTIONS"],
            "",
        ),
        ("", "app:right", "crashing?options=-c%20work_mem%3Dlots", &["22023", "PGOPTIONS"], ""),
        ("", "app:right", "crashing?sslmode=require", &["takes no TLS", "sslmode=prefer"], ""),
    ];
    let mut wrong = Vec::new();
    for (broken, user, rest, words, mended) in rows {
        world.execute(broken).await;
        wrong.extend(world.says(&world.url(user, rest), words));
        world.execute(mended).await;
    }
    wrong.extend(full_and_stopping(&world).await);
    assert_eq!(wrong, Vec::<String>::new());
}

/// All connections but those of superusers are taken; then the server is told to stop while somebody
/// is there.
async fn full_and_stopping(world: &World) -> Vec<String> {
    world.execute("alter system set superuser_reserved_connections = 199").await;
    world.rig.pool.close().await;
    world.server.restart_immediately().await.unwrap();
    let url = world.url("app:right", "crashing");
    let taken = PgConnection::connect(&url).await.unwrap();
    let full = world.says(&url, &["53300", "pg_stat_activity"]);
    world.server.stop_taking_logins().await.unwrap();
    let stopping = world.says(&url, &["57P03", "starts, stops or recovers"]);
    drop(taken);
    [full, stopping].concat()
}

/// Case 271: TLS that is wanted and does not come about, for each of its reasons.
pub async fn doctor_names_why_there_is_no_tls() {
    let world = World::new().await;
    let authority = tls_fixture("ca.pem").display().to_string();
    let rows = [
        ("good.pem", "", &["not trusted", "sslrootcert=FILE"][..]),
        ("wrong_name.pem", &authority, &["for another name", "as the certificate does"]),
        ("expired.pem", &authority, &["not valid now", "renew"]),
    ];
    let mut wrong = Vec::new();
    for (certificate, authority, words) in rows {
        world.server.speak_tls(&tls_fixture(certificate), &tls_fixture("key.pem")).await.unwrap();
        let root =
            if authority.is_empty() { String::new() } else { format!("&sslrootcert={authority}") };
        let parameters = format!("crashing?sslmode=verify-full{root}");
        wrong.extend(world.says(&world.url("app:right", &parameters), words));
    }
    assert_eq!(wrong, Vec::<String>::new());
    let own = world.url("app:right", "crashing");
    let pool = PgPool::connect(&own).await.expect("TLS is there, and nobody asks whose");
    pool.close().await;
}

/// Case 272: what answers at the address is no Postgres, or nobody does.
pub async fn doctor_names_what_is_there_instead_of_postgres() {
    let world = World::new().await;
    const HTTP: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
    // A login by GSSAPI: type, length, kind.
    const GSS: &str = "R\0\0\0\x08\0\0\0\x07";
    let (_, emulator) = world.rig.storage.split_once("BlobEndpoint=http://").unwrap();
    let emulator: SocketAddr = emulator.split('/').next().unwrap().parse().unwrap();
    let rows = [
        (served(&[HTTP]), "", &["no Postgres", "another program listens", "5432"][..]),
        (served(&[HTTP]), "?sslmode=disable", &["no Postgres", "another program listens"]),
        (emulator, "", &["another program listens"]),
        (served(&["SSH-2.0-OpenSSH_9.2\r\n"]), "", &["another program listens"]),
        (served(&["-ERR wrong\r\n"]), "", &["another program listens"]),
        (served(&["N", GSS]), "", &["a login that is not known here", "pg_hba.conf"]),
        (served(&[]), "", &["hangs up"]),
        (served(&["N"]), "", &["hangs up"]),
        (silent(), "", &["does not answer"]),
    ];
    let mut wrong = Vec::new();
    for (address, parameters, words) in rows {
        wrong.extend(world.says(&format!("postgres://u:p@{address}/d{parameters}"), words));
    }
    let nameless = "postgres://u:p@no-such-host.invalid:5432/d";
    wrong.extend(world.says(nameless, &["no address", "correct the host"]));
    let socket = "postgres:///d?host=/no/such/directory&user=u";
    wrong.extend(world.says(socket, &["no connection", "a socket"]));
    assert_eq!(wrong, Vec::<String>::new());
}

/// H8: a login that is refused for its token costs no health check: the next token is waited for.
pub async fn a_refused_token_costs_no_health_check() {
    let world = World::new().await;
    let World { server, rig } = &world;
    server
        .set_rules(
            "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n",
        )
        .await
        .unwrap();
    let url = rig.least_privileged_role().await;
    let own = Some((rig.pool.clone(), "id-crashing".to_owned()));
    let identity = Identity::serve(Duration::from_secs(3600), own).await;
    let entra = [("DATABASE_URL", &*url), ("PIXCRAWLER_DATABASE_CREDENTIAL", "entra")];
    let handler = rig.handler_with(&[&entra[..], &identity.environment()].concat()).await;
    for n in 0..5 {
        // What was given out is no longer taken, and every login is new.
        world.execute("alter role \"id-crashing\" password 'revoked'").await;
        world
            .execute(
                "select pg_terminate_backend(pid) from pg_stat_activity
                where usename = 'id-crashing'",
            )
            .await;
        let body = r#"{"Data":{},"Metadata":{}}"#.to_owned();
        let (status, answer) = handler.post("/health_check", "timer", body).await;
        assert_eq!(status, 200);
        let said = answer.to_string();
        assert!(said.contains("active_chunks 0"), "{n}: {said}");
    }
}

/// S14 X10: on Flex Consumption, which names a pod and no instance, telemetry and leases carry the pod's
/// name.
pub async fn a_pod_is_the_instance_of_its_telemetry() {
    let World { server, rig } = &World::new().await;
    server.speak_tls(&tls_fixture("good.pem"), &tls_fixture("key.pem")).await.unwrap();
    let seen = Arc::new(Ingestion::default());
    let mut environment = rig.environment();
    environment.remove("PIXCRAWLER_ALLOWED_ORIGINS");
    environment.remove("PIXCRAWLER_ENVIRONMENT");
    let authority = tls_fixture("ca.pem").display().to_string();
    let url = format!("{}?sslmode=verify-full&sslrootcert={authority}", rig.database_url);
    let flex = [
        ("DATABASE_URL", &*url),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", &*serve(&seen).await),
        ("WEBSITE_POD_NAME", "0a1b2c"),
        ("WEBSITE_SKU", "FlexConsumption"),
        ("HOSTNAME", "machine"),
        ("OTEL_BSP_SCHEDULE_DELAY", "300"),
    ];
    let handler = Handler::spawn(environment, &flex);
    handler.line("\"ready\"").await;
    handler.post("/health_check", "timer", r#"{"Data":{},"Metadata":{}}"#.into()).await;
    wait_for("a request arrives", async || !seen.of("RequestData").is_empty()).await;
    assert_eq!(seen.tags_of("RequestData")[0]["ai.cloud.roleInstance"], "0a1b2c");
    let owner = "select owner like '0a1b2c/%' from chunk_handler.process";
    assert!(rig.value::<bool>(owner).await);
    let plain = "select count(*) from pg_stat_ssl join pg_stat_activity using (pid)
        where application_name = 'chunk-handler' and not ssl";
    assert_eq!(rig.value::<i64>(plain).await, 0, "a connection without TLS");
    let profile = "select environment from chunk_handler.capacity";
    assert_eq!(rig.value::<String>(profile).await, "azure_functions");
}

/// A server that answers with each of these once it has read something, and then hangs up.
fn served(answers: &'static [&str]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            for answer in answers {
                if stream.read(&mut [0; 1024]).unwrap_or(0) == 0 {
                    break;
                }
                stream.write_all(answer.as_bytes()).unwrap_or_default();
            }
        }
    });
    address
}

/// A server that takes connections, and never says a word.
fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().map_while(Result::ok).collect::<Vec<_>>());
    address
}
