//! Rules of the embedded pages.

use super::SourceOptions;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleOptions {
    /// Origins of pages that may show the embedded pages in a frame.
    pub origins: Vec<String>,
    /// Entries of one page of executions, log lines, instances and steps.
    pub page: usize,
    /// Executions looked through for one page of log lines, and instances for what needs attention.
    pub looked_at: usize,
    /// Fields of one form.
    pub fields: usize,
    /// Limits of the data sources that fill in forms.
    pub sources: SourceOptions,
}

impl Default for ConsoleOptions {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            page: 50,
            looked_at: 200,
            fields: 10_000,
            sources: SourceOptions::default(),
        }
    }
}
