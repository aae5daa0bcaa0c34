//! What to do about a login that did not come about.

use chunk_handler::state::{Hindrance, NoToken};
use std::borrow::Cow;

/// What the remedies depend on, of the login that was tried.
#[derive(Debug)]
pub(super) struct Login {
    /// Whether a token is the password.
    pub(super) is_entra: bool,
    /// Whether the URL has one.
    pub(super) has_password: bool,
    /// Whether the URL asks for no TLS.
    pub(super) is_plain: bool,
    /// Of the URL; none: a socket.
    pub(super) port: Option<u16>,
}

/// About a server that takes no writes.
pub(super) const READ_ONLY: &str = "nothing can be submitted or completed until it takes writes: free or \
    enlarge its disk, `alter role ROLE reset default_transaction_read_only` (and `alter database NAME`, from another \
    database), wait for its failover, or name the primary";
const ENCODED: &str = "in them # / ? % @ : are percent-encoded, as %23 for #, and + in a parameter";

/// What the server's codes mean at a login, the first that fits: the begin of the code
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>), the server's function where one
/// code has several reasons, and what to do. Class 28 stands in [`of_refused_login`].
const BY_CODE: &[(&str, Option<&str>, &str)] = &[
    (
        "42501",
        None,
        "the server is up, and this role may not connect to the database: `grant connect on database \
         NAME to ROLE`, as the database's owner",
    ),
    (
        "55000",
        None,
        "the server is up, and the database takes no connections: `alter database NAME with \
         allow_connections true`, from another database",
    ),
    ("3D000", None, "create the database that DATABASE_URL names, or correct its name"),
    (
        "53300",
        Some("InitializeSessionUserId"),
        "the role has as many connections as it may: `alter role ROLE connection limit -1`, or more \
         than 5 for each handler and 5 for each chunkctl; others may use the same role",
    ),
    (
        "53300",
        Some("CheckMyDatabase"),
        "the database has as many connections as it may: `alter database NAME connection limit -1`, or \
         more than 5 for each handler and 5 for each chunkctl",
    ),
    (
        "53300",
        None,
        "the server has as many connections as it takes: `select usename, application_name, count(*) \
         from pg_stat_activity group by 1, 2` shows whose; end some, raise max_connections (in Azure: a \
         larger SKU), or run fewer handlers, which take 5 each",
    ),
    ("53100", None, "the server's disk is full: free or enlarge it"),
    ("53", None, "the server lacks memory or another resource: its own log and metrics say which"),
    (
        "57P03",
        None,
        "the server starts, stops or recovers: wait; if it lasts, its own log says why. A standby that \
         takes no readers says this for ever: name the primary",
    ),
    ("57P04", None, "the database was dropped: create it, or correct its name in DATABASE_URL"),
    (
        "57P",
        None,
        "the server was told to stop or to end this connection: try again; its log says why",
    ),
    (
        "57014",
        None,
        "the login works, and the question took too long: the server is overloaded, or somebody holds a \
         lock; `select * from pg_stat_activity` on it shows what runs",
    ),
    ("25006", None, READ_ONLY),
    (
        "42704",
        None,
        "a parameter that the server does not know: correct options in DATABASE_URL, or PGOPTIONS",
    ),
    (
        "22023",
        None,
        "a parameter with a value that the server does not take: correct options in DATABASE_URL, or \
         PGOPTIONS",
    ),
    (
        "08P01",
        None,
        "a pooler in front of the server says this, or a server older than 10: its words are above, and \
         its own log and configuration have more; or let DATABASE_URL name the server itself",
    ),
];

/// What to do about a login that ended so.
pub(super) fn of(hindrance: &Hindrance, login: &Login) -> Cow<'static, str> {
    let port = login.port.map_or_else(|| "it".to_owned(), |port| format!("port {port}"));
    match hindrance {
        Hindrance::Name(_) => "correct the host in DATABASE_URL; if it is right, this machine cannot \
             resolve it: its name servers, or the private DNS zone of the database's network"
            .into(),
        Hindrance::Closed(_) => format!(
            "the machine answers, and nothing listens at {port}: is the server up, and does \
             DATABASE_URL name its host and port?"
        )
        .into(),
        Hindrance::Unreachable(_) => "there is no way to it from here: correct the host in \
             DATABASE_URL (for a socket its directory and its rights), or mend the network"
            .into(),
        Hindrance::Silent(_) => format!(
            "is the server up, does DATABASE_URL name its host and port, and does a firewall let {port} \
             through?"
        )
        .into(),
        Hindrance::Mute(_) => format!(
            "something takes connections at {port} and does not answer: is it Postgres (correct the port \
             in DATABASE_URL), does the server or a pooler hang, or a proxy lead nowhere?"
        )
        .into(),
        Hindrance::Dropped(_) => format!(
            "what listens at {port} hangs up: is it Postgres (correct the port in DATABASE_URL)? Else a \
             proxy or pooler has no server behind it, or the server crashes; its own log says why"
        )
        .into(),
        Hindrance::OtherProtocol(_) => format!(
            "another program listens at {port}: correct host and port in DATABASE_URL; Postgres has \
             5432 if nobody changed it"
        )
        .into(),
        Hindrance::Method(_) => "let pg_hba.conf ask this role for scram-sha-256, md5 or password; or \
             name another role"
            .into(),
        Hindrance::NoTls => {
            "set sslmode=prefer in DATABASE_URL, or switch TLS on at the server".into()
        }
        Hindrance::Untrusted(_) => "name the authority that signed it with sslrootcert=FILE in \
             DATABASE_URL; if nobody signs for this server, somebody else may be answering"
            .into(),
        Hindrance::OtherName(_) => "name the host in DATABASE_URL as the certificate does; an address \
             instead of the name does not do; if the name is right, somebody else may be answering"
            .into(),
        Hindrance::OutOfDate(_) => {
            "renew the server's certificate; is the clock of this machine right?".into()
        }
        Hindrance::Tls(_) => "server and client agree on no TLS: the server must speak TLS 1.2 or 1.3, \
             and take our certificate where DATABASE_URL names one (sslcert, sslkey)"
            .into(),
        Hindrance::Configuration(_) => "correct what it names in DATABASE_URL".into(),
        Hindrance::Server { code, routine, .. } if code.starts_with("28") => {
            of_refused_login(code, routine.as_deref(), login).into()
        }
        Hindrance::Parameter(_) => {
            "all that we need is set by statements: the pooler may leave options out".into()
        }
        Hindrance::Server { code, routine, .. } => {
            let fits = |begin: &str, function: Option<&str>| {
                code.starts_with(begin)
                    && function.is_none_or(|function| Some(function) == routine.as_deref())
            };
            let row = BY_CODE.iter().find(|(begin, function, _)| fits(begin, *function));
            row.map_or("the server itself says so: its own log has more", |(_, _, remedy)| remedy)
                .into()
        }
    }
}

/// Class 28: the server knows who we say we are, and does not let us in.
fn of_refused_login(code: &str, routine: Option<&str>, login: &Login) -> String {
    match routine {
        // No line of pg_hba.conf fits.
        Some("ClientAuthentication") if login.is_plain => {
            "set sslmode=verify-full in DATABASE_URL: as it is the login is tried without TLS, and no \
             line of the server's pg_hba.conf lets this user in like that"
                .into()
        }
        Some("ClientAuthentication") => "user, password and token are not what is wrong: no line of the \
             server's pg_hba.conf lets this user into this database from this address; add one (in \
             Azure: allow the address), or connect from where one does"
            .into(),
        _ if login.is_entra => "the login was refused although a token is there: the user in DATABASE_URL \
             must be the name of the identity or account that the token is of, and on the server an \
             Entra administrator or a role made as infra/least-privilege.sql shows"
            .into(),
        Some("InitializeSessionUserId") => format!(
            "the user in DATABASE_URL is no role that may log in: correct it ({ENCODED}), or `create \
             role NAME login`, `alter role NAME login`"
        ),
        _ if !login.has_password => "DATABASE_URL has no password: write it before the @, or set \
             PIXCRAWLER_DATABASE_CREDENTIAL=entra where a token of the identity, or of `az login`, logs \
             in (as in Azure)"
            .into(),
        Some("auth_failed") if code != "28P01" => "the server's pg_hba.conf asks this login for ident, \
             peer, ldap, a certificate or the like, and did not get it: let it ask for scram-sha-256, or \
             connect as the one that it expects"
            .into(),
        _ => format!(
            "user or password in DATABASE_URL is wrong, or the role's `valid until` is over, or it has no \
             password on the server; {ENCODED}"
        ),
    }
}

/// What to do where there is no token to log in with.
pub(super) fn without_token(problem: &NoToken, is_managed: bool) -> &'static str {
    match (problem, is_managed) {
        (NoToken::Refused(_), true) => {
            "give the app the identity whose client id ChunkStorage__clientId names"
        }
        (NoToken::Failing(_), true) => {
            "nothing is wrong with the settings: the platform's endpoint for \
             tokens fails or is slow. It is asked again each second; if it lasts, restart the app, and \
             look at Azure's status"
        }
        (NoToken::Refused(_) | NoToken::Failing(_), false) => {
            "log in with `az login` or `azd auth login`, as the user that DATABASE_URL names"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(hindrance: &Hindrance) -> String {
        let login =
            Login { is_entra: false, has_password: true, is_plain: false, port: Some(5432) };
        of(hindrance, &login).into_owned()
    }

    fn server(code: &str, routine: &str) -> Hindrance {
        let routine = Some(routine.to_owned());
        Hindrance::Server { code: code.to_owned(), routine, message: String::new() }
    }

    /// Case 270: each reason of a server to refuse a login has a remedy of its own.
    #[test]
    fn each_code_has_its_remedy() {
        for (code, routine, words) in [
            ("42501", "", "grant connect on database"),
            ("55000", "", "allow_connections true"),
            ("3D000", "", "create the database"),
            ("53300", "InitializeSessionUserId", "alter role ROLE connection limit"),
            ("53300", "CheckMyDatabase", "alter database NAME connection limit"),
            ("53300", "InitPostgres", "raise max_connections"),
            ("57P03", "", "starts, stops or recovers"),
            ("28P01", "auth_failed", "user or password"),
            ("28000", "ClientAuthentication", "pg_hba.conf"),
            ("28000", "InitializeSessionUserId", "create role"),
            ("XX000", "", "its own log has more"),
        ] {
            let said = remedy(&server(code, routine));
            assert!(said.contains(words), "{code} {routine}: {said}");
            assert!(!said.contains("firewall"), "the server has answered: {said}");
        }
    }

    /// Cases 271, 272: TLS that does not come about, and what is there in place of a server.
    #[test]
    fn each_step_of_a_login_has_its_remedy() {
        let text = || "text".to_owned();
        for (hindrance, words) in [
            (Hindrance::NoTls, "switch TLS on"),
            (Hindrance::Untrusted(text()), "sslrootcert=FILE"),
            (Hindrance::OtherName(text()), "as the certificate does"),
            (Hindrance::OutOfDate(text()), "renew"),
            (Hindrance::Closed(text()), "nothing listens at port 5432"),
            (Hindrance::Silent(5), "firewall let port 5432 through"),
            (Hindrance::OtherProtocol(text()), "another program listens"),
            (Hindrance::Dropped(text()), "hangs up"),
            (Hindrance::Name(text()), "correct the host"),
        ] {
            let said = remedy(&hindrance);
            assert!(said.contains(words), "{hindrance}: {said}");
        }
    }
}
