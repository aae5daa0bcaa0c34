//! The programs with other file systems than the machine's: what doctor finds of memory and disk, and a
//! handler without `/etc/resolv.conf`.

use std::{path::Path, process::Command};
use support::{
    doctor::names,
    programs::{self, Output, chunkctl, run},
    rig::{Handler, Rig},
    verdict::verdicts,
};

/// Runs doctor where a command has mounted something that nobody else sees.
fn doctor(mount: &str, variables: &[(&str, &str)]) -> Output {
    let script = format!("{mount} && exec {} --json doctor", chunkctl());
    let path = std::env::var("PATH").unwrap();
    let variables = [&[("PATH", path.as_str())], variables].concat();
    run("unshare", &["--mount", "sh", "-c", &script], &variables, Path::new("/"))
}

/// P4: the memory limit is that of the process's own group, whichever version; two words mean none.
pub async fn the_memory_limit_comes_from_the_control_group() {
    let found = |file: &str, text: &str| {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(file.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        let root = root.path().to_str().unwrap();
        // Nothing listens there: what doctor finds of the machine is enough.
        let variables = [
            ("DATABASE_URL", "postgres://someone:hush@127.0.0.1:1/nowhere"),
            ("ChunkStorage", "UseDevelopmentStorage=true"),
            ("PIXCRAWLER_LEASE_SECONDS", "4"),
        ];
        doctor(&format!("mount --bind {root} /sys/fs/cgroup"), &variables)
    };
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let v2 = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("");
    let v1 = groups.lines().find_map(|line| line.split_once(":memory:")).map_or("", |(_, p)| p);
    let (v2, v1) = (format!("{v2}/memory.max"), format!("memory{v1}/memory.limit_in_bytes"));
    for (file, text, wanted) in [
        (&v2, "536870912\n", "512 MB"),
        (&v2, "max\n", "none"),
        (&v1, "268435456\n", "256 MB"),
        (&v1, "9223372036854771712\n", "none"),
    ] {
        let output = found(file, text);
        let checks = output.json()["checks"].clone();
        let mut checks = checks.as_array().unwrap().iter();
        let memory = checks.find(|check| check["what"] == "memory limit").unwrap();
        assert_eq!(memory["found"], wanted, "{file} {text:?}");
    }
}

/// X25: a temp directory on a disk that is too small.
pub async fn doctor_names_a_full_temp_directory() {
    let rig = Rig::new().await;
    assert_eq!(rig.chunkctl(&["migrate"]).code, Some(0));
    let small = rig.temp.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let small = small.to_str().unwrap();
    let environment = rig.environment();
    let mut variables: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    variables.push(("PIXCRAWLER_TEMP_DIR", small));
    let answer = doctor(&format!("mount -t tmpfs -o size=4m tmpfs {small}"), &variables);
    names(&answer, "temp space", &["4 MB free", "PIXCRAWLER_TEMP_DIR"]);
}

/// A machine that names no name server: the handler starts, says so, and does what needs no name.
pub async fn a_handler_without_name_servers_starts_and_says_so() {
    let rig = Rig::new().await;
    let path = std::env::var("PATH").unwrap();
    for resolv in ["", "# nothing\n", "nameserver \u{0}\u{1}x\n"] {
        let file = rig.temp.path().join("resolv.conf");
        std::fs::write(&file, resolv).unwrap();
        let script = "mount --bind \"$1\" /etc/resolv.conf && exec \"$0\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, &programs::handler()]).arg(&file);
        let handler = Handler::spawn_by(command, rig.environment(), &[("PATH", &path)]);
        handler.answers().await;
        handler.line("/etc/resolv.conf names no server").await;
        handler.line("ready").await;
        if resolv.is_empty() {
            assert_eq!(verdicts(&rig, &handler, 1, &rig.pictures(2)).await, ["valid"; 2]);
        }
    }
}
