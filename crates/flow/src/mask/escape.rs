//! JSON's escapes by number and of slashes: writers differ in which characters they write so, and in how they write the number.

/// One escape, and what it stands for.
struct Escape {
    start: usize,
    end: usize,
    character: char,
}

/// The escapes of JSON in a text, in order. What only looks like one is none.
struct Escapes<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Iterator for Escapes<'_> {
    type Item = Escape;

    fn next(&mut self) -> Option<Escape> {
        loop {
            let start = self.at + self.bytes.get(self.at..)?.iter().position(|byte| *byte == b'\\')?;
            let read = escape(&self.bytes[start..]);
            self.at = start + read.map_or(1, |(_, length)| length);
            if let Some((character, _)) = read {
                return Some(Escape {
                    start,
                    end: self.at,
                    character,
                });
            }
        }
    }
}

/// The character that the escape at the beginning stands for, and how long it is.
fn escape(bytes: &[u8]) -> Option<(char, usize)> {
    let character = match *bytes.get(1)? {
        byte @ (b'"' | b'\\' | b'/') => byte.into(),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        _ => return by_number(bytes),
    };
    Some((character, 2))
}

/// `\u` and four digits; two of them where the number has more bits.
fn by_number(bytes: &[u8]) -> Option<(char, usize)> {
    let first = unit(bytes)?;
    if let Some(character) = char::from_u32(first.into()) {
        return Some((character, 6));
    }
    let pair = [first, unit(&bytes[6..])?];
    let character = char::decode_utf16(pair).next()?.ok()?;
    Some((character, 12))
}

fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"\\u")?.first_chunk::<4>()?;
    digits.iter().try_fold(0, |unit, digit| {
        Some((unit << 4) | u16::try_from(char::from(*digit).to_digit(16)?).ok()?)
    })
}

/// The text without its escapes, where one of them is by number or of a slash: others have one form, which is looked for as it is.
pub(super) fn undone(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_any = |pair: &[u8]| pair == b"\\u" || pair == b"\\/";
    if !bytes.contains(&b'\\') || !bytes.windows(2).any(is_any) {
        return None;
    }
    let (mut out, mut from) = (Vec::with_capacity(bytes.len()), 0);
    for escape in (Escapes { bytes, at: 0 }) {
        out.extend_from_slice(&bytes[from..escape.start]);
        out.extend_from_slice(escape.character.encode_utf8(&mut [0; 4]).as_bytes());
        from = escape.end;
    }
    out.extend_from_slice(&bytes[from..]);
    Some(out)
}

/// Where that stands which stands there once the escapes are undone. Both are in order.
pub(super) fn origins(bytes: &[u8], found: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut escapes = Escapes { bytes, at: 0 }.peekable();
    // By so much the escapes up to here are longer than their characters.
    let mut longer = 0;
    let mut origin = |at: usize| {
        while let Some(escape) = escapes.next_if(|escape| escape.start - longer + escape.character.len_utf8() <= at) {
            longer += escape.end - escape.start - escape.character.len_utf8();
        }
        at + longer
    };
    found.iter().map(|(start, end)| (origin(*start), origin(*end))).collect()
}
