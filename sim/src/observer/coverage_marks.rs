//! Coverage marks: the names of events, and of what the simulation does to nodes. A scenario lists those that a run
//! must reach.

use crate::scenario::Hostility;
use engine::Event;

macro_rules! marks {
    ($($variant:ident => $name:literal,)* ; $($deed:literal,)*) => {
        /// Every name.
        pub const NAMES: &[&str] = &[$($name,)* $($deed),*];

        /// Returns the name of an event.
        pub const fn name(event: &Event) -> &'static str {
            match event {
                $(Event::$variant { .. } => $name,)*
            }
        }
    };
}

marks! {
    AlertCleared => "alert_cleared",
    AlertRaised => "alert_raised",
    AttemptEnded => "attempt_ended",
    BlobFetched => "blob_fetched",
    ClockDiffers => "clock_differs",
    ClockSet => "clock_set",
    DialFailed => "dial_failed",
    FetchBegun => "fetch_begun",
    FetchFailed => "fetch_failed",
    IdentityCopied => "identity_copied",
    DiscoveryAvailable => "discovery_available",
    DiscoveryUnavailable => "discovery_unavailable",
    HealthChanged => "health_changed",
    InputTruncated => "input_truncated",
    LinkDown => "link_down",
    LinkRefused => "link_refused",
    LinkUp => "link_up",
    MemberJoined => "member_joined",
    MemberLeft => "member_left",
    MessageAcknowledged => "message_acknowledged",
    MessageDelivered => "message_delivered",
    MessageDropped => "message_dropped",
    MessageDuplicate => "message_duplicate",
    MessageForwarded => "message_forwarded",
    MessageSent => "message_sent",
    MessageUnacknowledged => "message_unacknowledged",
    ModelChanged => "model_changed",
    ModelConflict => "model_conflict",
    NodeFound => "node_found",
    NodeLost => "node_lost",
    PeerDead => "peer_dead",
    PeerFault => "peer_fault",
    PeerRecovered => "peer_recovered",
    PeerSlow => "peer_slow",
    ResultDuplicate => "result_duplicate",
    StateChanged => "state_changed",
    StrangerFault => "stranger_fault",
    TaskAccepted => "task_accepted",
    TaskAssigned => "task_assigned",
    TaskFinished => "task_finished",
    TaskReassigned => "task_reassigned",
    TaskRecovered => "task_recovered",
    TaskStarted => "task_started",
    WriteFailed => "write_failed",
    ;
    "clock_drifts",
    "clock_jumped",
    "connection_broken",
    "disk_full",
    "disk_slow",
    "frame_corrupted",
    "frame_cut",
    "frame_late",
    "frame_stalled",
    "hostile_announce",
    "hostile_black_hole",
    "hostile_flood",
    "hostile_forge",
    "hostile_garbage",
    "fetch_resumed",
    "hostile_replay",
    "hostile_wrong_files",
    "hostile_wrong_pieces",
    "inference_crashed",
    "inference_failed",
    "inference_slow",
    "machine_woke",
    "memory_used",
    "model_replaced",
    "packet_duplicated",
    "packet_reordered",
    "packet_replayed",
    "poison_taken",
    "process_continued",
    "queue_full",
    "text_streamed",
    "write_torn",
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
