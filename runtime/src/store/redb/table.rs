//! The tables of a data file.

use ::redb::TableDefinition;
use engine::record::RecordKind;

/// A table. Its keys are ids of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// The alerts and their thresholds, one row.
    Alerts,
    /// The records known to be damaged since a salvage, with its time.
    Damaged,
    /// The version of the file, under a key of zeros.
    Format,
    /// A row that is written to prove that the storage works.
    Probe,
    Results,
    Summaries,
    Tasks,
}

impl Table {
    pub(super) const ALL: [Self; 7] =
        [Self::Alerts, Self::Damaged, Self::Format, Self::Probe, Self::Results, Self::Summaries, Self::Tasks];
    /// The tables that hold records, with their kinds.
    pub(super) const RECORDS: [(Self, RecordKind); 4] = [
        (Self::Alerts, RecordKind::Alerts),
        (Self::Results, RecordKind::Result),
        (Self::Summaries, RecordKind::Summary),
        (Self::Tasks, RecordKind::Task),
    ];

    pub(super) const fn for_kind(kind: RecordKind) -> Self {
        match kind {
            RecordKind::Alerts => Self::Alerts,
            RecordKind::Result => Self::Results,
            RecordKind::Summary => Self::Summaries,
            // Traces are in a file of their own.
            RecordKind::Task | RecordKind::Trace => Self::Tasks,
        }
    }

    pub(super) const fn definition(self) -> Definition {
        TableDefinition::new(match self {
            Self::Alerts => "alerts",
            Self::Damaged => "damaged",
            Self::Format => "format",
            Self::Probe => "probe",
            Self::Results => "results",
            Self::Summaries => "summaries",
            Self::Tasks => "tasks",
        })
    }
}

pub(super) type Definition = TableDefinition<'static, &'static [u8; 16], &'static [u8]>;
