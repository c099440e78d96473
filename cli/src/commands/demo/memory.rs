//! Checks that the memory of this machine suffices for the nodes of a demo.

use crate::error::Failure;
use crate::output;
use api::DemoKind;
use runtime::cgroup;
use runtime::host;

/// Fails if the nodes need more memory than is available.
pub(super) fn check(nodes: u32, real: bool) -> Result<(), Failure> {
    available().map_or(Ok(()), |available| check_against(nodes, real, available))
}

/// Returns an upper bound of the memory that this process may still use, if one is known.
fn available() -> Option<u64> {
    let group = cgroup::memory_limit().map(|limit| limit.bytes);
    host::memory_available().into_iter().chain(group).min()
}

fn check_against(nodes: u32, real: bool, available: u64) -> Result<(), Failure> {
    let (base, each) = if real { (REAL_BASE_BYTES, REAL_NODE_BYTES) } else { (BASE_BYTES, NODE_BYTES) };
    let needed = base.saturating_add(each.saturating_mul(nodes.into()));
    if needed <= available {
        return Ok(());
    }
    let fit = available.saturating_sub(base) / each;
    let kind = if real { DemoKind::Real } else { DemoKind::Simulated };
    let message = format!(
        "{nodes} {kind} nodes need about {} of memory, and {} are available: {fit} fit",
        output::bytes(needed),
        output::bytes(available)
    );
    let failure = Failure::new(message).id("demo_too_many_nodes");
    Err(if fit > 0 {
        failure.hint(format!("start fewer with --nodes {fit}"))
    } else {
        failure.hint("free memory: end other programs")
    })
}

/// The model and the process of a demo with simulated nodes.
const BASE_BYTES: u64 = 150 << 20;
/// A simulated node.
const NODE_BYTES: u64 = 3 << 20;
/// The process in front of real nodes.
const REAL_BASE_BYTES: u64 = 20 << 20;
/// A real node with its model.
const REAL_NODE_BYTES: u64 = 100 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_nodes_are_refused_with_the_number_that_fits() {
        let gigabyte = 1 << 30;
        assert!(check_against(4, true, gigabyte).is_ok() && check_against(50, false, gigabyte).is_ok());
        let failure = check_against(50, true, gigabyte).unwrap_err();
        assert!(failure.message().ends_with("are available: 10 fit"), "{failure:?}");
        assert!(check_against(10, true, gigabyte).is_ok() && check_against(11, true, gigabyte).is_err());
        assert!(check_against(1, false, 1 << 20).unwrap_err().message().ends_with(": 0 fit"));
    }
}
