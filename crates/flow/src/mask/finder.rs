//! Finds many texts in one pass, and holds no more of each than its beginning, its length and two digests.

use std::cmp::Reverse;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

/// Bytes by which a place is known where a text may begin.
pub(super) const HEAD: usize = 8;
/// Bytes that are compared before all of a long text is: what begins alike, such as tokens of one issuer, mostly ends here.
const NEAR: usize = 64;
/// Bytes that are compared for one of those that are looked through. No key: only bytes that are made to look like the
/// beginnings of long texts take more.
const EFFORT: usize = 64;

/// A text that is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    head: u64,
    length: usize,
    /// Digest of its first `NEAR` bytes.
    near: u64,
    /// Digest of all of it.
    whole: u64,
}

impl Wanted {
    /// `None` for a text shorter than `HEAD`.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        Some(Self {
            head: u64::from_le_bytes(*text.first_chunk()?),
            length: text.len(),
            near: digest(&text[..text.len().min(NEAR)]),
            whole: digest(text),
        })
    }

    /// Whether `bytes` begin with it, if their head is the same, and how many were compared to know.
    fn begins(&self, bytes: &[u8]) -> (bool, usize) {
        let Some(text) = bytes.get(..self.length) else {
            return (false, 0);
        };
        let near = &text[..self.length.min(NEAR)];
        if digest(near) != self.near {
            return (false, near.len());
        }
        (digest(text) == self.whole, near.len() + text.len())
    }
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Texts that are looked for together; cheap to clone.
#[derive(Clone)]
pub(super) struct Finder {
    /// By their heads, longest first.
    wanted: Arc<[Wanted]>,
    /// A bit for every head, and many more that are not set: nearly every place is known by it to be no beginning.
    heads: Arc<[u64]>,
}

impl Finder {
    /// `None` where there is nothing to look for.
    pub(super) fn new(mut wanted: Vec<Wanted>) -> Option<Self> {
        wanted.sort_unstable_by_key(|text| (text.head, Reverse(text.length), text.whole));
        wanted.dedup();
        if wanted.is_empty() {
            return None;
        }
        let mut heads = vec![0; wanted.len().next_power_of_two()];
        for text in &wanted {
            let (word, bit) = bit_of(text.head, heads.len());
            heads[word] |= bit;
        }
        Some(Self {
            wanted: wanted.into(),
            heads: heads.into(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }

    /// What it looks for.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &Wanted> {
        self.wanted.iter()
    }

    /// Whether it looks for this.
    pub(super) fn finds(&self, text: &Wanted) -> bool {
        self.beginning(text.head).any(|wanted| wanted == text)
    }

    /// What it takes of memory. Nothing that it holds has more behind it.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        fn flat<T: Copy>(items: &[T]) -> usize {
            size_of_val(items)
        }
        flat(&self.wanted) + flat(&self.heads)
    }

    /// Where texts stand, ordered, merged where they touch. From where too much would have to be compared all counts as found.
    pub(super) fn find(&self, bytes: &[u8]) -> Vec<(usize, usize)> {
        let mut found: Vec<(usize, usize)> = Vec::new();
        let mut effort = bytes.len().saturating_mul(EFFORT);
        for (start, head) in bytes.windows(HEAD).enumerate() {
            let head = head.first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
            let (word, bit) = bit_of(head, self.heads.len());
            if self.heads[word] & bit == 0 {
                continue;
            }
            for text in self.beginning(head) {
                let end = start + text.length;
                if found.last().is_some_and(|last| end <= last.1) {
                    break;
                }
                let (begins, compared) = text.begins(&bytes[start..]);
                if begins {
                    add(&mut found, start, end);
                }
                let Some(left) = effort.checked_sub(compared + 1) else {
                    add(&mut found, start, bytes.len());
                    return found;
                };
                effort = left;
            }
        }
        found
    }

    fn beginning(&self, head: u64) -> impl Iterator<Item = &Wanted> {
        let from = self.wanted.partition_point(|text| text.head < head);
        self.wanted[from..].iter().take_while(move |text| text.head == head)
    }
}

/// Adds what begins where everything else does or behind that.
pub(super) fn add<T: Copy + Ord>(found: &mut Vec<(T, T)>, start: T, end: T) {
    match found.last_mut() {
        Some(last) if start <= last.1 => last.1 = last.1.max(end),
        _ => found.push((start, end)),
    }
}

/// The bit of a head in a table of `words`, a power of two.
fn bit_of(head: u64, words: usize) -> (usize, u64) {
    // Fibonacci hashing: the upper bits of the product depend on all bytes.
    let hash = head.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = (hash >> 32) as usize & (words - 1);
    (word, 1 << (hash >> 58))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn find(texts: &[&[u8]], bytes: &[u8]) -> Vec<(usize, usize)> {
        let finder = Finder::new(texts.iter().filter_map(|text| Wanted::of(text)).collect());
        finder.map(|finder| finder.find(bytes)).unwrap_or_default()
    }

    /// Compares every text at every place.
    fn slowly(texts: &[Vec<u8>], bytes: &[u8]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for start in 0..bytes.len() {
            for text in texts.iter().filter(|text| text.len() >= HEAD && bytes[start..].starts_with(text)) {
                add(&mut found, start, start + text.len());
            }
        }
        found
    }

    proptest! {
        /// Two letters, so that texts begin alike, lie in one another and overlap.
        #[test]
        fn it_finds_what_a_comparison_at_every_place_finds(
            texts in proptest::collection::vec(proptest::collection::vec(b'a'..=b'b', 6..14), 0..12),
            bytes in proptest::collection::vec(b'a'..=b'b', 0..300),
            long in 0usize..200,
        ) {
            let mut texts = texts;
            texts.extend(bytes.get(bytes.len().saturating_sub(long)..).map(<[u8]>::to_vec));
            let texts_of: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(find(&texts_of, &bytes), slowly(&texts, &bytes));
        }
    }

    #[test]
    fn texts_that_end_otherwise_are_others() {
        let long = [b'x'; 3 * NEAR];
        for end in [HEAD + 1, NEAR, 2 * NEAR] {
            let mut other = long;
            other[end - 1] = b'y';
            assert!(find(&[&long[..end]], &other[..end]).is_empty(), "{end}");
            assert_eq!(find(&[&long[..end]], &long[..end]), [(0, end)]);
        }
    }

    #[test]
    fn what_would_take_too_long_to_tell_counts_as_found() {
        let mut nearly = vec![b'x'; 10_000];
        let bytes = nearly.repeat(10);
        nearly[9_999] = b'y';
        let found = find(&[&nearly], &bytes);
        let (start, end) = found[0];
        assert!(start < 1_000, "it gave up at {start}");
        assert_eq!((found.len(), end), (1, bytes.len()));
    }
}
