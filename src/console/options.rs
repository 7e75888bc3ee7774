//! Rules of the embedded pages.

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsoleOptions {
    /// Origins of pages that may show the embedded pages in a frame.
    pub origins: Vec<String>,
}
