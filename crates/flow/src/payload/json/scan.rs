//! Walks JSON text value by value, without decoding what nobody asks for.
//!
//! Every webhook's body is checked here before it is acknowledged, and again when its execution starts: a general reader that
//! decodes each string and number took a third of a front's instructions.

use super::NotJson;
use std::borrow::Cow;

/// Lists and objects within one another at most: what `serde_json` reads into a tree.
const MAX_DEPTH: usize = 127;
/// Digits of a number that cannot be out of range without an exponent.
const SURE_DIGITS: usize = 300;

/// A place in a text. Who looks for one value in a large text has not checked that all of it is UTF-8: what it gives may be none.
#[derive(Clone, Debug)]
pub(super) struct Scanner<'t> {
    text: &'t [u8],
    at: usize,
    /// Values that were passed, lists and objects among them.
    values: usize,
}

impl<'t> Scanner<'t> {
    /// From a place on, at which a value or a key begins.
    pub(super) fn at(text: &'t [u8], at: usize) -> Self {
        Self { at, ..Self::new(text) }
    }

    pub(super) fn new(text: &'t [u8]) -> Self {
        Self { text, at: 0, values: 0 }
    }

    /// Nothing but white space is left.
    pub(super) fn end(mut self) -> Result<(), NotJson> {
        self.space();
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err(NotJson::Malformed)
        }
    }

    /// Passes a value of at most `depth` levels; gives its text.
    pub(super) fn value(&mut self, depth: usize) -> Result<&'t [u8], NotJson> {
        self.space();
        let start = self.at;
        // One bit a level, the innermost last: whether it is an object.
        let (mut objects, mut level) = (0_u128, 0);
        loop {
            self.space();
            self.values += 1;
            match self.byte() {
                Some(opening @ (b'{' | b'[')) => {
                    if level == depth.min(MAX_DEPTH) {
                        return Err(NotJson::TooDeep);
                    }
                    let is_object = opening == b'{';
                    self.at += 1;
                    self.space();
                    // The closing bracket stands two behind the opening one.
                    if self.byte() == Some(opening + 2) {
                        self.at += 1;
                    } else {
                        level += 1;
                        objects = objects << 1 | u128::from(is_object);
                        if is_object {
                            self.key().map(drop)?;
                        }
                        continue;
                    }
                }
                Some(b'"') => self.string().map(drop)?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                _ => return Err(NotJson::Malformed),
            }
            loop {
                if level == 0 {
                    return self.text.get(start..self.at).ok_or(NotJson::Malformed);
                }
                let is_object = objects & 1 == 1;
                self.space();
                match self.byte() {
                    Some(b',') => {
                        self.at += 1;
                        if is_object {
                            self.key().map(drop)?;
                        }
                        break;
                    }
                    Some(b'}') if is_object => {}
                    Some(b']') if !is_object => {}
                    _ => return Err(NotJson::Malformed),
                }
                self.at += 1;
                level -= 1;
                objects >>= 1;
            }
        }
    }

    /// Where it stands.
    pub(super) fn place(&self) -> usize {
        self.at
    }

    /// How many values were passed.
    pub(super) fn values(&self) -> usize {
        self.values
    }

    /// Enters a list or an object: whether there is one that begins with this bracket.
    pub(super) fn enter(&mut self, opening: u8) -> bool {
        self.space();
        let is_there = self.byte() == Some(opening);
        self.at += usize::from(is_there);
        is_there
    }

    /// Within a list or an object: whether there is another member. `is_first` says that none was passed before.
    pub(super) fn another(&mut self, closing: u8, is_first: bool) -> Result<bool, NotJson> {
        self.space();
        match self.byte() {
            Some(byte) if byte == closing => Ok(false),
            Some(b',') if !is_first => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if is_first => Ok(true),
            _ => Err(NotJson::Malformed),
        }
    }

    /// Passes a key and the colon behind it; gives where the key is.
    pub(super) fn key(&mut self) -> Result<Place, NotJson> {
        self.space();
        if self.byte() != Some(b'"') {
            return Err(NotJson::Malformed);
        }
        let key = self.string()?;
        self.space();
        if self.byte() != Some(b':') {
            return Err(NotJson::Malformed);
        }
        self.at += 1;
        Ok(key)
    }

    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    fn word(&mut self, word: &str) -> Result<(), NotJson> {
        let is_there = self.text[self.at..].starts_with(word.as_bytes());
        self.at += word.len();
        if is_there { Ok(()) } else { Err(NotJson::Malformed) }
    }

    /// The string in a place that was passed.
    pub(super) fn text(&self, place: Place) -> Cow<'t, str> {
        let Place { start, end, is_plain } = place;
        if is_plain {
            let plain = self.text.get(start + 1..end - 1).unwrap_or_default();
            return Cow::Borrowed(std::str::from_utf8(plain).unwrap_or_default());
        }
        // It was checked.
        let quoted = self.text.get(start..end).unwrap_or_default();
        Cow::Owned(serde_json::from_slice(quoted).unwrap_or_default())
    }

    /// Passes the string that begins here.
    fn string(&mut self) -> Result<Place, NotJson> {
        let start = self.at;
        let mut is_plain = true;
        self.at += 1;
        loop {
            self.at = plain_until(self.text, self.at);
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => {
                    is_plain = false;
                    self.escape()?;
                }
                // The text ends, or a control character stands in it.
                _ => return Err(NotJson::Malformed),
            }
        }
        self.at += 1;
        Ok(Place {
            start,
            end: self.at,
            is_plain,
        })
    }

    fn escape(&mut self) -> Result<(), NotJson> {
        self.at += 1;
        match self.byte() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => match self.unit()? {
                // The first half of a pair, behind which the second has to stand.
                0xd800..=0xdbff => {
                    if self.byte() != Some(b'\\') {
                        return Err(NotJson::Malformed);
                    }
                    self.at += 1;
                    if self.byte() != Some(b'u') || !matches!(self.unit()?, 0xdc00..=0xdfff) {
                        return Err(NotJson::Malformed);
                    }
                }
                0xdc00..=0xdfff => return Err(NotJson::Malformed),
                _ => {}
            },
            _ => return Err(NotJson::Malformed),
        }
        Ok(())
    }

    /// Passes `u` and four digits.
    fn unit(&mut self) -> Result<u32, NotJson> {
        let digits = self.text.get(self.at + 1..self.at + 5).ok_or(NotJson::Malformed)?;
        let mut unit = 0;
        for digit in digits {
            unit = unit << 4 | char::from(*digit).to_digit(16).ok_or(NotJson::Malformed)?;
        }
        self.at += 5;
        Ok(unit)
    }

    fn number(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        let mut is_sure = self.at - start <= SURE_DIGITS;
        if let Some(b'e' | b'E') = self.byte() {
            is_sure = false;
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        if is_sure {
            return Ok(());
        }
        let number = self.text.get(start..self.at).ok_or(NotJson::Malformed)?;
        let read: Result<serde_json::Number, _> = serde_json::from_slice(number);
        read.map(drop).map_err(|_| NotJson::Malformed)
    }

    /// Passes one digit or more.
    fn digits(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(NotJson::Malformed) }
    }
}

/// Where a string stands, its quotes included, and whether it has no escapes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    start: usize,
    end: usize,
    is_plain: bool,
}

/// Where the first quote, backslash or control character stands from `at` on; eight bytes at a time.
fn plain_until(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // The lowest byte of which the high bit is set is below the bound; what is above it may be a borrow's.
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word;
    let is = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    while let Some(piece) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*piece);
        let found = (below(word, 0x20) | is(word, b'"') | is(word, b'\\')) & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | 0..0x20);
    while bytes.get(at).is_some_and(is_plain) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn plain_text_ends_where_looking_at_each_byte_ends(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0x1e_u8..0x24, 0x5a_u8..0x5e], 0..40), at in 0_usize..40) {
            let at = at.min(bytes.len());
            let ends = |place: &usize| bytes.get(*place).is_none_or(|byte| *byte == b'"' || *byte == b'\\' || *byte < 0x20);
            prop_assert_eq!(Some(plain_until(&bytes, at)), (at..=bytes.len()).find(ends));
        }
    }
}
