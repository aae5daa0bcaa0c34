//! Why a command failed: for people a line, for programs a word that stays, what is wrong and what to do.

use crate::{list, submit::SubmitError};
use chunk_handler::{
    jobs::ExtendError,
    process,
    redact::cause_chain,
    settings::Violation,
    state::{self, Database, Hindrance},
    storage,
};
use clap::ValueEnum;
use serde_json::json;
use std::process::ExitCode;

/// The exit code of wrong arguments and settings.
pub(crate) const USAGE: u8 = 2;
/// Who names each cause with its remedy.
const ASK_DOCTOR: &str = "`chunkctl doctor` says what to do";

/// What kind of failure it is, as programs read it. A word stays what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Code {
    /// Arguments that the command line does not take.
    #[value(name = "usage")]
    Usage,
    /// Settings that are missing or out of their bounds.
    #[value(name = "settings")]
    Settings,
    /// No such job.
    #[value(name = "job_unknown")]
    JobUnknown,
    /// No such chunk in the job.
    #[value(name = "chunk_unknown")]
    ChunkUnknown,
    /// The job is known with another list or other options.
    #[value(name = "job_differs")]
    JobDiffers,
    /// The job takes no more chunks, or not so many.
    #[value(name = "job_refuses")]
    JobRefuses,
    /// A control command that changed nothing.
    #[value(name = "nothing_changed")]
    NothingChanged,
    /// The list is none, or cannot be read.
    #[value(name = "list_refused")]
    ListRefused,
    /// The directory or file is not to be written to, or has nothing of a job.
    #[value(name = "directory_refused")]
    DirectoryRefused,
    /// Database and storage are of different fleets.
    #[value(name = "other_fleet")]
    OtherFleet,
    /// The schema is missing or old.
    #[value(name = "schema")]
    Schema,
    /// The database cannot be asked right now.
    #[value(name = "database_away")]
    DatabaseAway,
    /// The database refused what was asked.
    #[value(name = "database_refused")]
    DatabaseRefused,
    /// Storage cannot be asked right now.
    #[value(name = "storage_away")]
    StorageAway,
    /// A blob, queue or container is not there.
    #[value(name = "storage_missing")]
    StorageMissing,
    /// Storage refused what was asked.
    #[value(name = "storage_refused")]
    StorageRefused,
    /// Somebody stopped it.
    #[value(name = "interrupted")]
    Interrupted,
    /// Everything else.
    #[value(name = "failed")]
    Failed,
}

impl Code {
    fn word(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// An error that was given its code where it arose. Its text is `what is wrong; what to do`, as that of
/// all errors here.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Coded {
    pub(crate) code: Code,
    pub(crate) text: String,
}

/// `bail!` with a code.
macro_rules! bail_as {
    ($code:ident, $($text:tt)*) => {
        return Err($crate::failure::Coded {
            code: $crate::failure::Code::$code,
            text: format!($($text)*),
        }
        .into())
    };
}
pub(crate) use bail_as;

/// A failure as it is told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: Code,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// What an error says.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let code = code_of(error);
        let outermost = error.to_string();
        let causes = cause_chain(&**error);
        let causes = causes.get(outermost.len()..).filter(|_| causes.starts_with(&outermost));
        let (what, hint) = match outermost.split_once("; ") {
            Some((what, hint)) => (what.to_owned(), Some(hint.to_owned())),
            None => (outermost, None),
        };
        let away = [Code::DatabaseAway, Code::DatabaseRefused, Code::StorageAway];
        let is_for_doctor = away.contains(&code) || code == Code::StorageRefused;
        let hint = hint.or_else(|| is_for_doctor.then(|| ASK_DOCTOR.to_owned()));
        Self { code, message: format!("{what}{}", causes.unwrap_or_default()), hint }
    }

    /// The same with the place of the database, once, and why nobody can log in there.
    pub(crate) async fn of_run(error: &anyhow::Error, database: &Database) -> Self {
        let mut failure = Self::of(error);
        let Some(cause) = state_error(error) else { return failure };
        let place = format!("Postgres at {}", database.place());
        // The pool has one word for every login that does not come about.
        let hindrance = match cause.is_away() {
            true => database.try_login().await.err(),
            false => None,
        };
        // Behind one the server says that statements or tables are not there.
        if hindrance.is_none()
            && let Err(pooler @ state::Error::TransactionPooler) =
                database.refuse_transaction_pooler().await
        {
            let told = Self::of(&pooler.into());
            return Self { message: format!("{place}: {}", told.message), ..told };
        }
        failure.message = match (hindrance, cause.hindrance()) {
            (Some(Hindrance::Server { code, message, .. }), _) => {
                format!("{place}: no login: {message} ({code})")
            }
            (Some(hindrance), _) => format!("{place}: {hindrance}"),
            (None, Some(Hindrance::Server { code, message, .. })) => {
                let what = cause.to_string();
                let what = what.split("; ").next().unwrap_or_default();
                format!("{place}: {what}: {message} ({code})")
            }
            (None, _) => format!("{place}: {}", failure.message),
        };
        failure.hint.get_or_insert_with(|| ASK_DOCTOR.to_owned());
        failure
    }

    /// A run that somebody stopped.
    pub(crate) fn interrupted(message: String, hint: &str) -> Self {
        Self { code: Code::Interrupted, message, hint: Some(hint.to_owned()) }
    }

    fn as_json(&self) -> serde_json::Value {
        let Self { code, message, hint } = self;
        json!({"error": {"code": code.word(), "message": message, "hint": hint}})
    }

    fn as_text(&self) -> String {
        let what = match &self.hint {
            Some(hint) => format!("{}; {hint}", self.message),
            None => self.message.clone(),
        };
        match self.code {
            Code::Interrupted => what,
            _ => format!("error: {what}"),
        }
    }

    /// Tells it on stderr, as JSON where the command was to speak JSON.
    pub(crate) fn tell(&self, json: bool) {
        if json {
            eprintln!("{}", self.as_json());
        } else {
            eprintln!("{}", self.as_text());
        }
    }
}

/// Tells of settings that cannot be used: a line for each of them.
pub(crate) fn tell_violations(violations: &[Violation], json: bool) -> ExitCode {
    if json {
        let all: Vec<String> = violations.iter().map(ToString::to_string).collect();
        let hint = "correct what is named; `chunkctl doctor` says what to set first".to_owned();
        Failure { code: Code::Settings, message: all.join("; "), hint: Some(hint) }.tell(true);
    } else {
        violations.iter().for_each(|violation| eprintln!("{violation}"));
    }
    ExitCode::from(USAGE)
}

/// Tells of arguments that are none, or shows the help or the version that was asked for.
pub(crate) fn tell_usage(error: &clap::Error, json: bool) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(USAGE);
    if !json || code == 0 {
        // Colour is clap's to decide: none where no terminal is, or NO_COLOR is set.
        error.print().unwrap_or_default();
        return ExitCode::from(code);
    }
    Failure::of_usage(&error.to_string()).tell(true);
    ExitCode::from(code)
}

/// Tells of arguments that clap takes and no command does.
pub(crate) fn tell_wrong(message: String, hint: String, json: bool) -> ExitCode {
    Failure { code: Code::Usage, message, hint: Some(hint) }.tell(json);
    ExitCode::from(USAGE)
}

impl Failure {
    /// What clap says in paragraphs: what is wrong, tips, the usage, where to look.
    fn of_usage(text: &str) -> Self {
        let line = |part: &str| part.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut parts = text.split("\n\n").map(line);
        let first = parts.next().unwrap_or_default();
        let (message, hint) = match first.strip_prefix("error: ") {
            Some(message) => {
                let tip = parts.find_map(|part| Some(part.strip_prefix("tip: ")?.to_owned()));
                (message.to_owned(), tip)
            }
            // Without a command it is the help that clap has.
            None => ("a command is missing".to_owned(), None),
        };
        let hint = hint.unwrap_or_else(|| "`--help` shows what can be said".to_owned());
        Self { code: Code::Usage, message, hint: Some(hint) }
    }
}

/// The first error of a type in a chain.
fn found<E: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&E> {
    error.downcast_ref().or_else(|| error.chain().find_map(|cause| cause.downcast_ref()))
}

fn process_error(error: &anyhow::Error) -> Option<&process::Error> {
    // What is transparent hides what it holds from the chain.
    if let Some(SubmitError::Failed(inner)) = found(error) {
        return Some(inner);
    }
    if let Some(ExtendError::Failed(inner)) = found(error) {
        return Some(inner);
    }
    found(error)
}

fn state_error(error: &anyhow::Error) -> Option<&state::Error> {
    match process_error(error) {
        Some(process::Error::State(inner)) => Some(inner),
        _ => found(error),
    }
}

fn storage_error(error: &anyhow::Error) -> Option<&storage::Error> {
    match process_error(error) {
        Some(process::Error::Storage(inner)) => Some(inner),
        _ => found(error),
    }
}

fn code_of(error: &anyhow::Error) -> Code {
    if let Some(coded) = found::<Coded>(error) {
        return coded.code;
    }
    if let Some(error) = state_error(error) {
        return match error {
            state::Error::Away { .. } => Code::DatabaseAway,
            state::Error::Migrate(_) => Code::Schema,
            state::Error::Refused { .. }
            | state::Error::Unstorable(_)
            | state::Error::LeaseLost(_)
            | state::Error::Degraded(_)
            | state::Error::TransactionPooler => Code::DatabaseRefused,
        };
    }
    if let Some(error) = storage_error(error) {
        return match error {
            storage::Error::Away { .. } => Code::StorageAway,
            storage::Error::Missing { .. } | storage::Error::NoContainer { .. } => {
                Code::StorageMissing
            }
            storage::Error::Refused { .. }
            | storage::Error::Blocked { .. }
            | storage::Error::Conflict { .. }
            | storage::Error::TooLarge { .. } => Code::StorageRefused,
        };
    }
    match found::<SubmitError>(error) {
        Some(
            SubmitError::OtherFile(_) | SubmitError::OtherOptions(..) | SubmitError::UsedNumber(..),
        ) => Code::JobDiffers,
        Some(SubmitError::TooManyChunks(_)) => Code::JobRefuses,
        Some(SubmitError::Option(_)) => Code::Usage,
        Some(_) => Code::ListRefused,
        None if found::<list::Error>(error).is_some() => Code::ListRefused,
        None => Code::Failed,
    }
}

#[cfg(test)]
mod tests;
