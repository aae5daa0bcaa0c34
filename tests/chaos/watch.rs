//! What is looked at all through a round: slots, temp space, memory, and a listener nobody may meet.

use crate::{machine::TEMP_BUDGET_BYTES, site::Site};
use anyhow::Result;
use nix::{sys::signal::kill, unistd::Pid};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use support::invariants;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// I10: what a handler may ever hold.
pub const MEMORY_CAP_KB: u64 = 256 * 1024;
/// How long a process may live on after it removed its own directory.
const LAST_MOMENTS: Duration = Duration::from_secs(8);

/// I12: a listener that no guarded client may connect to.
pub struct Canary {
    port: u16,
    met: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Canary {
    pub async fn listen() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let met = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&met);
        let task = tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(Self { port, met, task })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn violations(&self) -> Vec<String> {
        let met = self.met.load(Ordering::SeqCst);
        let found = format!("I12: {met} connections to a forbidden address");
        (met > 0).then_some(found).into_iter().collect()
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// I4: the limit in force, and what holds the slots above it, of one snapshot.
const ABOVE: &str = "
    select f.xmin::text, f.max_chunks, coalesce(array_agg(format('%s %s/%s', s.slot_no, s.job_id, s.chunk_index))
        filter (where s.slot_no is not null), '{}')
    from chunk_handler.fleet f left join chunk_handler.slot s
        on s.slot_no > f.max_chunks and s.job_id is not null
    group by f.xmin::text, f.max_chunks";

/// Version of the limit, the limit, slots above it with their chunks.
pub type Sample = (String, i32, Vec<String>);

/// The slots above the limit that are draining.
#[derive(Default)]
pub struct Above {
    /// Of the row with the limit: a look may miss that it was changed and changed back.
    version: String,
    held: BTreeSet<String>,
}

impl Above {
    /// While the limit stays as it is, no slot above it may be taken.
    pub fn look(&mut self, sample: Sample, found: &mut BTreeSet<String>) {
        let (version, limit, held) = sample;
        let held: BTreeSet<_> = held.into_iter().collect();
        if version == self.version {
            let taken = held.difference(&self.held);
            found.extend(taken.map(|slot| format!("I4: slot {slot} taken above limit {limit}")));
        }
        *self = Self { version, held };
    }
}

/// I4 until told to stop. The server may be away meanwhile.
pub async fn slots(site: Arc<Site>, stop: CancellationToken) -> Vec<String> {
    let (mut found, mut above) = (BTreeSet::new(), Above::default());
    while !stop.is_cancelled() {
        let (forgot, mut seen) = (site.forgot(), BTreeSet::new());
        let _ = invariants::look_at_slots(&site.pool, site.limit.into(), &mut seen).await;
        // A chunk that is deleted by hand leaves its slot until somebody reclaims that.
        seen.retain(|text| forgot == 0 || text.contains("above"));
        found.extend(seen);
        let sample: sqlx::Result<Sample> = sqlx::query_as(ABOVE).fetch_one(&site.pool).await;
        if let Ok((version, limit, held)) = sample {
            // A row that is put back has the version that it had.
            above.look((format!("{forgot} {version}"), limit, held), &mut found);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    found.into_iter().collect()
}

/// I6, I7 and I10 until told to stop.
pub async fn processes(site: Arc<Site>, stop: CancellationToken) -> Vec<String> {
    let shared = temp_root(&site);
    let (mut found, mut owners) = (BTreeSet::new(), Owners::default());
    while !stop.is_cancelled() {
        for machine in &site.machines {
            machine.revive();
            if let Some((pid, _)) = machine.handler() {
                found.extend(over_cap(pid, MEMORY_CAP_KB));
            }
        }
        owners.look(&directories(&shared), &mut found);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    found.into_iter().collect()
}

/// Where all handlers of a round keep their directories.
pub fn temp_root(site: &Site) -> PathBuf {
    site.rig.temp.path().join("pixcrawler-chunks")
}

/// The directories under the temp root, by the process in their name.
pub fn directories(shared: &Path) -> BTreeMap<i32, PathBuf> {
    let entries = fs::read_dir(shared).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path()).filter(|path| path.is_dir());
    paths.filter_map(|path| Some((owner(&path)?, path))).collect()
}

/// The process that a directory or a lock is named after.
pub fn owner(path: &Path) -> Option<i32> {
    path.file_name()?.to_str()?.split_once('-')?.0.parse().ok()
}

/// I10: the most memory that a process held so far, where the system tells.
pub fn over_cap(pid: Pid, cap_kb: u64) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let held: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    (held > cap_kb).then(|| format!("I10: a handler held more than {} MB", cap_kb / 1024))
}

/// The directories that were seen, and since when one is missing.
#[derive(Default)]
pub struct Owners(BTreeMap<i32, Option<Instant>>);

impl Owners {
    /// I6: each process stays within its budget. I7: none loses its directory while it lives.
    pub fn look(&mut self, now: &BTreeMap<i32, PathBuf>, found: &mut BTreeSet<String>) {
        for (pid, directory) in now {
            self.0.insert(*pid, None);
            if invariants::walk(directory) > TEMP_BUDGET_BYTES {
                found.insert(format!("I6: more than {TEMP_BUDGET_BYTES} temp bytes of a process"));
            }
        }
        self.0.retain(|pid, _| is_alive(*pid));
        for (pid, missing) in &mut self.0 {
            if now.contains_key(pid) {
                continue;
            }
            if missing.get_or_insert_with(Instant::now).elapsed() > LAST_MOMENTS {
                found.insert(format!("I7: process {pid} lives, and its directory was removed"));
            }
        }
    }
}

/// Whether a process is there and not only waits to be reaped.
pub fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let is_zombie = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z"));
    kill(Pid::from_raw(pid), None).is_ok() && !is_zombie
}
