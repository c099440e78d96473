//! The memory of this process by kind, as the kernel lists it in `/proc/self/smaps`.

use api::{MappingKind, MappingMemory};
use std::collections::BTreeMap;
use std::fs;

/// Returns the memory of this process by kind. Empty if the system does not tell.
pub(crate) fn of_this_process() -> Vec<MappingMemory> {
    let program = std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default();
    parse(&fs::read_to_string("/proc/self/smaps").unwrap_or_default(), &program)
}

fn parse(smaps: &str, program: &str) -> Vec<MappingMemory> {
    let mut kinds: BTreeMap<MappingKind, MappingMemory> = BTreeMap::new();
    let mut kind = MappingKind::Anonymous;
    for line in smaps.lines() {
        let Some((name, value)) = line.split_once(':').filter(|(name, _)| is_field(name)) else {
            kind = kind_of(line, program);
            let empty = MappingMemory {
                kind,
                mappings: 0,
                bytes: 0,
                resident_bytes: 0,
                dirty_bytes: 0,
                swapped_bytes: 0,
            };
            kinds.entry(kind).or_insert(empty).mappings += 1;
            continue;
        };
        let Some(memory) = kinds.get_mut(&kind) else { continue };
        let kilobytes: u64 = value.trim().trim_end_matches(" kB").parse().unwrap_or_default();
        let add = |sum: &mut u64| *sum = sum.saturating_add(kilobytes << 10);
        match name {
            "Size" => add(&mut memory.bytes),
            "Rss" => add(&mut memory.resident_bytes),
            "Private_Dirty" | "Shared_Dirty" => add(&mut memory.dirty_bytes),
            "Swap" => add(&mut memory.swapped_bytes),
            _ => {}
        }
    }
    kinds.into_values().collect()
}

/// Tells whether a line is a field rather than the head of a mapping, whose address range contains no letter above F.
fn is_field(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase()) && !name.contains(' ')
}

/// Returns the kind of a mapping from its head: address range, permissions, offset, device, inode and name.
fn kind_of(head: &str, program: &str) -> MappingKind {
    let mut rest = head;
    for _ in 0..5 {
        rest = rest.trim_start().split_once(' ').map_or("", |(_, rest)| rest);
    }
    match rest.trim() {
        "[heap]" => MappingKind::Heap,
        "[stack]" => MappingKind::Stack,
        name if name.is_empty() || name.starts_with('[') => MappingKind::Anonymous,
        name if name == program => MappingKind::Program,
        name if name.rsplit('/').next().is_some_and(|file| file.contains(".so")) => MappingKind::Library,
        _ => MappingKind::OtherFile,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
559f2c000000-559f2d000000 r-xp 00000000 fe:00 12 /opt/my programs/node
Size:              16384 kB
Rss:                8192 kB
Private_Dirty:         0 kB
VmFlags: rd ex mr
559f2e000000-559f2e100000 rw-p 00000000 00:00 0                          [heap]
Size:               1024 kB
Rss:                 512 kB
Shared_Dirty:          4 kB
Private_Dirty:       500 kB
Swap:                  8 kB
7f0000000000-7f0000100000 rw-p 00000000 00:00 0 
Size:               1024 kB
Rss:                 100 kB
Private_Dirty:       100 kB
7f0000200000-7f0000300000 r-xp 00000000 fe:00 13 /usr/lib/libc.so.6
Size:               1024 kB
7f0000400000-7f0000500000 rw-s 00000000 fe:00 14 /home/you/data/node.redb
Rss:                  64 kB
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
Rss:                  32 kB
";

    #[test]
    fn memory_is_summed_by_kind() {
        let found = parse(SMAPS, "/opt/my programs/node");
        let of = |kind| *found.iter().find(|memory| memory.kind == kind).unwrap();
        let heap = MappingMemory {
            kind: MappingKind::Heap,
            mappings: 1,
            bytes: 1 << 20,
            resident_bytes: 512 << 10,
            dirty_bytes: 504 << 10,
            swapped_bytes: 8 << 10,
        };
        assert_eq!(of(MappingKind::Heap), heap);
        assert_eq!(of(MappingKind::Program).resident_bytes, 8 << 20);
        assert_eq!(of(MappingKind::Anonymous).dirty_bytes, 100 << 10);
        assert_eq!(of(MappingKind::Library).mappings, 1);
        assert_eq!(of(MappingKind::OtherFile).resident_bytes, 64 << 10);
        assert_eq!(of(MappingKind::Stack).resident_bytes, 32 << 10);
    }

    #[test]
    fn this_process_has_a_program_and_memory() {
        let found = of_this_process();
        let resident = |kind| {
            let of_kind = found.iter().filter(|memory| memory.kind == kind);
            of_kind.map(|memory| memory.resident_bytes).sum::<u64>()
        };
        assert!(resident(MappingKind::Program) > 100 << 10, "{found:?}");
        assert!(resident(MappingKind::Heap) + resident(MappingKind::Anonymous) > 10 << 10, "{found:?}");
    }
}
