//! The memory that the container gives, as its control group says.

use std::path::Path;

/// The container's memory limit below a root of the file system: control groups version 2, then
/// version 1, of this process's own group, then of the whole container.
pub(super) fn memory_limit(root: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let v2 = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let v1 = groups.lines().find_map(|line| line.split_once(":memory:").map(|(_, path)| path));
    let candidates = [
        format!("sys/fs/cgroup{v2}/memory.max"),
        "sys/fs/cgroup/memory.max".to_owned(),
        format!("sys/fs/cgroup/memory{}/memory.limit_in_bytes", v1.unwrap_or("")),
        "sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    candidates.iter().find_map(|path| read_limit(&root.join(path)))
}

/// "max" and the huge number of version 1 both mean no limit.
fn read_limit(path: &Path) -> Option<u64> {
    let bytes: u64 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    (bytes < 1 << 60).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn limit_of(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        memory_limit(root.path())
    }

    /// F15 X9 P4 PR1: version 2 before version 1, the own group before the container, and neither way to
    /// say "no limit" is a number.
    #[test]
    fn the_memory_limit_is_that_of_the_control_group() {
        let own = ("proc/self/cgroup", "0::/app\n");
        let v2 = |text| ("sys/fs/cgroup/app/memory.max", text);
        let v1 = ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "2147483648\n");
        assert_eq!(limit_of(&[own, v2("1073741824\n"), v1]), Some(1 << 30));
        assert_eq!(limit_of(&[own, v2("max\n")]), None);
        assert_eq!(limit_of(&[own, ("sys/fs/cgroup/memory.max", "5000\n")]), Some(5000));
        let old = ("proc/self/cgroup", "4:memory:/a\n3:cpu:/\n");
        assert_eq!(limit_of(&[old, v1]), Some(2 << 30));
        let unlimited = "sys/fs/cgroup/memory/memory.limit_in_bytes";
        assert_eq!(limit_of(&[old, (unlimited, "9223372036854771712\n")]), None);
        assert_eq!(limit_of(&[]), None);
    }
}
