//! The port on real files: writes, reads, and the state after a restart.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "each order has one kind of report; whatever else comes is the same mistake"
)]

use super::*;
use crate::ports::Blobs as _;
use engine::ReadId;
use engine::blobs::{BlobId, PIECE_BYTES, Piece, Pieces, SharedBlob, leaf};
use std::fs;
use std::os::unix::fs::FileExt as _;

fn content(bytes: u64) -> Vec<u8> {
    (0..bytes).map(|at| u8::try_from(at * 7 % 251).unwrap_or_default()).collect()
}

fn part(content: &[u8], piece: u32) -> &[u8] {
    content.chunks(PIECE_BYTES as usize).nth(piece as usize).unwrap_or_default()
}

/// Waits for a report other than the list of shared files.
async fn next(blobs: &mut FileBlobs) -> BlobReport {
    loop {
        match blobs.next().await {
            BlobReport::Shared(_) => {}
            report => return report,
        }
    }
}

async fn open(blobs: &mut FileBlobs, blob: BlobId, sha256: Option<Hash>) -> Pieces {
    blobs.order(BlobOrder::Open { blob, sha256 });
    match next(blobs).await {
        BlobReport::Opened { root, result: Ok(pieces) } if root == blob.root => pieces,
        other => panic!("{other:?}"),
    }
}

async fn write(blobs: &mut FileBlobs, blob: BlobId, content: &[u8], piece: u32) {
    let bytes = part(content, piece).to_vec();
    let leaf = leaf(blob, piece, &bytes);
    blobs.order(BlobOrder::Write { root: blob.root, piece, bytes, leaf });
    assert_eq!(next(blobs).await, BlobReport::Written { root: blob.root, piece, result: Ok(()) });
}

async fn finish(blobs: &mut FileBlobs, blob: BlobId) -> Result<(), BlobError> {
    blobs.order(BlobOrder::Finish(blob.root));
    match next(blobs).await {
        BlobReport::Finished { result, .. } => result,
        other => panic!("{other:?}"),
    }
}

async fn read(blobs: &mut FileBlobs, root: Hash, piece: u32) -> Result<Piece, BlobError> {
    blobs.order(BlobOrder::Read { read: ReadId(piece.into()), root, piece });
    match next(blobs).await {
        BlobReport::Read { result, .. } => result,
        other => panic!("{other:?}"),
    }
}

fn sha256(content: &[u8]) -> Hash {
    use sha2::Digest as _;
    Hash(sha2::Sha256::digest(content).into())
}

#[tokio::test]
async fn what_was_written_is_found_after_a_restart_and_what_was_damaged_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let content = content(3 * PIECE_BYTES + 5);
    let blob = BlobId::from_content(&content);
    let mut blobs = FileBlobs::open(folder.path()).unwrap();
    assert_eq!(open(&mut blobs, blob, None).await.count(), 0);
    for piece in [0, 2, 3] {
        write(&mut blobs, blob, &content, piece).await;
    }
    drop(blobs);
    let file =
        fs::OpenOptions::new().write(true).open(folder.path().join(format!("{}.part", blob.root))).unwrap();
    file.write_all_at(b"x", 2 * PIECE_BYTES + 9).unwrap();
    let mut blobs = FileBlobs::open(folder.path()).unwrap();
    let pieces = open(&mut blobs, blob, None).await;
    assert_eq!((0..4).filter(|piece| pieces.contains(*piece)).collect::<Vec<_>>(), [0, 3]);
    for piece in [1, 2] {
        write(&mut blobs, blob, &content, piece).await;
    }
    assert_eq!(finish(&mut blobs, blob).await, Ok(()));
    let path = blobs.shared_files().path(blob.root).unwrap();
    assert!(fs::read(path).unwrap() == content);
    let piece = read(&mut blobs, blob.root, 3).await.unwrap();
    assert!(blob.check(3, &piece).is_some(), "it is shared at once, with proofs");
}

#[tokio::test]
async fn a_file_under_a_wrong_name_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let content = content(7);
    let blob = BlobId::from_content(&content);
    let mut blobs = FileBlobs::open(folder.path()).unwrap();
    for (wanted, good) in [(sha256(b"another"), false), (sha256(&content), true)] {
        open(&mut blobs, blob, Some(wanted)).await;
        write(&mut blobs, blob, &content, 0).await;
        let expected = if good { Ok(()) } else { Err(BlobError::WrongHash) };
        assert_eq!(finish(&mut blobs, blob).await, expected);
        let there = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(there > 0, good, "{there}");
    }
}

#[tokio::test]
async fn a_file_is_not_finished_before_all_of_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let content = content(2 * PIECE_BYTES);
    let blob = BlobId::from_content(&content);
    let mut blobs = FileBlobs::open(folder.path()).unwrap();
    assert_eq!(finish(&mut blobs, blob).await, Err(BlobError::Gone), "it was not begun");
    open(&mut blobs, blob, None).await;
    write(&mut blobs, blob, &content, 1).await;
    assert_eq!(finish(&mut blobs, blob).await, Err(BlobError::WrongHash));
}

#[tokio::test]
async fn a_folder_is_shared_until_what_is_in_it_changes() {
    let (folder, models) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let content = content(2 * PIECE_BYTES + 1);
    fs::create_dir(models.path().join("onnx")).unwrap();
    fs::write(models.path().join("onnx/model.bin"), &content).unwrap();
    fs::write(models.path().join("empty.txt"), b"").unwrap();
    fs::write(models.path().join(".hidden"), b"x").unwrap();
    std::os::unix::fs::symlink("onnx/model.bin", models.path().join("link.bin")).unwrap();
    let mut blobs = FileBlobs::open(folder.path()).unwrap();
    let manifest = blobs.shared_files().share(models.path()).unwrap();
    let names: Vec<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, ["empty.txt", "link.bin", "onnx/model.bin"]);
    let (file, blob) = (&manifest.files[2], BlobId::from_content(&content));
    assert_eq!((file.blake3, file.bytes, file.sha256), (blob.root, blob.bytes, sha256(&content)));
    assert_eq!(Manifest::read(&serde_json::to_vec(&manifest).unwrap()).unwrap(), manifest);
    for piece in 0..3 {
        let read = read(&mut blobs, blob.root, piece).await.unwrap();
        assert!(blob.check(piece, &read).is_some(), "{piece}");
    }
    drop(blobs);
    let mut blobs = FileBlobs::open(folder.path()).unwrap();
    let shared = SharedBlob { blob, sha256: Some(sha256(&content)) };
    let BlobReport::Shared(all) = blobs.next().await else { panic!("what is shared comes first") };
    assert!(all.contains(&shared) && all.len() == 2, "{all:?}");
    let bin = fs::OpenOptions::new().write(true).open(models.path().join("onnx/model.bin")).unwrap();
    assert!(read(&mut blobs, blob.root, 1).await.is_ok());
    bin.write_all_at(b"changed", PIECE_BYTES + 3).unwrap();
    assert_eq!(read(&mut blobs, blob.root, 1).await, Err(BlobError::Gone), "not what it was");
    assert!(!blobs.shared_files().list().iter().any(|shared| shared.blake3 == blob.root));
}

#[test]
fn what_is_not_there_is_not_shared() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = FileBlobs::open(folder.path()).unwrap();
    let shared_files = blobs.shared_files();
    assert!(matches!(shared_files.share(&folder.path().join("no")), Err(ShareError::Io { .. })));
    fs::create_dir(folder.path().join("empty")).unwrap();
    assert!(matches!(shared_files.share(&folder.path().join("empty")), Err(ShareError::Nothing(_))));
}
