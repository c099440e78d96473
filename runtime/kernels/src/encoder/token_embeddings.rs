//! The table of words, which is most of a small model: in memory, or row by row from where it lies.

use super::matrix::Matrix;
use std::io;

/// A row for each token.
pub enum TokenEmbeddings<'a> {
    /// All of it.
    InMemory(Matrix<'a>),
    /// A row is read when a token asks for it.
    Read(Box<dyn ReadRows + 'a>),
}

/// A table whose rows are read when they are wanted.
pub trait ReadRows: Send + Sync {
    /// Returns the rows.
    fn rows(&self) -> usize;

    /// Returns the columns.
    fn columns(&self) -> usize;

    /// Writes a row's numbers to `out`, which has a place for each. `room` is this call's to use; what it has grown to
    /// is there at the next.
    ///
    /// # Errors
    /// Whatever reading says.
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
