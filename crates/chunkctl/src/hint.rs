//! Commands that people try, and the one that they mean.

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

/// What is meant by a command that there is none of; none: nobody knows.
pub(crate) fn of(error: &Error) -> Option<String> {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let meant = meant(word)?;
    Some(format!("`{word}` is no command; you want `chunkctl {meant}`"))
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

    fn said(arguments: &[&str]) -> Option<String> {
        of(&Cli::try_parse_from(arguments).unwrap_err())
    }

    #[test]
    fn a_command_that_is_none_says_which_is_meant() {
        let expected = "`jobs` is no command; you want `chunkctl status`";
        assert_eq!(said(&["chunkctl", "jobs"]).as_deref(), Some(expected));
        let cancel = said(&["chunkctl", "--json", "cancel", "--job-id", "7"]).unwrap();
        assert!(cancel.ends_with("`chunkctl control cancel --job-id JOB`"), "{cancel}");
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
