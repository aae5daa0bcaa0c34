//! The completions in shells that are not on every machine, and colours on a terminal.

use std::path::Path;
use support::programs::{Output, chunkctl, run};

/// Runs a script of a shell beside the file `c`, which has its completions.
fn with_completions(shell: &str, arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let path = std::env::var("PATH").unwrap();
    let libraries = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let written = run(&chunkctl(), &["completions", shell], &[], directory.path());
    assert_eq!((written.code, &*written.stderr), (Some(0), ""), "{written:?}");
    std::fs::write(directory.path().join("c"), &written.stdout).unwrap();
    let home = directory.path().to_str().unwrap();
    let variables =
        [("PATH", &*path), ("HOME", home), ("LD_LIBRARY_PATH", &*libraries), ("LC_ALL", "C.UTF-8")];
    run(shell, arguments, &variables, directory.path())
}

/// zsh loads them without a complaint, and has them for `chunkctl`.
pub async fn zsh_takes_the_completions() {
    let script =
        "autoload -Uz compinit && compinit -u -D && source ./c && print ${_comps[chunkctl]}";
    let output = with_completions("zsh", &["-f", "-c", script]);
    assert_eq!((&*output.stdout, &*output.stderr), ("_chunkctl\n", ""), "{output:?}");
}

/// fish loads them without a complaint, and completes a command and an option with them.
pub async fn fish_takes_the_completions() {
    let script =
        "source ./c; complete -C 'chunkctl stat'; complete -C 'chunkctl control retry --ag'";
    let output = with_completions("fish", &["--no-config", "-c", script]);
    let words: Vec<&str> =
        output.stdout.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!((&words[..], &*output.stderr), (&["status", "--again"][..], ""), "{output:?}");
}

/// On a terminal a mistake is in colour, and with `NO_COLOR` it is not; its words are the same.
pub async fn colour_is_for_terminals_that_want_it() {
    let path = std::env::var("PATH").unwrap();
    let on_terminal = |more: &[(&str, &str)]| {
        let variables = [&[("PATH", &*path), ("TERM", "xterm-256color")], more].concat();
        let command = format!("{} stauts", chunkctl());
        run("script", &["-qec", &command, "/dev/null"], &variables, Path::new("/")).stdout
    };
    let (coloured, plain) = (on_terminal(&[]), on_terminal(&[("NO_COLOR", "1")]));
    assert!(coloured.contains("\u{1b}["), "{coloured:?}");
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    // Colour stands beside a word, never for it.
    let (mut words, mut is_colour) = (String::new(), false);
    for c in coloured.chars() {
        is_colour |= c == '\u{1b}';
        if !is_colour {
            words.push(c);
        }
        is_colour &= c != 'm';
    }
    assert_eq!(words, plain);
}
