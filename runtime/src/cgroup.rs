//! The control group of this process: the memory limit of a container, and kills by the kernel for lack of memory.
//!
//! Both cgroup versions are read through `/proc/self/cgroup` and `/proc/self/mountinfo`; see cgroups(7) and
//! proc_pid_mountinfo(5). The limits of all parent groups apply as well. The configuration derives the default of
//! `max_memory_mb` from the limit.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// The memory limit of a control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// The limit.
    pub bytes: u64,
    /// The file that contains the limit.
    pub file: PathBuf,
}

/// Returns the lowest memory limit of this process's control group and its parents, if there is one.
pub fn memory_limit() -> Option<MemoryLimit> {
    Group::for_this_process()?.memory_limit()
}

/// Returns how many processes of this control group the kernel has killed for lack of memory.
pub fn oom_kills() -> Option<u64> {
    Group::for_this_process()?.oom_kills()
}

/// The control group that accounts for memory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    version: Version,
    /// The mount point of the topmost visible group.
    top: PathBuf,
    /// The directory of the group.
    directory: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Group {
    fn for_this_process() -> Option<Self> {
        Self::find(
            &fs::read_to_string("/proc/self/cgroup").ok()?,
            &fs::read_to_string("/proc/self/mountinfo").ok()?,
        )
    }

    /// Finds the group from the contents of the two files.
    fn find(groups: &str, mounts: &str) -> Option<Self> {
        // At most one of the two versions has the memory controller.
        let first = Self::for_version(Version::One, groups, mounts);
        first.or_else(|| Self::for_version(Version::Two, groups, mounts))
    }

    fn for_version(version: Version, groups: &str, mounts: &str) -> Option<Self> {
        let path = groups.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            let accounts = match version {
                Version::One => controllers.split(',').any(|name| name == "memory"),
                Version::Two => number == "0" && controllers.is_empty(),
            };
            accounts.then_some(path)
        })?;
        let (root, top) = mounts.lines().find_map(|line| {
            let (mount, filesystem) = line.split_once(" - ")?;
            let mut filesystem = filesystem.split(' ');
            let (kind, options) = (filesystem.next()?, filesystem.nth(1)?);
            let accounts = match version {
                Version::One => kind == "cgroup" && options.split(',').any(|name| name == "memory"),
                Version::Two => kind == "cgroup2",
            };
            let mut fields = mount.split(' ').skip(3);
            accounts.then_some((fields.next()?, fields.next()?))
        })?;
        let top = PathBuf::from(top);
        // A group outside the mount is not visible. The topmost one stands in for it.
        let below = Path::new(path).strip_prefix(root).unwrap_or_else(|_| Path::new(""));
        let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        let directory = if is_plain { top.join(below) } else { top.clone() };
        Some(Self { version, top, directory })
    }

    fn memory_limit(&self) -> Option<MemoryLimit> {
        let name = match self.version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        let groups = self.directory.ancestors().take_while(|group| group.starts_with(&self.top));
        let limits = groups.filter_map(|group| {
            let file = group.join(name);
            // Without a limit, version 2 says "max" and version 1 gives a number beyond any memory size.
            let bytes = read(&file)?.trim().parse().ok().filter(|bytes| *bytes < UNLIMITED)?;
            Some(MemoryLimit { bytes, file })
        });
        limits.min_by_key(|limit| limit.bytes)
    }

    fn oom_kills(&self) -> Option<u64> {
        let name = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = read(&self.directory.join(name))?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    }
}

fn read(file: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(file).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

const UNLIMITED: u64 = 1 << 60;
const FILE_BYTES_MAX: u64 = 16 << 10;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod tests {
    use super::*;

    const MOUNTS_ONE: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro,relatime master:2 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const MOUNTS_TWO: &str =
        "28 22 0:25 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - cgroup2 cgroup2 rw,nsdelegate\n";

    fn group(version: Version, top: &str, directory: &str) -> Option<Group> {
        Some(Group { version, top: top.into(), directory: directory.into() })
    }

    #[test]
    fn the_group_is_found_as_containers_show_it() {
        let memory = "/sys/fs/cgroup/memory";
        for (groups, directory) in [
            ("5:cpu:/x\n4:memory:/docker/abc\n0::/\n", memory.to_owned()),
            ("4:cpuset,memory:/docker/abc/inner\n", format!("{memory}/inner")),
            // In its own cgroup namespace, and in a sibling of the mounted group.
            ("4:memory:/\n", memory.to_owned()),
            ("4:memory:/docker/abc/../other\n", memory.to_owned()),
        ] {
            assert_eq!(Group::find(groups, MOUNTS_ONE), group(Version::One, memory, &directory), "{groups}");
        }
        let unified = "/sys/fs/cgroup";
        for (groups, directory) in [
            ("0::/\n", unified.to_owned()),
            ("0::/user.slice/app.scope\n", format!("{unified}/user.slice/app.scope")),
        ] {
            assert_eq!(Group::find(groups, MOUNTS_TWO), group(Version::Two, unified, &directory), "{groups}");
        }
        // Both versions at once, as systemd had it for a while: memory is with the first.
        let hybrid = Group::find("4:memory:/a\n0::/b\n", MOUNTS_ONE).unwrap();
        assert_eq!(hybrid.version, Version::One);
        for (groups, mounts) in [("", MOUNTS_TWO), ("0::/\n", ""), ("nonsense", "nonsense")] {
            assert_eq!(Group::find(groups, mounts), None);
        }
    }

    #[test]
    fn the_least_limit_of_all_groups_above_counts() {
        for (version, name, none) in [
            (Version::One, "memory.limit_in_bytes", "9223372036854771712\n"),
            (Version::Two, "memory.max", "max\n"),
        ] {
            let top = tempfile::tempdir().unwrap();
            let directory = top.path().join("outer/inner");
            fs::create_dir_all(&directory).unwrap();
            let group = Group { version, top: top.path().into(), directory: directory.clone() };
            assert_eq!(group.memory_limit(), None, "no files");
            let write = |place: &Path, text: &str| fs::write(place.join(name), text).unwrap();
            write(&directory, none);
            write(&top.path().join("outer"), none);
            assert_eq!(group.memory_limit(), None);
            write(&top.path().join("outer"), "268435456\n");
            let outer = MemoryLimit { bytes: 256 << 20, file: top.path().join("outer").join(name) };
            assert_eq!(group.memory_limit(), Some(outer.clone()));
            write(&directory, "536870912\n");
            assert_eq!(group.memory_limit(), Some(outer));
            write(&directory, "134217728\n");
            assert_eq!(group.memory_limit().unwrap().bytes, 128 << 20);
            write(&directory, "nonsense");
            assert_eq!(group.memory_limit().unwrap().bytes, 256 << 20);
        }
    }

    #[test]
    fn processes_that_were_killed_for_memory_are_counted() {
        let top = tempfile::tempdir().unwrap();
        let group = |version| Group { version, top: top.path().into(), directory: top.path().into() };
        fs::write(top.path().join("memory.events"), "low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\n").unwrap();
        assert_eq!(group(Version::Two).oom_kills(), Some(2));
        fs::write(top.path().join("memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
            .unwrap();
        assert_eq!(group(Version::One).oom_kills(), Some(4));
        fs::write(top.path().join("memory.oom_control"), "oom_kill_disable 0\nunder_oom 0\n").unwrap();
        assert_eq!(group(Version::One).oom_kills(), None, "older kernels do not count");
    }
}
