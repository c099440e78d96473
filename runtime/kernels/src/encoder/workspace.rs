//! The memory that a forward pass works in, kept for the next one, and what it leaves there.

use super::attention::{Projected, Room};
use super::{BLOCK_ROWS, Encoder, Sequence, stride};
use crate::aligned::Aligned;
use crate::simd::elements::Quantization;
use std::ops::Range;

/// Memory for forward passes; grows to what the largest batch needs.
#[derive(Default)]
pub struct Scratch {
    pub(super) members: Vec<Member>,
    /// By member; layers take turns, so that a member may write while others still read.
    pub(super) projected: [Vec<Projected>; 2],
    /// The first token of each sequence, and the end of the last one.
    pub(super) starts: Vec<usize>,
}

/// What one member of a team works on.
#[derive(Default)]
pub(super) struct Member {
    /// Its tokens of the batch.
    pub(super) tokens: Range<usize>,
    /// Their hidden states.
    pub(super) rows: Aligned<f32>,
    /// What attention found.
    pub(super) context: Aligned<f32>,
    /// A block at the intermediate size.
    pub(super) wide: Aligned<f32>,
    /// A block of activations as the format stores them.
    pub(super) prepared: Aligned<u8>,
    pub(super) quantizations: Vec<Quantization>,
    pub(super) room: Room,
    /// A word as it is read from where it lies.
    pub(super) word: Vec<u8>,
    /// A word of its tokens could not be read.
    pub(super) unread: bool,
}

/// The hidden states that a forward pass computed.
#[derive(Clone, Copy)]
pub struct Hidden<'a> {
    members: &'a [Member],
    starts: &'a [usize],
    width: usize,
}

impl Scratch {
    /// Shares the tokens among members and makes room; returns how many members have any.
    pub(super) fn begin(
        &mut self,
        encoder: &Encoder<'_>,
        sequences: &[Sequence<'_>],
        members_max: usize,
    ) -> usize {
        self.starts.clear();
        self.starts.push(0);
        let mut total = 0;
        let mut longest = 0;
        for Sequence { tokens, .. } in sequences {
            total += tokens.len();
            longest = longest.max(tokens.len());
            self.starts.push(total);
        }
        let members = members_max.min(total.div_ceil(MEMBER_ROWS_MIN));
        if self.members.len() < members {
            self.members.resize_with(members, Member::default);
            for projected in &mut self.projected {
                projected.resize_with(members, Projected::default);
            }
        }
        for (index, member) in self.members[..members].iter_mut().enumerate() {
            member.tokens = total * index / members..total * (index + 1) / members;
            member.ensure(encoder, longest);
            for projected in &mut self.projected {
                let numbers = member.tokens.len() * encoder.heads.stride;
                projected[index].rows.ensure(numbers * encoder.number_bytes());
            }
        }
        members
    }

    pub(super) fn hidden(&self, width: usize, members: usize) -> Hidden<'_> {
        Hidden { members: &self.members[..members], starts: &self.starts, width }
    }
}

impl Member {
    fn ensure(&mut self, encoder: &Encoder<'_>, longest: usize) {
        let rows = self.tokens.len() * stride(encoder.hidden);
        self.rows.ensure(rows);
        self.context.ensure(rows);
        self.wide.ensure(BLOCK_ROWS * stride(encoder.intermediate));
        let row_bytes = encoder
            .layers
            .iter()
            .flat_map(|layer| [&layer.attend, &layer.attended, &layer.widen, &layer.narrow])
            .map(|linear| linear.prepared_bytes())
            .max()
            .unwrap_or(0);
        self.prepared.ensure(BLOCK_ROWS * row_bytes);
        self.quantizations.resize(BLOCK_ROWS, Quantization::default());
        self.room.ensure(encoder.heads, longest);
    }
}

impl<'a> Hidden<'a> {
    /// Returns how many sequences there were.
    #[must_use]
    pub fn sequences(&self) -> usize {
        self.starts.len() - 1
    }

    /// Returns the hidden state of each token of a sequence.
    ///
    /// # Panics
    /// Panics where there was no such sequence.
    pub fn rows(&self, sequence: usize) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        let Self { members, width, .. } = *self;
        let range = self.starts[sequence]..self.starts[sequence + 1];
        members.iter().flat_map(move |member| {
            let start = range.start.max(member.tokens.start);
            let end = range.end.min(member.tokens.end);
            (start..end)
                .map(move |token| &member.rows[(token - member.tokens.start) * stride(width)..][..width])
        })
    }

    /// Writes the mean over a sequence's tokens.
    ///
    /// # Panics
    /// Panics where there was no such sequence or `mean` has not one place for each channel.
    pub fn mean(&self, sequence: usize, mean: &mut [f32]) {
        assert_eq!(mean.len(), self.width, "a hidden state has {} channels", self.width);
        mean.fill(0.0);
        let mut count = 0.0;
        for row in self.rows(sequence) {
            count += 1.0;
            for (sum, number) in mean.iter_mut().zip(row) {
                *sum += number;
            }
        }
        for number in mean {
            *number /= count;
        }
    }

    /// Writes the hidden state of a sequence's first token.
    ///
    /// # Panics
    /// Panics where there was no such sequence or `first` has not one place for each channel.
    pub fn first(&self, sequence: usize, first: &mut [f32]) {
        if let Some(row) = self.rows(sequence).next() {
            first.copy_from_slice(row);
        }
    }
}

/// Fewer tokens than this are not worth a member of a team.
const MEMBER_ROWS_MIN: usize = 4;
