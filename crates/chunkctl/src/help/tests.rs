use super::*;
use clap::{Arg, error::ErrorKind};

/// Every command with the words that lead to it, but for the `help` that clap adds itself.
fn all() -> Vec<(Vec<String>, Command)> {
    fn below(path: Vec<String>, command: &Command, found: &mut Vec<(Vec<String>, Command)>) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            below([&path[..], &[sub.get_name().to_owned()]].concat(), sub, found);
        }
        found.push((path, command.clone()));
    }
    let mut command = command();
    command.build();
    let mut found = Vec::new();
    below(vec!["chunkctl".to_owned()], &command, &mut found);
    found
}

fn long_help(command: &Command) -> String {
    command.clone().render_long_help().to_string()
}

/// The paragraphs of an option in the help, as one line.
fn help_of(command: &Command, arg: &Arg) -> String {
    let help = long_help(command);
    let name = arg.get_long().map_or_else(|| arg.to_string(), |long| format!("--{long}"));
    let is_head = |line: &&str| {
        let words = line.trim_start().trim_start_matches(|c: char| "-hV, ".contains(c));
        line.starts_with("  ")
            && words.split([' ', '=']).next() == Some(name.trim_start_matches('-'))
    };
    let mut lines = help.lines().skip_while(|line| !is_head(line));
    let head = lines.next().unwrap_or_else(|| panic!("{name} is not in the help:\n{help}"));
    let more = lines.take_while(|line| line.trim().is_empty() || line.starts_with("          "));
    [head].into_iter().chain(more).collect::<Vec<_>>().join(" ")
}

/// Numbers in a text, the largest of 64 bits as people write it.
fn numbers(text: &str) -> Vec<String> {
    let text = text.replace(&i64::MAX.to_string(), "").replace(&u64::MAX.to_string(), "");
    let parts = text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// What is said of a value of an option that is not taken; none: it is taken, so far.
fn refused(path: &[String], arg: &Arg, value: &str) -> Option<String> {
    let option = arg.get_long().map(|long| format!("--{long}={value}"))?;
    let line = [path, &[option]].concat();
    let error = command().try_get_matches_from(line).err()?;
    let text = error.to_string();
    (error.kind() == ErrorKind::ValueValidation).then(|| {
        let said = text.split(": ").skip(2).collect::<Vec<_>>().join(": ");
        said.split("\n\n").next().unwrap_or_default().trim_start_matches(value).to_owned()
    })
}

/// Defaults, and the first thing that is wrong with an option's help.
fn fault(path: &[String], command: &Command, arg: &Arg) -> Option<String> {
    let help = help_of(command, arg);
    for default in arg.get_default_values() {
        let shown = format!("[default: {}]", default.to_string_lossy());
        // Flags have one that nobody sees.
        if arg.get_action().takes_values() && !help.contains(&shown) {
            return Some(format!("does not show {shown}"));
        }
    }
    if !arg.get_action().takes_values() || !arg.get_possible_values().is_empty() {
        return None;
    }
    // What takes any text, or no number at all, has no bounds.
    refused(path, arg, "no-number")?;
    if ["1", "5", "200"].iter().all(|number| refused(path, arg, number).is_some()) {
        return None;
    }
    let said: Vec<String> =
        ["-1", "0", "123456789123456789123"].iter().filter_map(|v| refused(path, arg, v)).collect();
    let bounds: Vec<String> = said.iter().flat_map(|said| numbers(said)).collect();
    if bounds.is_empty() {
        return Some(format!("is a number without bounds: {said:?}"));
    }
    let shown = numbers(&help);
    let missing = bounds.iter().find(|bound| !shown.contains(bound))?;
    Some(format!("has a bound {missing} that its help lacks: {help}"))
}

/// Every `--help` has examples, the exit codes, and the default and the bounds of each option.
#[test]
fn every_help_has_examples_exit_codes_defaults_and_bounds() {
    let mut faults = Vec::new();
    let commands = all();
    assert!(commands.len() > 14, "only {} commands were found", commands.len());
    for (path, command) in &commands {
        let (name, help) = (path.join(" "), long_help(command));
        let examples = help.split("\nExamples:\n").nth(1).unwrap_or_default();
        let example = examples.lines().next().unwrap_or_default();
        if !example.contains("chunkctl ") {
            faults.push(format!("{name}: no examples"));
        }
        if !help.contains(EXIT_CODES) {
            faults.push(format!("{name}: no exit codes"));
        }
        let own = |arg: &&Arg| !["help", "version"].contains(&arg.get_id().as_str());
        for arg in command.get_arguments().filter(own) {
            faults
                .extend(fault(path, command, arg).map(|f| format!("{name} {}: {f}", arg.get_id())));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The examples are lines that the command takes.
#[test]
fn every_example_can_be_typed() {
    let mut n_examples = 0;
    for (path, command) in all() {
        let help = long_help(&command);
        let examples = help.split("Examples:\n").nth(1).unwrap_or_default();
        let lines = examples.lines().take_while(|line| line.starts_with("  "));
        let calls = lines.flat_map(|line| line.split(['|', '>', '&']));
        for call in calls.map(str::trim).filter(|call| call.starts_with("chunkctl ")) {
            let words = call.split_whitespace().map(|word| word.trim_matches('\''));
            if let Err(error) = super::command().try_get_matches_from(words) {
                panic!("{}: {call}: {error}", path.join(" "));
            }
            n_examples += 1;
        }
    }
    assert!(n_examples > 30, "only {n_examples} examples were found");
}

/// What is nearly a command is told from one.
#[test]
fn a_slip_names_the_command_that_is_meant() {
    for (slip, meant) in [("stauts", "'status'"), ("verfiy", "'verify'"), ("cancel", "")] {
        let error = command().try_get_matches_from(["chunkctl", slip]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(meant), "{error}");
    }
}

/// What `--version` says: the program, its version, its commit and the schema.
#[test]
fn the_version_names_commit_and_schema() {
    let said = command().render_version();
    let start = format!("chunkctl {} (commit ", env!("CARGO_PKG_VERSION"));
    let rest = said.strip_prefix(&start).unwrap_or_else(|| panic!("{said}"));
    let (commit, schema) = rest.trim_end().split_once(", schema ").unwrap();
    let is_commit = commit.len() == 12 && commit.chars().all(|c| c.is_ascii_hexdigit());
    assert!(is_commit || commit == "unknown", "{commit}");
    assert_eq!(schema, format!("{})", Database::known_schema_version()));
}
