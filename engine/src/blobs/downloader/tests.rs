use super::*;
use crate::blobs::{PIECE_BYTES, Tree};

const NEAR: NodeId = NodeId([1; 16]);
const OTHER: NodeId = NodeId([2; 16]);
const WAITER: RequestId = RequestId(7);

/// A file, a node that downloads it, and the distances of its peers.
struct Play {
    downloader: Downloader,
    blob: BlobId,
    content: Vec<u8>,
    tree: Tree,
    members: Vec<(NodeId, u32)>,
}

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1_000)
}

impl Play {
    fn new(pieces: usize, members: &[(NodeId, u32)]) -> Self {
        let content: Vec<u8> = (0..pieces * PIECE_BYTES as usize - 5).map(|at| (at % 251) as u8).collect();
        let blob = BlobId::from_content(&content);
        let part =
            |at: u32| &content[at as usize * PIECE_BYTES as usize..][..blob.place(at).unwrap().1 as usize];
        let tree = Tree::over((0..blob.pieces()).map(|at| leaf(blob, at, part(at))).collect());
        Self { downloader: Downloader::default(), blob, tree, members: members.to_vec(), content }
    }

    fn piece(&self, number: u32) -> Piece {
        let (begin, bytes) = self.blob.place(number).unwrap();
        let bytes = self.content[begin as usize..(begin + bytes) as usize].to_vec();
        Piece { bytes, proof: self.tree.proof(number).unwrap() }
    }

    fn settle(&mut self, millis: u64) -> Vec<Action> {
        let members = self.members.clone();
        let hops = |node| members.iter().find(|(other, _)| *other == node).map(|(_, hops)| *hops);
        let all = || members.iter().map(|(node, _)| *node).collect();
        self.downloader.handle_timeout(at(millis), hops, all);
        self.downloader.poll_actions()
    }

    /// Starts the download, and lets these peers say that they have the file.
    fn begin(&mut self, pin: Pin, holders: &[NodeId], have: &[u32]) -> Vec<Action> {
        let spec = FetchSpec { pin, bytes: self.blob.bytes };
        self.downloader.fetch(at(0), spec, WAITER).unwrap();
        let mut actions = self.settle(0);
        for &holder in holders {
            self.downloader.handle_held(holder, 1, Some(self.blob));
        }
        actions.extend(self.settle(1));
        let mut pieces = Pieces::none(self.blob.pieces());
        have.iter().for_each(|piece| pieces.insert(*piece));
        self.downloader.handle_report(at(1), BlobReport::Opened { root: self.blob.root, result: Ok(pieces) });
        actions.extend(self.settle(2));
        actions
    }

    fn give(&mut self, millis: u64, peer: NodeId, number: u32) {
        let piece = self.piece(number);
        self.downloader.handle_piece(at(millis), peer, self.blob.root, number, piece);
    }

    fn write(&mut self, millis: u64, piece: u32) {
        let (root, result) = (self.blob.root, Ok(()));
        self.downloader.handle_report(at(millis), BlobReport::Written { root, piece, result });
    }

    fn keep(&self, number: u32) -> Action {
        let Piece { bytes, .. } = self.piece(number);
        let leaf = leaf(self.blob, number, &bytes);
        Action::Order(BlobOrder::Write { root: self.blob.root, piece: number, bytes, leaf })
    }

    fn pin(&self) -> Pin {
        Pin::Blake3(self.blob.root)
    }

    fn ask(&self, peer: NodeId, piece: u32) -> Action {
        Action::Ask(peer, self.blob.root, piece)
    }
}

#[test]
fn a_file_is_looked_for_opened_asked_for_kept_and_finished() {
    let mut play = Play::new(2, &[(NEAR, 1)]);
    let (pin, blob) = (play.pin(), play.blob);
    let expected = vec![
        Action::LookUp(NEAR, 1, pin),
        Action::Order(BlobOrder::Open { blob, sha256: None }),
        Action::Begun(blob, 0),
        play.ask(NEAR, 0),
        play.ask(NEAR, 1),
    ];
    assert_eq!(play.begin(pin, &[NEAR], &[]), expected);
    play.give(3, NEAR, 1);
    play.give(3, NEAR, 1);
    play.give(3, OTHER, 0);
    assert_eq!(play.settle(3), vec![play.keep(1)], "once, and of nobody who was not asked");
    play.write(4, 1);
    play.give(4, NEAR, 0);
    assert_eq!(play.settle(4), vec![play.keep(0)]);
    play.write(5, 0);
    assert_eq!(play.settle(5), vec![Action::Order(BlobOrder::Finish(blob.root))]);
    play.downloader.handle_report(at(9), BlobReport::Finished { root: blob.root, result: Ok(()) });
    let fetched = Fetched { blob, peers: 1, elapsed_micros: 9_000 };
    let expected = vec![Action::Order(BlobOrder::Close(blob.root)), Action::Ended(vec![WAITER], Ok(fetched))];
    assert_eq!(play.settle(9), expected);
    assert_eq!(play.downloader.poll_timeout(at(9)), None);
}

#[test]
fn what_was_here_before_is_not_asked_for() {
    let mut play = Play::new(4, &[(NEAR, 1)]);
    let actions = play.begin(play.pin(), &[NEAR], &[0, 2]);
    assert_eq!(
        actions[2..],
        [Action::Begun(play.blob, 2 * PIECE_BYTES - 5), play.ask(NEAR, 1), play.ask(NEAR, 3)]
    );
}

#[test]
fn who_sends_what_is_not_of_the_file_is_not_asked_again_and_others_are() {
    let mut play = Play::new(3, &[(NEAR, 1), (OTHER, 1)]);
    let actions = play.begin(play.pin(), &[NEAR], &[]);
    assert_eq!(actions.last(), Some(&play.ask(NEAR, 1)));
    play.members.pop();
    let mut piece = play.piece(0);
    piece.bytes[9] ^= 1;
    play.downloader.handle_piece(at(3), NEAR, play.blob.root, 0, piece);
    play.give(3, NEAR, 1);
    assert_eq!(play.settle(3), vec![Action::Forged(NEAR)], "nor is anything else taken from it");
    play.members.push((OTHER, 1));
    assert_eq!(play.settle(3_100), vec![Action::LookUp(OTHER, 2, play.pin())], "it is not even looked at");
    play.downloader.handle_held(OTHER, 2, Some(play.blob));
    assert_eq!(play.settle(3_101), vec![play.ask(OTHER, 0), play.ask(OTHER, 1)]);
}

#[test]
fn the_nearest_give_and_the_others_only_where_there_are_none() {
    let mut play = Play::new(8, &[(NEAR, 1), (OTHER, 2)]);
    let actions = play.begin(play.pin(), &[NEAR, OTHER], &[]);
    let asked = |actions: &[Action], peer| {
        actions.iter().filter(|action| matches!(action, Action::Ask(of, ..) if *of == peer)).count()
    };
    assert_eq!((asked(&actions, NEAR), asked(&actions, OTHER)), (2, 0));
    play.downloader.handle_gone(NEAR);
    assert_eq!(
        play.settle(5),
        vec![play.ask(OTHER, 0), play.ask(OTHER, 1)],
        "what was asked of the lost one first"
    );
}

#[test]
fn a_late_piece_is_asked_of_another_and_counts_from_whoever_is_first() {
    let mut play = Play::new(3, &[(NEAR, 1), (OTHER, 1)]);
    let actions = play.begin(play.pin(), &[NEAR, OTHER], &[]);
    assert_eq!(actions[4..], [play.ask(NEAR, 0), play.ask(OTHER, 1), play.ask(NEAR, 2)]);
    play.give(3, OTHER, 1);
    play.write(3, 1);
    assert_eq!(play.settle(3), vec![play.keep(1)]);
    assert_eq!(play.settle(2_001), vec![]);
    assert_eq!(play.downloader.poll_timeout(at(2_001)), Some(at(2_002)));
    assert_eq!(play.settle(2_002), vec![play.ask(OTHER, 0), play.ask(OTHER, 2)]);
    play.give(2_003, NEAR, 0);
    play.give(2_004, OTHER, 0);
    assert_eq!(play.settle(2_004), vec![play.keep(0)]);
    assert_eq!(play.settle(18_000), vec![play.ask(NEAR, 2)], "the requests before are given up");
}

#[test]
fn who_has_the_file_and_never_gives_it_is_given_up() {
    let mut play = Play::new(3, &[(NEAR, 1)]);
    play.begin(play.pin(), &[NEAR], &[]);
    for round in 1..3 {
        let actions = play.settle(15_003 * round);
        assert_eq!(actions.last(), Some(&play.ask(NEAR, 1)), "{round}");
    }
    assert_eq!(play.settle(45_009), vec![]);
    assert_eq!(play.settle(45_010), vec![]);
    assert_eq!(play.settle(65_009), vec![], "nor is it asked whether it has it");
    let ended = Action::Ended(vec![WAITER], Err(FetchError::SourcesLost));
    assert_eq!(play.settle(65_010), vec![Action::Order(BlobOrder::Close(play.blob.root)), ended]);
}

#[test]
fn what_is_asked_for_and_written_is_bounded() {
    let members: Vec<(NodeId, u32)> = (1..=8).map(|peer| (NodeId([peer; 16]), 1)).collect();
    let mut play = Play::new(400, &members);
    let holders: Vec<NodeId> = members.iter().map(|(peer, _)| *peer).collect();
    let mut actions = play.begin(play.pin(), &holders, &[]);
    for round in 0..40 {
        for action in std::mem::take(&mut actions) {
            if let Action::Ask(peer, _, piece) = action {
                play.give(3 + round, peer, piece);
            }
        }
        actions = play.settle(3 + round);
        assert!(play.downloader.occupancy().iter().all(|place| place.current <= place.limit));
    }
    assert_eq!(play.downloader.in_flight(), IN_FLIGHT_MAX, "nothing was written yet");
    assert!(!actions.iter().any(|action| matches!(action, Action::Ask(..))));
}

#[test]
fn nobody_has_it() {
    let mut play = Play::new(1, &[(NEAR, 1)]);
    let spec = FetchSpec { pin: play.pin(), bytes: play.blob.bytes };
    let ended = vec![Action::Ended(vec![WAITER], Err(FetchError::NotFound))];
    play.downloader.fetch(at(0), spec, WAITER).unwrap();
    assert_eq!(play.settle(0), vec![Action::LookUp(NEAR, 1, spec.pin)]);
    let other = BlobId { bytes: 1, ..play.blob };
    play.downloader.handle_held(NEAR, 1, Some(other));
    assert_eq!(play.settle(1), ended, "another size is another file");
    play.downloader.fetch(at(2), spec, WAITER).unwrap();
    play.settle(2);
    assert_eq!(play.settle(2_001), vec![]);
    assert_eq!(play.settle(2_002), ended, "no answer in time");
    play.members.clear();
    play.downloader.fetch(at(3_000), spec, WAITER).unwrap();
    assert_eq!(play.settle(3_000), ended, "nobody to ask");
}

#[test]
fn all_who_had_it_are_lost_for_a_while_or_for_good() {
    let mut play = Play::new(3, &[(NEAR, 1)]);
    play.begin(play.pin(), &[NEAR], &[]);
    play.downloader.handle_gone(NEAR);
    play.members.clear();
    assert_eq!(play.settle(1_000), vec![]);
    play.members.push((NEAR, 1));
    assert_eq!(play.settle(4_000), vec![Action::LookUp(NEAR, 2, play.pin())]);
    play.downloader.handle_held(NEAR, 2, Some(play.blob));
    assert_eq!(play.settle(4_001), vec![play.ask(NEAR, 0), play.ask(NEAR, 1)]);
    play.downloader.handle_gone(NEAR);
    play.members.clear();
    play.settle(5_000);
    assert_eq!(play.settle(24_999), vec![]);
    let ended = Action::Ended(vec![WAITER], Err(FetchError::SourcesLost));
    assert_eq!(play.settle(25_000), vec![Action::Order(BlobOrder::Close(play.blob.root)), ended]);
}

#[test]
fn where_only_sha_256_is_known_all_who_said_what_was_wrong_lied() {
    let mut play = Play::new(1, &[(NEAR, 1), (OTHER, 1)]);
    let (pin, lie) = (Pin::Sha256(Hash([5; 32])), play.blob);
    let truth = BlobId { root: Hash([6; 32]), ..lie };
    let actions = play.begin(pin, &[NEAR], &[]);
    assert_eq!(actions[2], Action::Order(BlobOrder::Open { blob: lie, sha256: Some(Hash([5; 32])) }));
    play.downloader.handle_held(OTHER, 1, Some(truth));
    assert_eq!(actions.last(), Some(&play.ask(NEAR, 0)));
    play.give(3, NEAR, 0);
    play.settle(3);
    play.write(4, 0);
    play.settle(4);
    let result = Err(BlobError::WrongHash);
    play.downloader.handle_report(at(5), BlobReport::Finished { root: lie.root, result });
    let open = Action::Order(BlobOrder::Open { blob: truth, sha256: Some(Hash([5; 32])) });
    assert_eq!(play.settle(5), vec![Action::Forged(NEAR), open], "the other may have told the truth");
}

#[test]
fn a_fetch_that_nobody_waits_for_any_more_stops() {
    let mut play = Play::new(3, &[(NEAR, 1)]);
    play.begin(play.pin(), &[NEAR], &[]);
    let spec = FetchSpec { pin: play.pin(), bytes: play.blob.bytes };
    play.downloader.fetch(at(3), spec, RequestId(8)).unwrap();
    play.downloader.forget(WAITER);
    assert_eq!(play.settle(3), vec![]);
    play.downloader.forget(RequestId(8));
    assert_eq!(play.settle(3), vec![Action::Order(BlobOrder::Close(play.blob.root))]);
    play.give(4, NEAR, 0);
    assert_eq!(play.settle(4), vec![]);
    assert!(play.downloader.occupancy().iter().all(|place| place.current == 0));
}

#[test]
fn a_disk_that_takes_no_more_ends_the_fetch() {
    let mut play = Play::new(3, &[(NEAR, 1)]);
    play.begin(play.pin(), &[NEAR], &[]);
    play.give(3, NEAR, 0);
    play.settle(3);
    let (root, result) = (play.blob.root, Err(BlobError::Full));
    play.downloader.handle_report(at(4), BlobReport::Written { root, piece: 0, result });
    let ended = Action::Ended(vec![WAITER], Err(FetchError::Storage(BlobError::Full)));
    assert_eq!(play.settle(4), vec![Action::Order(BlobOrder::Close(root)), ended]);
}

#[test]
fn too_much_is_refused() {
    let mut downloader = Downloader::default();
    let spec = |n: u8, bytes| FetchSpec { pin: Pin::Blake3(Hash([n; 32])), bytes };
    assert_eq!(downloader.fetch(at(0), spec(0, BLOB_BYTES_MAX + 1), WAITER), Err(FetchError::TooLarge));
    for n in 0..16 {
        assert_eq!(downloader.fetch(at(0), spec(n, 5), WAITER), Ok(()));
    }
    assert_eq!(downloader.fetch(at(0), spec(16, 5), WAITER), Err(FetchError::TooMany));
    assert_eq!(downloader.fetch(at(0), spec(3, 6), WAITER), Err(FetchError::TooMany), "another size");
    downloader.handle_leave();
    let left = |action: &Action| *action == Action::Ended(vec![WAITER], Err(FetchError::Left));
    assert!(downloader.poll_actions().iter().all(left));
}
