//! What may be read in all, however many views read it.

/// Why no more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Spent {
    /// So many records were read.
    #[error("this reads more records than one request may: ask for smaller pages, or for fewer lists within one another")]
    Records,
    /// What is read of executions, or the answer, came to so many bytes.
    #[error("this shows more bytes than one request may: ask for less at once")]
    Bytes,
    /// It took so long.
    #[error("this takes longer than one request may: ask for smaller pages, or for fewer lists within one another")]
    Time,
}

/// What may still be read. All views of one request share it.
pub trait Allowance: Send + Sync {
    /// Takes so many records.
    ///
    /// # Errors
    /// There are not so many left, or no time; then nothing more is given.
    fn take(&self, records: usize) -> Result<(), Spent>;

    /// Takes so many bytes of what executions said.
    ///
    /// # Errors
    /// As above.
    fn take_bytes(&self, bytes: usize) -> Result<(), Spent>;
}
