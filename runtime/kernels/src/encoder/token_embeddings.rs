//! The token embedding table, which is most of a small model: in memory, or read row by row from its file.

use super::matrix::Matrix;
use std::io;

/// The token embeddings: one row for each token of the vocabulary.
pub enum TokenEmbeddings<'a> {
    /// The whole table is in memory.
    InMemory(Matrix<'a>),
    /// A row is read when a token needs it.
    Read(Box<dyn ReadRows + 'a>),
}

/// A table whose rows are read on demand.
pub trait ReadRows: Send + Sync {
    /// Returns the number of rows.
    fn rows(&self) -> usize;

    /// Returns the number of columns.
    fn columns(&self) -> usize;

    /// Reads a row into `out`, which has one element for each column. `room` is a buffer that is kept between calls.
    ///
    /// # Errors
    /// Returns the error of the underlying read.
    fn read(&self, row: usize, room: &mut Vec<u8>, out: &mut [f32]) -> io::Result<()>;
}

impl TokenEmbeddings<'_> {
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::InMemory(matrix) => matrix.rows(),
            Self::Read(rows) => rows.rows(),
        }
    }

    pub(super) fn columns(&self) -> usize {
        match self {
            Self::InMemory(matrix) => matrix.columns(),
            Self::Read(rows) => rows.columns(),
        }
    }
}

impl<'a> From<Matrix<'a>> for TokenEmbeddings<'a> {
    fn from(matrix: Matrix<'a>) -> Self {
        Self::InMemory(matrix)
    }
}
