//! A host that dies in the moment that it has started its handler, and the orphans that it may leave.

use crate::{
    fault::machines,
    machine::Machine,
    plan::{Dice, Fault},
    site::Site,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long a handler that nobody ever asked for anything waits for a host.
const PATIENCE: Duration = Duration::from_secs(75);

pub async fn kill_at_birth(site: &Site, dice: &mut Dice) {
    for machine in machines(site, dice) {
        let Some(_turn) = machine.turn() else { continue };
        let Some(old) = machine.host() else { continue };
        if !machine.kill_host() {
            continue;
        }
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end {
            // Somebody else starts it again.
            if machine.host() != Some(old) && is_born(machine) {
                sleep(dice.millis(0, 50)).await;
                if machine.kill_host() {
                    site.tally.count(Fault::Birth);
                }
                return;
            }
            sleep(Duration::from_millis(2)).await;
        }
        return;
    }
}

fn is_born(machine: &Machine) -> bool {
    machine
        .host()
        .is_some_and(|host| children_of_hosts().any(|(_, parent)| parent == host.as_raw()))
}

/// Processes and their parents.
fn children_of_hosts() -> impl Iterator<Item = (i32, i32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        Some((pid, rest.split(' ').nth(1)?.parse().ok()?))
    })
}

/// The handlers of this round whose parent is no host of it.
fn orphans(site: &Site) -> BTreeSet<i32> {
    let hosts: BTreeSet<_> =
        site.machines.iter().filter_map(Machine::host).map(Pid::as_raw).collect();
    let temp = site.rig.temp.path().display().to_string();
    let is_ours = |pid: i32| {
        let place = Path::new("/proc").join(pid.to_string());
        let program = fs::read_link(place.join("exe")).unwrap_or_default();
        // The environment is how a handler of this round is known: it is not printed.
        let environment = fs::read(place.join("environ")).unwrap_or_default();
        program.ends_with("handler") && String::from_utf8_lossy(&environment).contains(&temp)
    };
    let all = children_of_hosts().filter(|(_, parent)| !hosts.contains(parent));
    all.map(|(pid, _)| pid).filter(|pid| is_ours(*pid)).collect()
}

/// H3: handlers whose host is gone go too; what is left is ended.
pub async fn left(site: &Site) -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    while !orphans(site).is_empty() && Instant::now() < end {
        sleep(Duration::from_millis(250)).await;
    }
    let left = orphans(site);
    for pid in &left {
        // It may end just now.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    left.iter().map(|pid| format!("H3: handler {pid} outlived its host by {PATIENCE:?}")).collect()
}
