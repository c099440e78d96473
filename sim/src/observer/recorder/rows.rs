//! The rows of a timeline, up to a limit. At the limit, all rows of the least informative kind are dropped, so that
//! the rest has no gaps.

use crate::node_set::NodeIndex;
use std::collections::BTreeMap;

/// The kind of a row, the least informative first, which is dropped first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Heartbeat,
    Discovery,
    Routing,
    World,
    Map,
    Receipt,
    Link,
    Peer,
    Task,
    Result,
}

impl Kind {
    pub(crate) const ALL: [Self; 10] = [
        Self::Heartbeat,
        Self::Discovery,
        Self::Routing,
        Self::World,
        Self::Map,
        Self::Receipt,
        Self::Link,
        Self::Peer,
        Self::Task,
        Self::Result,
    ];

    /// Returns the kind's name for people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeats",
            Self::Discovery => "mDNS",
            Self::Routing => "routing",
            Self::World => "disk, dials",
            Self::Map => "adverts",
            Self::Receipt => "acks, leases",
            Self::Link => "links",
            Self::Peer => "peers",
            Self::Task => "tasks",
            Self::Result => "results",
        }
    }
}

/// Something that happened at one node, or a transfer between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) at: u64,
    pub(crate) node: NodeIndex,
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    /// The index of the text that describes it; 0 for none.
    pub(crate) text: u32,
    /// The number of the task that it is about; 0 for none.
    pub(crate) task: u32,
    pub(crate) transfer: Option<Transfer>,
}

/// The transfer of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transfer {
    pub(crate) to: NodeIndex,
    /// When it arrived; `None` if it was lost, or still in flight when the run ended.
    pub(crate) arrives: Option<u64>,
    pub(crate) bytes: u32,
}

/// The rows of a run.
#[derive(Debug)]
pub(crate) struct RowLog {
    rows: Vec<Row>,
    rows_max: usize,
    next: u64,
    left_out: BTreeMap<Kind, u64>,
}

impl RowLog {
    pub(crate) fn new(rows_max: usize) -> Self {
        Self { rows: Vec::new(), rows_max, next: 0, left_out: BTreeMap::new() }
    }

    /// Returns whether rows of a kind are still kept.
    pub(crate) fn takes(&self, kind: Kind) -> bool {
        !self.left_out.contains_key(&kind)
    }

    /// Adds a row and returns its id; `None` if its kind is dropped.
    pub(crate) fn push(&mut self, row: Row) -> Option<u64> {
        let kind = row.kind;
        if self.takes(kind) && self.rows.len() >= self.rows_max {
            self.make_room(kind);
        }
        if let Some(count) = self.left_out.get_mut(&kind) {
            *count += 1;
            return None;
        }
        let id = self.next;
        self.next += 1;
        self.rows.push(Row { id, ..row });
        Some(id)
    }

    /// Records when a message arrived.
    pub(crate) fn arrived(&mut self, id: u64, at: u64) {
        if let Ok(index) = self.rows.binary_search_by_key(&id, |row| row.id)
            && let Some(transfer) = &mut self.rows[index].transfer
        {
            transfer.arrives = Some(at);
        }
    }

    /// Returns all rows by time, and the number of dropped rows of each kind.
    pub(crate) fn finish(mut self) -> (Vec<Row>, Vec<(Kind, u64)>) {
        self.rows.sort_by_key(|row| (row.at, row.id));
        (self.rows, self.left_out.into_iter().collect())
    }

    fn make_room(&mut self, for_kind: Kind) {
        let least = self.rows.iter().map(|row| row.kind).min().unwrap_or(for_kind).min(for_kind);
        let before = self.rows.len();
        // A part of the most informative kind is better than nothing.
        if self.rows.iter().any(|row| row.kind != least) || for_kind != least {
            self.rows.retain(|row| row.kind != least);
        }
        let gone = u64::try_from(before - self.rows.len()).unwrap_or(u64::MAX);
        *self.left_out.entry(least).or_default() += gone;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at: u64, kind: Kind) -> Row {
        Row { id: 0, at, node: 0, kind, name: "x", text: 0, task: 0, transfer: None }
    }

    #[test]
    fn the_least_informative_kind_is_dropped_first_and_as_a_whole() {
        let mut rows = RowLog::new(4);
        for at in 0..3 {
            assert!(rows.push(row(at, Kind::Heartbeat)).is_some());
        }
        assert!(rows.push(row(3, Kind::Map)).is_some());
        assert!(rows.push(row(4, Kind::Task)).is_some());
        assert_eq!(rows.push(row(5, Kind::Heartbeat)), None);
        assert!(rows.push(row(6, Kind::Task)).is_some());
        assert!(rows.push(row(7, Kind::Task)).is_some());
        assert_eq!(rows.push(row(8, Kind::Map)), None);
        for at in 9..20 {
            rows.push(row(at, Kind::Task));
        }
        let (rows, left_out) = rows.finish();
        assert_eq!(rows.iter().map(|row| row.at).collect::<Vec<_>>(), [4, 6, 7, 9]);
        assert_eq!(left_out, [(Kind::Heartbeat, 4), (Kind::Map, 2), (Kind::Task, 10)]);
    }

    #[test]
    fn an_arrival_finds_its_row_after_others_went() {
        let mut rows = RowLog::new(2);
        rows.push(row(0, Kind::Heartbeat));
        let transfer = Some(Transfer { to: 1, arrives: None, bytes: 9 });
        let id = rows.push(Row { transfer, ..row(1, Kind::Link) }).unwrap();
        rows.push(row(2, Kind::Link));
        rows.arrived(id, 5);
        rows.arrived(0, 5);
        let (rows, _) = rows.finish();
        assert_eq!(rows[0].transfer, Some(Transfer { to: 1, arrives: Some(5), bytes: 9 }));
        assert_eq!(rows[1].transfer, None);
    }
}
