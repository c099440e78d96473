//! The nodes of a scenario by number, and a set of nodes with one bit each.

/// A node of a scenario, by number.
pub(crate) type NodeIndex = u32;

/// A set of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeSet {
    words: Vec<u64>,
}

impl NodeSet {
    pub(crate) fn set(&mut self, node: NodeIndex, present: bool) {
        let (word, bit) = (node as usize / 64, 1 << (node % 64));
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if present {
            self.words[word] |= bit;
        } else {
            self.words[word] &= !bit;
        }
    }

    pub(crate) fn contains(&self, node: NodeIndex) -> bool {
        self.words.get(node as usize / 64).is_some_and(|word| word & 1 << (node % 64) != 0)
    }

    /// Returns a node other than `except` that is in only one of two sets.
    pub(crate) fn difference(&self, other: &Self, except: NodeIndex) -> Option<NodeIndex> {
        let words = |of: &Self, at: usize| of.words.get(at).copied().unwrap_or_default();
        (0..self.words.len().max(other.words.len())).find_map(|at| {
            let ignored = if at == except as usize / 64 { 1 << (except % 64) } else { 0 };
            let differing = (words(self, at) ^ words(other, at)) & !ignored;
            (differing != 0).then(|| u32::try_from(at * 64).unwrap_or_default() + differing.trailing_zeros())
        })
    }
}

impl FromIterator<NodeIndex> for NodeSet {
    fn from_iter<I: IntoIterator<Item = NodeIndex>>(nodes: I) -> Self {
        let mut set = Self::default();
        nodes.into_iter().for_each(|node| set.set(node, true));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(nodes: &[NodeIndex]) -> NodeSet {
        nodes.iter().copied().collect()
    }

    #[test]
    fn sets_differ_in_what_only_one_has() {
        assert_eq!(of(&[1, 70]).difference(&of(&[1]), 9), Some(70));
        assert_eq!(of(&[1]).difference(&of(&[1, 70]), 70), None);
        assert_eq!(of(&[1, 70]).difference(&of(&[70, 1]), 0), None);
        assert!(of(&[64]).contains(64) && !of(&[64]).contains(0) && !of(&[64]).contains(1000));
    }
}
