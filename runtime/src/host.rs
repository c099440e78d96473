//! Checks of this process itself: its configuration, its key, its memory.
//!
//! A check reads files, so it runs on a blocking thread. There is one check at a time, even if a dead disk blocks it.

use crate::config;
use crate::ports;
use crate::store::Damage;
use engine::Identity;
use engine::health::{DiskSpace, HostFacts};
use engine::identity::Domain;
use nix::sys::statvfs::statvfs;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// The host port of this process.
#[derive(Debug)]
pub struct ThisProcess {
    config_file: Arc<PathBuf>,
    identity: Arc<Identity>,
    damage: Damage,
    storage: Arc<PathBuf>,
    looks: bool,
    found: (mpsc::Sender<HostFacts>, mpsc::Receiver<HostFacts>),
}

impl ThisProcess {
    /// Creates the port for a node with this configuration file and key, whose store is in the directory `storage`.
    /// `damage` lists what the store finds damaged.
    pub fn new(config_file: PathBuf, identity: Identity, damage: Damage, storage: PathBuf) -> Self {
        let (config_file, identity, storage) = (Arc::new(config_file), Arc::new(identity), Arc::new(storage));
        Self { config_file, identity, damage, storage, looks: false, found: mpsc::channel(1) }
    }
}

impl ports::Host for ThisProcess {
    fn examine(&mut self) {
        if std::mem::replace(&mut self.looks, true) {
            return;
        }
        let (config_file, identity) = (Arc::clone(&self.config_file), Arc::clone(&self.identity));
        let (found, damage, storage) = (self.found.0.clone(), self.damage.clone(), Arc::clone(&self.storage));
        tokio::task::spawn_blocking(move || {
            let disk = disk_space(&storage);
            let facts = HostFacts { records_damaged: damage.count(), disk, ..look(&config_file, &identity) };
            // Nobody receives this if the node has ended.
            let _ = found.blocking_send(facts);
        });
    }

    async fn next(&mut self) -> HostFacts {
        // The sender lives as long as this, so there is always a next report.
        let facts = match self.found.1.recv().await {
            Some(facts) => facts,
            None => std::future::pending().await,
        };
        self.looks = false;
        facts
    }
}

fn look(config_file: &Path, identity: &Identity) -> HostFacts {
    let begun = Instant::now();
    let signature = identity.sign(Domain::SelfCheck, b"health");
    let signs = identity.public_key().verifies(Domain::SelfCheck, b"health", &signature);
    let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    HostFacts {
        config_readable: config::read_again(config_file).is_ok(),
        // A key that does not sign never returns.
        crypto_micros: if signs { took } else { u64::MAX },
        memory_bytes: memory_bytes(std::process::id()),
        records_damaged: 0,
        disk: None,
    }
}

/// Returns the space on the disk of a directory, without what only the superuser may use.
pub fn disk_space(directory: &Path) -> Option<DiskSpace> {
    let space = statvfs(directory).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(space.fragment_size());
    let used = space.blocks().saturating_sub(space.blocks_free());
    let bytes_free = bytes(space.blocks_available());
    Some(DiskSpace { bytes_free, bytes_total: bytes(used).saturating_add(bytes_free) })
}

/// Raises the limit of open files as far as the system allows, up to a maximum. Connections are files.
///
/// # Errors
/// The error of the system; the limit is then unchanged.
pub fn raise_open_files_limit() -> std::io::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard.min(OPEN_FILES_WANTED).max(soft), hard)?)
}

/// Returns the number of open files of a process. Those of another one may be known to root alone.
pub fn open_files(process: u32) -> Option<u64> {
    let count = fs::read_dir(format!("/proc/{process}/fd")).ok()?.count();
    // The directory that is read is open itself.
    let own = usize::from(process == std::process::id());
    u64::try_from(count.saturating_sub(own)).ok()
}

/// Returns the memory of a process and its children that the system cannot reclaim. Mapped files, such as weights, do
/// not count.
pub fn memory_bytes(process: u32) -> u64 {
    let own = fs::read_to_string(format!("/proc/{process}/status")).map_or(0, |text| held(&text));
    children(process).map(memory_bytes).fold(own, u64::saturating_add)
}

fn held(status: &str) -> u64 {
    ["RssAnon:", "RssShmem:"].iter().filter_map(|name| kilobytes(status, name)).sum()
}

/// Returns the memory of the machine that programs can still use; `None` if the system does not tell.
pub fn memory_available() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// Returns the value of a line such as `VmRSS:  900 kB`, in bytes.
pub fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().trim_end_matches(" kB").parse::<u64>().ok()?.checked_mul(1024)
}

/// Returns the processor time in the text of `/proc/PID/stat`, in ticks.
pub fn cpu_ticks(stat: &str) -> Option<u64> {
    // After the program's name in brackets. The state is field 3; user and system time are fields 14 and 15.
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

/// Returns the child processes of a process.
pub fn children(process: u32) -> impl Iterator<Item = u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads
        .flat_map(|thread| {
            let text = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .take(CHILDREN_MAX)
}

/// Connections to the API and to peers, other files, and a reserve.
const OPEN_FILES_WANTED: u64 = 4096;
/// The same on every Linux (`getconf CLK_TCK`).
pub const TICKS_PER_SECOND: u64 = 100;
/// Maximum number of child processes to inspect.
const CHILDREN_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Host;

    #[test]
    fn memory_that_can_be_taken_back_is_not_held() {
        let status =
            "Name:\tx\nVmRSS:\t  900 kB\nRssAnon:\t  100 kB\nRssFile:\t 798 kB\nRssShmem:\t    2 kB\n";
        assert_eq!(held(status), 102 << 10);
        assert!(memory_bytes(std::process::id()) > 100 << 10);
        assert_eq!(memory_bytes(u32::MAX), 0);
    }

    #[test]
    fn processor_time_is_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 31 11 0 0 20 0 5 0 99 1000 200";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks("7 (x) S 1"), None);
    }

    #[tokio::test]
    async fn a_configuration_that_was_broken_since_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.json");
        fs::write(&file, "{}").unwrap();
        let key = Identity::from_secret(&[7; 32]);
        let storage = directory.path().to_owned();
        let mut host = ThisProcess::new(file.clone(), key, Damage::default(), storage);
        let mut look = async || {
            host.examine();
            host.examine();
            host.next().await
        };
        let well = look().await;
        assert!(well.config_readable && well.crypto_micros < 1_000_000 && well.memory_bytes > 0, "{well:?}");
        assert!(well.disk.is_some_and(|disk| (1..=disk.bytes_total).contains(&disk.bytes_free)), "{well:?}");
        fs::write(&file, "{").unwrap();
        assert!(!look().await.config_readable);
        fs::remove_file(&file).unwrap();
        assert!(!look().await.config_readable);
    }
}
