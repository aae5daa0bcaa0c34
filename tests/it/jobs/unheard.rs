//! What is found stays found where nobody reads it: the exit code says it.

use super::fetch::{fetch, job, small, target};
use std::{
    fs::{self, File},
    process::{Command, Stdio},
};
use support::{programs, rig::Rig};

/// `verify --from` of the fetched directory.
fn verify(rig: &Rig) -> Command {
    let mut command = Command::new(programs::chunkctl());
    command.env_clear().args(["verify", "--from"]).arg(target(rig));
    command
}

/// A reader that is gone, or a full disk, makes no damaged dataset whole; and what could not be written is
/// an error, also of a whole one.
#[tokio::test(flavor = "multi_thread")]
async fn a_finding_that_nobody_reads_is_a_finding() {
    let rig = Rig::new().await;
    let _handler = job(&rig, 1, 2, small).await;
    fetch(&rig);
    let full = || File::options().write(true).open("/dev/full").unwrap();
    let code = |stdout: Stdio, stderr: Stdio| {
        let output = verify(&rig).stdout(stdout).stderr(stderr).spawn().unwrap();
        output.wait_with_output().unwrap().status.code()
    };
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    assert_eq!(code(closed(), closed()), Some(0));
    assert_eq!(code(full().into(), Stdio::null()), Some(1));
    let output = verify(&rig).stdout(full()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("the result was not written to stdout: No space left"), "{said}");
    let shard = target(&rig).join("chunks/chunk_00000.tar");
    let mut bytes = fs::read(&shard).unwrap();
    bytes[700] ^= 1;
    fs::write(&shard, bytes).unwrap();
    assert_eq!(code(closed(), closed()), Some(1));
    assert_eq!(code(full().into(), full().into()), Some(1));
    // An error is no panic, either.
    fs::remove_dir_all(target(&rig)).unwrap();
    assert_eq!(code(closed(), closed()), Some(1));
}

/// A watch that nobody reads ends, and does not say that its job completed.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_nobody_reads_ends() {
    let rig = Rig::new().await;
    let list = rig.list("1.txt", &rig.pictures(1));
    let submit = ["submit", "--job-id", "1", "--urls", list.to_str().unwrap()];
    assert_eq!(rig.chunkctl(&submit).code, Some(0));
    for (job, code) in [(&["--job-id", "1"][..], 1), (&[], 0)] {
        let mut command = Command::new(programs::chunkctl());
        command.env_clear().envs(rig.environment()).args(["status", "--watch", "--json"]);
        let mut watch = command.args(job).stdout(Stdio::piped()).spawn().unwrap();
        drop(watch.stdout.take());
        let ended = tokio::task::spawn_blocking(move || watch.wait()).await.unwrap().unwrap();
        assert_eq!(ended.code(), Some(code), "{job:?}");
    }
}
