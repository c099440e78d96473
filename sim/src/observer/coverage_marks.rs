//! Coverage marks: the names of events, and of what the simulation does to nodes. A scenario lists those that a run
//! must reach.

use crate::scenario::Hostility;
use engine::Event;

macro_rules! marks {
    ($($variant:ident => $name:literal $meaning:literal,)* ; $($deed:literal $what:literal,)*) => {
        /// Every name.
        pub const NAMES: &[&str] = &[$($name,)* $($deed),*];

        /// Returns what happened, as a sentence; `None` for an unknown name.
        pub fn meaning(name: &str) -> Option<&'static str> {
            match name {
                $($name => Some($meaning),)*
                $($deed => Some($what),)*
                _ => None,
            }
        }

        /// Returns the name of an event.
        pub const fn name(event: &Event) -> &'static str {
            match event {
                $(Event::$variant { .. } => $name,)*
            }
        }
    };
}

marks! {
    AlertCleared => "alert_cleared" "The condition of an active alert is gone.",
    AlertRaised => "alert_raised" "The condition of an alert rule has lasted long enough.",
    AttemptEnded => "attempt_ended" "An attempt at a task ended on its worker.",
    BlobFetched => "blob_fetched" "A file was fetched from other nodes and is complete.",
    ClockDiffers => "clock_differs" "The clocks of a peer and a node differ by more than 30 s.",
    ClockSet => "clock_set" "The wall clock was set while a node ran, or its machine slept.",
    DialFailed => "dial_failed" "A dial did not lead to a link.",
    FetchBegun => "fetch_begun" "The first pieces of a file are being fetched.",
    FetchFailed => "fetch_failed" "A file could not be fetched.",
    IdentityCopied => "identity_copied" "A node found that another one uses its key.",
    DiscoveryAvailable => "discovery_available" "Multicast works again on a network of a host.",
    DiscoveryUnavailable => "discovery_unavailable" "No network of a host supports multicast.",
    HealthChanged => "health_changed" "The verdict of a node's health check, or its reasons, changed.",
    InputTruncated => "input_truncated" "A task has an output, but its input was too long and was truncated.",
    LinkDown => "link_down" "A link went down.",
    LinkRefused => "link_refused" "A node refused a link.",
    LinkUp => "link_up" "A link is up: both ends have authenticated each other.",
    MemberJoined => "member_joined" "A member became reachable.",
    MemberLeft => "member_left" "A member is no longer reachable.",
    MessageAcknowledged => "message_acknowledged" "The destination of a message acknowledged it.",
    MessageDelivered => "message_delivered" "A message reached its destination and was processed.",
    MessageDropped => "message_dropped" "A message ended without reaching its destination.",
    MessageDuplicate => "message_duplicate" "A duplicate of a processed message was ignored.",
    MessageForwarded => "message_forwarded" "A node forwarded a message for another one.",
    MessageSent => "message_sent" "A message left its origin.",
    MessageUnacknowledged => "message_unacknowledged" "No retry of a message was acknowledged.",
    ModelChanged => "model_changed" "A model became usable or unusable on a node.",
    ModelConflict => "model_conflict" "Nodes use one name for different models.",
    NodeFound => "node_found" "mDNS found a node.",
    NodeLost => "node_lost" "The mDNS announcement of a node expired or was withdrawn.",
    PeerDead => "peer_dead" "A node declared a peer DEAD.",
    PeerFault => "peer_fault" "A peer violated the protocol.",
    PeerRecovered => "peer_recovered" "A SLOW peer is ALIVE again.",
    PeerSlow => "peer_slow" "A peer left a heartbeat unanswered.",
    ResultDuplicate => "result_duplicate" "A second outcome of a task arrived and was ignored.",
    StateChanged => "state_changed" "The lifecycle state of a node changed.",
    StrangerFault => "stranger_fault" "A connection ended before the other end authenticated itself.",
    TaskAccepted => "task_accepted" "A task was accepted and is durable.",
    TaskAssigned => "task_assigned" "A task was assigned to a worker.",
    TaskFinished => "task_finished" "A task ended, and its outcome is durable.",
    TaskReassigned => "task_reassigned" "A task was taken from a worker and waits for the next attempt.",
    TaskRecovered => "task_recovered" "A task that was accepted before a restart waits for an attempt again.",
    TaskStarted => "task_started" "A worker started an attempt at a task.",
    WriteFailed => "write_failed" "A write failed: its records are not durable.",
    ;
    "clock_drifts" "A fault made the clocks of a machine run at another rate.",
    "clock_jumped" "A fault set the wall clock of a machine.",
    "connection_broken" "A fault broke a connection.",
    "disk_full" "A write met a full disk.",
    "disk_slow" "A fault made a write take longer.",
    "frame_corrupted" "A fault flipped a bit of something that was sent.",
    "frame_cut" "Something that was sent was lost between partitioned nodes.",
    "frame_late" "A fault delayed something that was sent.",
    "frame_stalled" "Something that was sent was held back between stalled nodes.",
    "hostile_announce" "A hostile node announced invented nodes.",
    "hostile_black_hole" "A hostile node left out what it should do.",
    "hostile_flood" "A hostile node sent too many adverts.",
    "hostile_forge" "A hostile node sent something in the name of another.",
    "hostile_garbage" "A hostile node sent random bytes or frames that are not allowed.",
    "fetch_resumed" "A fetch went on with the pieces that were on disk before.",
    "hostile_replay" "A hostile node sent a received frame again.",
    "hostile_wrong_files" "A hostile node served another file.",
    "hostile_wrong_pieces" "A hostile node served an invalid piece of a file.",
    "inference_crashed" "A fault crashed the process that ran a model.",
    "inference_failed" "A fault made an inference job fail.",
    "inference_slow" "A fault made an inference job take longer.",
    "machine_woke" "A machine woke after a fault had put it to sleep.",
    "memory_used" "A fault made a node use a share of its memory limit.",
    "model_replaced" "A fault replaced the model files of a node.",
    "packet_duplicated" "A multicast packet was sent twice.",
    "packet_reordered" "A multicast packet was overtaken by later ones.",
    "packet_replayed" "A multicast packet was sent once more, much later.",
    "poison_taken" "A process that runs a model crashed on a poisoned input.",
    "process_continued" "A process resumed after a fault had suspended it.",
    "queue_full" "A node refused a task because its queue was full.",
    "text_streamed" "A client received a part of a generated text before its end.",
    "write_torn" "A machine lost power while some of its writes were unfinished.",
}

/// Returns the name of an attack.
pub(crate) const fn for_hostility(kind: Hostility) -> &'static str {
    match kind {
        Hostility::Announce => "hostile_announce",
        Hostility::BlackHole => "hostile_black_hole",
        Hostility::Flood => "hostile_flood",
        Hostility::Forge => "hostile_forge",
        Hostility::Garbage => "hostile_garbage",
        Hostility::Replay => "hostile_replay",
        Hostility::WrongFiles => "hostile_wrong_files",
        Hostility::WrongPieces => "hostile_wrong_pieces",
    }
}
