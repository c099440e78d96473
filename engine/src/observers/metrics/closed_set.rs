//! The values of the enums that label metrics. A series that never counted anything is shown as 0, so that a rate has a
//! first value.

use super::{AttemptState, Direction, Origin, RejectReason, TokenDirection};
use crate::error::{DialError, PeerFault, StrangerFault};
use crate::event::{AttemptEnding, DropReason, LinkDownReason, PayloadKind, ReassignReason, RefuseReason};
use crate::lifecycle::State;
use crate::task::{TaskKind, TaskStatus};

/// An enum whose values are known.
pub trait ClosedSet: Copy + Ord + 'static {
    /// All values.
    const ALL: &'static [Self];
}

/// Lists all variants of an enum. A variant that is missing does not compile.
macro_rules! closed_sets {
    ($($name:ident { $($variant:ident)* })*) => {
        $(
            impl ClosedSet for $name {
                const ALL: &'static [Self] = &[$(Self::$variant),*];
            }

            const _: fn($name) = |value| match value {
                $($name::$variant => {})*
            };
        )*
    };
}

closed_sets! {
    AttemptEnding {
        Abandoned Cancelled Completed Crashed Expired HandedBack InputRejected ModelChanged ModelFailed
    }
    AttemptState { Queued Running }
    DialError { Authentication Refused Timeout }
    Direction { Forwarded Received Sent }
    DropReason { NoRoute Overload Replayed Returned SessionLost TtlExceeded Unauthentic }
    LinkDownReason { Closed Duplicate Fault Goodbye Spared Restarted Unanswered }
    Origin { Peer Own }
    PayloadKind {
        Ack Assign Cancel Check Decline HandBack Held Here Look Missing Outcome Piece PieceRefused PieceWanted Probe
        Progress Renew Sealed Started TraceFound TraceWanted Undeliverable Unknown
    }
    PeerFault {
        AdvertForged FrameMalformed FrameTooLarge FrameTruncated HelloLate HelloOutOfOrder NotReading PieceForged
        RateExceeded
    }
    ReassignReason { Crashed HandedBack LeaseExpired Refused Unreachable Missing ModelChanged }
    RefuseReason {
        Duplicate Full IdentityCopied NotLocal OtherNetwork OtherVersion Quarantined SameIdentity ShuttingDown
        StandsAside
    }
    RejectReason { InvalidInput ModelUnknown NodeNotReady QueueFull StorageFailed }
    State { Initializing Registering Active ShuttingDown Stopped }
    StrangerFault { HandshakeBroken HandshakeLate HandshakeLeft TooMany }
    TaskKind { Classification Embedding Generation Reranking }
    TaskStatus { Queued Running Completed Failed Timeout Cancelled }
    TokenDirection { Input Output }
}
