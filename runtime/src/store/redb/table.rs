//! The tables of a data file.

use ::redb::TableDefinition;
use engine::record::RecordKind;

/// One table; its keys are ids of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// What is known to be damaged since it was salvaged, with the time of that.
    Damaged,
    /// The version of the file, under a key of zeroes.
    Format,
    /// What storage is asked to write to show that it does.
    Probe,
    Results,
    Summaries,
    Tasks,
}

impl Table {
    pub(super) const ALL: [Self; 6] =
        [Self::Damaged, Self::Format, Self::Probe, Self::Results, Self::Summaries, Self::Tasks];
    /// Those that hold records, and what each holds.
    pub(super) const RECORDS: [(Self, RecordKind); 3] = [
        (Self::Results, RecordKind::Result),
        (Self::Summaries, RecordKind::Summary),
        (Self::Tasks, RecordKind::Task),
    ];

    pub(super) const fn for_kind(kind: RecordKind) -> Self {
        match kind {
            RecordKind::Result => Self::Results,
            RecordKind::Summary => Self::Summaries,
            RecordKind::Task => Self::Tasks,
        }
    }

    pub(super) const fn definition(self) -> Definition {
        TableDefinition::new(match self {
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
