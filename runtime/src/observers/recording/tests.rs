use super::*;
use engine::journal::{Decoder, Record, VERSION};
use engine::{Config, Identity, Node, UnixMillis};
use std::os::unix::fs::PermissionsExt;
use std::sync::mpsc;

/// A file whose writes need permission, and fail on demand.
struct Disk {
    written: Arc<Mutex<Vec<u8>>>,
    allowed: mpsc::Receiver<io::Result<()>>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A closed channel means that all writes are allowed.
        self.allowed.recv().unwrap_or(Ok(()))?;
        self.written.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Recorded {
    recording: Recording,
    node: Node,
    done: Written,
    disk: mpsc::Sender<io::Result<()>>,
    written: Arc<Mutex<Vec<u8>>>,
}

fn record(bytes_max: u64) -> Recorded {
    let (disk, allowed) = mpsc::channel();
    let written = Arc::<Mutex<Vec<u8>>>::default();
    let file = Disk { written: Arc::clone(&written), allowed };
    let (identity, uses) = Identity::from_secret(&[7; 32]).noted();
    let start = Start {
        version: VERSION.to_owned(),
        key: identity.public_key(),
        config: Config::default(),
        seed: [1; 32],
        now: Instant::ZERO,
        wall: UnixMillis(1_700_000_000_000),
    };
    let (recording, done) = Recording::begin(file, bytes_max, &start, &Saved::default(), uses).unwrap();
    let node = Node::new(start.config, identity, start.seed, start.now, start.wall, Saved::default());
    Recorded { recording, node, done, disk, written }
}

impl Recorded {
    fn step(&mut self, micros: u64, input: Input) {
        let now = Instant::from_micros(micros);
        self.recording.input(now, &input);
        self.node.handle_input(now, input);
        while let Some(output) = self.node.poll_output() {
            self.recording.output(now, &output, &self.node);
        }
    }

    /// Allows all writes, ends the recording, and returns how its journal ends, with its length.
    fn finish(self) -> (Option<End>, usize) {
        let Self { recording, node, done, disk, written } = self;
        drop((recording, node, disk));
        done.0.blocking_recv().unwrap();
        let bytes = written.lock().unwrap().clone();
        let (mut decoder, mut rest, mut end) = (Decoder::default(), &bytes[..], None);
        while let Some((record, used)) = decoder.decode(rest).unwrap() {
            rest = &rest[used..];
            end = if let Record::End(end) = record { Some(end) } else { None };
        }
        assert!(rest.is_empty(), "whole records only");
        (end, bytes.len())
    }
}

fn large() -> Input {
    Input::Datagram { interface: 1, from: ([127, 0, 0, 1], 5353).into(), bytes: vec![9; 1 << 20] }
}

#[test]
fn a_recording_ends_with_its_node() {
    let mut recorded = record(1 << 20);
    (1..100).for_each(|n| recorded.step(n * 1000, Input::Tick));
    assert_eq!(recorded.finish().0, Some(End::Stopped));
}

#[test]
fn a_recording_that_is_full_keeps_its_beginning() {
    let mut recorded = record(3 << 20);
    (1..10).for_each(|n| recorded.step(n * 1000, large()));
    let (end, bytes) = recorded.finish();
    assert_eq!(end, Some(End::Full));
    assert!((3 << 20..5 << 20).contains(&bytes), "{bytes}");
}

#[test]
fn a_disk_that_does_not_keep_up_ends_the_recording_and_not_the_node() {
    let mut recorded = record(1 << 30);
    // No write is allowed, so this would hang if the node waited.
    (1..40).for_each(|n| recorded.step(n * 1000, large()));
    assert!(recorded.pipe_bytes() <= WAITING_BYTES_MAX + (2 << 20), "{}", recorded.pipe_bytes());
    let (end, bytes) = recorded.finish();
    assert_eq!(end, Some(End::Late));
    assert!(bytes <= WAITING_BYTES_MAX + (4 << 20), "{bytes}");
}

impl Recorded {
    fn pipe_bytes(&self) -> usize {
        self.recording.pipe.lock().bytes.len()
    }
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_node() {
    let mut recorded = record(1 << 30);
    recorded.disk.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
    let pipe = Arc::clone(&recorded.recording.pipe);
    while !pipe.lock().broken {
        std::thread::yield_now();
    }
    (1..40).for_each(|n| recorded.step(n * 1000, large()));
    assert!(recorded.recording.closed);
    assert!(recorded.pipe_bytes() < 3 << 20);
    assert_eq!(recorded.finish(), (None, 0));
}

#[test]
fn a_recording_is_its_owners_and_an_older_one_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("journal");
    create_file(&path).unwrap().write_all(&[&MAGIC[..], b"first"].concat()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    create_file(&path).unwrap().write_all(&[&MAGIC[..], b"second"].concat()).unwrap();
    create_file(&path).unwrap();
    let older = fs::read(directory.path().join("journal.1")).unwrap();
    assert!(older.ends_with(b"second"));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);

    let other = directory.path().join("diary");
    fs::write(&other, "dear diary").unwrap();
    assert_eq!(create_file(&other).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&other).unwrap(), b"dear diary");
    assert_eq!(create_file(directory.path()).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(create_file(&directory.path().join("no/where")).unwrap_err().kind(), io::ErrorKind::NotFound);
}
