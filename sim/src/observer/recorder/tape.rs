//! What happened, in rows, and never more than a limit: when it is reached, the kind that explains least goes as a
//! whole, so that what is left has no holes.

use crate::node_set::NodeIndex;
use std::collections::BTreeMap;

/// What a row is about. What explains least comes first, and is left out first.
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

    /// Returns its name for people.
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

/// One thing that happened: at one node, or on the way from one to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) at: u64,
    pub(crate) node: NodeIndex,
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    /// Which of the texts says more; 0 where none does.
    pub(crate) text: u32,
    /// The number of the task that it is about; 0 where it is about none.
    pub(crate) task: u32,
    pub(crate) way: Option<Way>,
}

/// Where a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) to: NodeIndex,
    /// `None` where it was lost, or was still on its way when the run ended.
    pub(crate) arrives: Option<u64>,
    pub(crate) bytes: u32,
}

/// The rows of a run.
#[derive(Debug)]
pub(crate) struct Tape {
    rows: Vec<Row>,
    rows_max: usize,
    next: u64,
    left_out: BTreeMap<Kind, u64>,
}

impl Tape {
    pub(crate) fn new(rows_max: usize) -> Self {
        Self { rows: Vec::new(), rows_max, next: 0, left_out: BTreeMap::new() }
    }

    /// Tells whether rows of a kind are still taken.
    pub(crate) fn takes(&self, kind: Kind) -> bool {
        !self.left_out.contains_key(&kind)
    }

    /// Adds a row and returns its name; `None` where its kind is left out.
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

    /// Notes when a message arrived.
    pub(crate) fn arrived(&mut self, id: u64, at: u64) {
        if let Ok(index) = self.rows.binary_search_by_key(&id, |row| row.id)
            && let Some(way) = &mut self.rows[index].way
        {
            way.arrives = Some(at);
        }
    }

    /// Returns all rows by time, and how many of which kind are left out.
    pub(crate) fn finish(mut self) -> (Vec<Row>, Vec<(Kind, u64)>) {
        self.rows.sort_by_key(|row| (row.at, row.id));
        (self.rows, self.left_out.into_iter().collect())
    }

    fn make_room(&mut self, for_kind: Kind) {
        let least = self.rows.iter().map(|row| row.kind).min().unwrap_or(for_kind).min(for_kind);
        let before = self.rows.len();
        // The beginning of what explains most is worth more than nothing.
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
        Row { id: 0, at, node: 0, kind, name: "x", text: 0, task: 0, way: None }
    }

    #[test]
    fn what_explains_least_goes_first_and_as_a_whole() {
        let mut tape = Tape::new(4);
        for at in 0..3 {
            assert!(tape.push(row(at, Kind::Heartbeat)).is_some());
        }
        assert!(tape.push(row(3, Kind::Map)).is_some());
        assert!(tape.push(row(4, Kind::Task)).is_some());
        assert_eq!(tape.push(row(5, Kind::Heartbeat)), None);
        assert!(tape.push(row(6, Kind::Task)).is_some());
        assert!(tape.push(row(7, Kind::Task)).is_some());
        assert_eq!(tape.push(row(8, Kind::Map)), None);
        for at in 9..20 {
            tape.push(row(at, Kind::Task));
        }
        let (rows, left_out) = tape.finish();
        assert_eq!(rows.iter().map(|row| row.at).collect::<Vec<_>>(), [4, 6, 7, 9]);
        assert_eq!(left_out, [(Kind::Heartbeat, 4), (Kind::Map, 2), (Kind::Task, 10)]);
    }

    #[test]
    fn an_arrival_finds_its_row_after_others_went() {
        let mut tape = Tape::new(2);
        tape.push(row(0, Kind::Heartbeat));
        let way = Some(Way { to: 1, arrives: None, bytes: 9 });
        let id = tape.push(Row { way, ..row(1, Kind::Link) }).unwrap();
        tape.push(row(2, Kind::Link));
        tape.arrived(id, 5);
        tape.arrived(0, 5);
        let (rows, _) = tape.finish();
        assert_eq!(rows[0].way, Some(Way { to: 1, arrives: Some(5), bytes: 9 }));
        assert_eq!(rows[1].way, None);
    }
}
