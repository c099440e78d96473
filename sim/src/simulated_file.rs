//! The files of a simulation: pseudo-random content, by the seed.

use crate::node_set::NodeIndex;
use crate::random::{Purpose, Random};
use crate::scenario::{Hostility, Scenario, SharedFile};
use engine::blobs::{BlobId, Hash, SharedBlob, Tree, leaf};

/// A file that some nodes have from the start.
#[derive(Debug)]
pub(crate) struct SimulatedFile {
    pub(crate) blob: BlobId,
    /// Its simulated SHA-256 hash.
    pub(crate) sha256: Hash,
    content: Vec<u8>,
    pub(crate) tree: Tree,
    pub(crate) holders: Vec<NodeIndex>,
}

/// Returns the files of a scenario, followed by the wrong files that hostile nodes serve in their place.
pub(crate) fn for_scenario(scenario: &Scenario, random: Random) -> Vec<SimulatedFile> {
    let lies = |node: &NodeIndex| {
        scenario.host(*node).is_some_and(|host| host.hostile.contains(&Hostility::WrongFiles))
    };
    let file = |(number, file): (u64, &SharedFile), of_liars: bool| {
        let who = number | u64::from(of_liars) << 32;
        let holders: Vec<NodeIndex> =
            file.holders.iter().copied().filter(|node| lies(node) == of_liars).collect();
        if of_liars && holders.is_empty() {
            return None;
        }
        // A hostile node serves another file under the same name.
        let sha256 = Hash(random.bytes(Purpose::Content, number | NAME, 0));
        Some(SimulatedFile::new(content(random, who, file.bytes), sha256, holders))
    };
    let numbered = || (0_u64..).zip(&scenario.files);
    let all = numbered().map(|one| file(one, false)).chain(numbered().map(|one| file(one, true)));
    all.flatten().collect()
}

fn content(random: Random, who: u64, bytes: u32) -> Vec<u8> {
    let mut content: Vec<u8> =
        (0..bytes.div_ceil(32)).flat_map(|n| random.bytes(Purpose::Content, who, n)).collect();
    content.truncate(bytes as usize);
    content
}

impl SimulatedFile {
    fn new(content: Vec<u8>, sha256: Hash, holders: Vec<NodeIndex>) -> Self {
        let blob = BlobId::from_content(&content);
        let of = |piece| leaf(blob, piece, part(&content, blob, piece).unwrap_or_default());
        let tree = Tree::over((0..blob.pieces()).map(of).collect());
        Self { blob, sha256, content, tree, holders }
    }

    /// Returns the bytes of a piece.
    pub(crate) fn part(&self, piece: u32) -> Option<&[u8]> {
        part(&self.content, self.blob, piece)
    }

    pub(crate) fn shared(&self) -> SharedBlob {
        SharedBlob { blob: self.blob, sha256: Some(self.sha256) }
    }

    /// Returns whether the file truly has a SHA-256 name; the wrong files of hostile nodes do not.
    pub(crate) fn is_called(&self, files: &[Self], name: Option<Hash>) -> bool {
        let first = files.iter().find(|file| file.sha256 == self.sha256);
        name.is_none_or(|name| name == self.sha256 && first.is_some_and(|first| first.blob == self.blob))
    }
}

fn part(content: &[u8], blob: BlobId, piece: u32) -> Option<&[u8]> {
    let (begin, bytes) = blob.place(piece)?;
    let begin = usize::try_from(begin).ok()?;
    content.get(begin..begin + usize::try_from(bytes).ok()?)
}

/// Distinguishes draws of names from draws of content.
const NAME: u64 = 1 << 33;
