//! What the system tells of processes: their memory and their children.

use std::fs;

/// Returns the memory that a process and its children hold and the system cannot take back: not what is mapped from
/// files, such as a model's weights.
pub fn memory_bytes(process: u32) -> u64 {
    let own = fs::read_to_string(format!("/proc/{process}/status")).map_or(0, |text| held(&text));
    children(process).map(memory_bytes).fold(own, u64::saturating_add)
}

fn held(status: &str) -> u64 {
    let line = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    ["RssAnon:", "RssShmem:"].iter().filter_map(|name| line(name)).sum::<u64>() << 10
}

/// Returns the processes that a process has started.
pub fn children(process: u32) -> impl Iterator<Item = u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads
        .flat_map(|thread| {
            let text = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .take(CHILDREN_MAX)
}

/// Children of one process that are looked at.
const CHILDREN_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_can_be_taken_back_is_not_held() {
        let status =
            "Name:\tx\nVmRSS:\t  900 kB\nRssAnon:\t  100 kB\nRssFile:\t 798 kB\nRssShmem:\t    2 kB\n";
        assert_eq!(held(status), 102 << 10);
        assert!(memory_bytes(std::process::id()) > 100 << 10);
        assert_eq!(memory_bytes(u32::MAX), 0);
    }
}
