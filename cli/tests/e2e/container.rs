//! The memory limit of a container: it bounds the node, is shown, and an OOM kill is reported as one.

use crate::doctor::codes;
use crate::harness::{Node, Ran, Sandbox, run, until};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A control group with its own limit, removed at the end.
struct Group(PathBuf);

impl Group {
    /// Creates a group below that of this process; `None` if the host does not allow it.
    fn with_memory(mb: u64) -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let name = format!("p2p-ai-agents-test-{}-{mb}", std::process::id());
        let own = |controller: &str| {
            groups.lines().find_map(|line| Some(line.split_once(controller)?.1.trim_start_matches('/')))
        };
        let (directory, limit) = match own(":memory:") {
            Some(path) => (Path::new("/sys/fs/cgroup/memory").join(path).join(name), "memory.limit_in_bytes"),
            None => (Path::new("/sys/fs/cgroup").join(own("0::")?).join(name), "memory.max"),
        };
        fs::create_dir(&directory).ok()?;
        let group = Self(directory);
        fs::write(group.0.join(limit), (mb << 20).to_string()).ok()?;
        Some(group)
    }

    /// Runs a command of a node in this group.
    fn run(&self, node: &Node<'_>, arguments: &[&str]) -> Ran {
        let plain = node.command(arguments);
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.0);
        command.arg(plain.get_program()).args(plain.get_args()).env_clear();
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?)))).process_group(0);
        run(command, b"")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its processes were killed a moment ago.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

#[test]
fn the_limit_bounds_the_default_and_is_shown() {
    let Some(group) = Group::with_memory(300) else {
        return eprintln!("skipped: this host does not let the test make a control group");
    };
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let started = group.run(&node, &["node", "start", "--no-model"]);
    assert!(started.stderr.contains("max_memory_mb is 270; this container may have 300 MB"), "{started:?}");
    started.good();
    let shown = node.run(&["node", "config"]).good();
    let row = shown.lines().find(|line| line.starts_with("max_memory_mb")).unwrap();
    assert!(row.contains("270") && row.contains("memory limit of 300 MB"), "{row}");
    let diagnosed = group.run(&node, &["doctor"]);
    assert!(diagnosed.stdout.contains("This container may have 300 MB of memory"), "{diagnosed:?}");
    assert!(!codes(&node).1.contains(&"memory_limited".to_owned()), "it runs outside");
    node.run(&["node", "stop"]).good();
}

#[test]
fn a_kill_for_want_of_memory_is_called_that() {
    // Enough for a node, but not for its model.
    let Some(group) = Group::with_memory(16) else {
        return eprintln!("skipped: this host does not let the test make a control group");
    };
    let sandbox = Sandbox::new();
    let node = sandbox.node("a");
    let started = group.run(&node, &["node", "start"]);
    assert!(started.stderr.contains("the kernel may kill the node or its models"), "{started:?}");
    started.good();
    until("the model is given up with the reason", || {
        let listed = node.run(&["model", "list", "--json"]).good();
        let reason = "out of memory: this container's 16 MB of memory ran out, and the kernel killed";
        listed.contains(reason).then_some(())
    });
    node.run(&["node", "stop"]).good();
}
