//! Commands that people try, and the one that they mean.

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// A word that is no command, and the command that it stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Meant<'a> {
    pub(crate) word: &'a str,
    pub(crate) command: &'static str,
}

/// What is meant by a command that there is none of; none: nobody knows.
pub(crate) fn of(error: &Error) -> Option<Meant<'_>> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    Some(Meant { word, command: meant(word)? })
}

fn meant(word: &str) -> Option<&'static str> {
    Some(match word {
        "jobs" | "list" | "ls" | "ps" | "fleet" | "queue" => "status",
        "job" | "show" | "describe" | "info" => "status JOB",
        "watch" | "top" | "follow" | "progress" => "status --watch",
        "chunks" | "chunk" | "attempts" => "status JOB --chunks",
        "rejected" | "dead-letters" | "poison" => "status --rejected",
        "cancel" | "stop" | "kill" | "abort" => "control cancel --job-id JOB",
        "close" | "finish" => "control close --job-id JOB",
        "retry" | "rerun" | "redo" => "control retry --job-id JOB",
        "pause" => "control pause",
        "resume" | "unpause" => "control resume",
        "sweep" => "control sweep",
        "extend" | "append" | "add" => "submit --extend --job-id JOB --urls FILE",
        "run" | "start" | "create" => "submit --job-id JOB --urls FILE",
        "download" | "pull" | "get" => "fetch --job-id JOB --to DIRECTORY",
        "check" => "verify --job-id JOB",
        "failures" | "errors" | "failed" => "urls --job-id JOB --status failed,invalid",
        "diagnose" | "health" => "doctor",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;
    use clap::{CommandFactory as _, Parser as _};

    fn said(arguments: &[&str]) -> Option<&'static str> {
        of(&Cli::try_parse_from(arguments).unwrap_err()).map(|meant| meant.command)
    }

    #[test]
    fn a_command_that_is_none_says_which_is_meant() {
        assert_eq!(said(&["chunkctl", "jobs"]), Some("status"));
        let cancel = said(&["chunkctl", "--json", "cancel", "--job-id", "7"]);
        assert_eq!(cancel, Some("control cancel --job-id JOB"));
        assert_eq!(said(&["chunkctl", "dance"]), None);
        assert_eq!(said(&["chunkctl", "status", "--dance"]), None);
    }

    /// None of the words became a command meanwhile, and what is meant is one.
    #[test]
    fn what_is_meant_is_a_command() {
        let commands: Vec<_> =
            Cli::command().get_subcommands().map(|it| it.get_name().to_owned()).collect();
        let source = include_str!("hint.rs");
        let words = source.split("Some(match word {").nth(1).unwrap().split("_ =>").next().unwrap();
        for line in words.lines().filter(|line| line.contains("=>")) {
            let (tried, meant) = line.split_once("=>").unwrap();
            for word in tried.split('"').skip(1).step_by(2) {
                assert!(!commands.contains(&word.to_owned()), "{word} is a command");
            }
            let meant = meant.split('"').nth(1).unwrap().split(' ').next().unwrap();
            assert!(commands.contains(&meant.to_owned()), "{meant} is no command");
        }
    }
}
