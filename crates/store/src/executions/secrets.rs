//! The secrets that steps' results hold, blanked wherever else they stand.

use super::mask::BLANK;
use super::view::Unreadable;
use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use std::collections::BTreeSet;
use zeroize::Zeroize as _;

/// A text shorter than this is not looked for elsewhere: it would match by chance.
const SHORTEST: usize = 8;
/// Of a longer secret the beginning is looked for, and nothing is shown behind it.
const LONGEST: usize = 1 << 10;
/// Bytes of all that are looked for. No key, as with the other two: an execution with more of them shows no text that may hold one.
const ALL: usize = 256 << 10;

/// What is looked for: each text once, however often it was found.
#[derive(Default)]
pub(super) struct Secrets {
    distinct: BTreeSet<Vec<u8>>,
    bytes: usize,
    /// Why there may be others.
    unread: Option<Unreadable>,
}

impl Secrets {
    pub(super) fn add(&mut self, secret: &[u8]) {
        let beginning = &secret[..secret.len().min(LONGEST)];
        if beginning.len() < SHORTEST || self.are_too_many() || self.distinct.contains(beginning) {
            return;
        }
        self.bytes += beginning.len();
        self.distinct.insert(beginning.to_vec());
    }

    /// What may hold others cannot be read.
    pub(super) fn lacks(&mut self, reason: Unreadable) {
        self.unread.get_or_insert(reason);
    }

    fn are_too_many(&self) -> bool {
        self.bytes > ALL
    }

    /// What finds them all in one pass, for a text in which nothing was blanked when it was written.
    ///
    /// # Errors
    /// There are too many, or others that are not known.
    pub(super) fn complete(&self) -> Result<Finder, Unreadable> {
        self.unread.map_or_else(|| self.finder(), Err)
    }

    /// What finds those that are known in one pass.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn finder(&self) -> Result<Finder, Unreadable> {
        if self.are_too_many() {
            return Err(Unreadable::TooManySecrets);
        }
        // The other kinds take memory for every byte that could follow.
        let mut builder = AhoCorasick::builder();
        let builder = builder
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::ContiguousNFA));
        let built = builder.build(&self.distinct).map_err(|_| Unreadable::TooManySecrets)?;
        Ok(Finder(built))
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        for mut secret in std::mem::take(&mut self.distinct) {
            secret.zeroize();
        }
    }
}

/// See [`Secrets::complete`].
pub(super) struct Finder(AhoCorasick);

impl Finder {
    /// The first `most` bytes of a text with its secrets blanked, and whether more follows. No more of the text is looked at than it
    /// takes to find those whole that begin there.
    pub(super) fn shown(&self, text: &[u8], most: usize) -> (Vec<u8>, bool) {
        let longest = self.0.max_pattern_len();
        let (mut out, mut at) = (Vec::new(), 0);
        while at < text.len() && out.len() < most {
            let end = at.saturating_add(most - out.len()).saturating_add(longest).min(text.len());
            let hit = self.0.find(Input::new(text).range(at..end));
            out.extend_from_slice(&text[at..hit.map_or(end, |hit| hit.start())]);
            if hit.is_some() {
                out.extend_from_slice(BLANK.as_bytes());
            }
            at = match hit {
                None => end,
                Some(hit) if hit.len() == LONGEST => text.len(),
                Some(hit) => hit.end(),
            };
        }
        let is_cut = at < text.len() || out.len() > most;
        out.truncate(most);
        (out, is_cut)
    }

    /// The whole of what may be part of a URL with its secrets blanked, those of which characters are percent-encoded, too.
    pub(super) fn blanked(&self, text: &str) -> String {
        let (mut shown, _) = self.shown(text.as_bytes(), usize::MAX);
        for plus in [b'+', b' '] {
            shown = self.without_encoded(&shown, plus);
        }
        String::from_utf8_lossy(&shown).into_owned()
    }

    /// An encoded text, in which a plus means `plus`, with its secrets blanked.
    fn without_encoded(&self, text: &[u8], plus: u8) -> Vec<u8> {
        let (plain, places) = percent_decoded(text, plus);
        let (mut out, mut at) = (Vec::new(), 0);
        for hit in self.0.find_iter(&plain) {
            out.extend_from_slice(&text[at..places[hit.start()]]);
            out.extend_from_slice(BLANK.as_bytes());
            if hit.len() == LONGEST {
                return out;
            }
            at = places[hit.end()];
        }
        out.extend_from_slice(&text[at..]);
        out
    }
}

/// What an encoded text says, and where each byte of that, and the end, stands in it.
fn percent_decoded(text: &[u8], plus: u8) -> (Vec<u8>, Vec<usize>) {
    let (mut plain, mut places, mut at) = (Vec::with_capacity(text.len()), Vec::with_capacity(text.len() + 1), 0);
    while let [first, rest @ ..] = &text[at..] {
        let encoded = rest.get(..2).filter(|_| *first == b'%').and_then(hex_byte);
        places.push(at);
        plain.push(encoded.unwrap_or(if *first == b'+' { plus } else { *first }));
        at += if encoded.is_some() { 3 } else { 1 };
    }
    places.push(at);
    (plain, places)
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    let number = digits.iter().try_fold(0, |number, next| Some(number * 16 + digit(next)?))?;
    u8::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(all: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        all.iter().for_each(|secret| secrets.add(secret.as_bytes()));
        secrets
    }

    fn shown(all: &[&str], text: &str, most: usize) -> (String, bool) {
        let (shown, is_cut) = secrets(all).finder().unwrap().shown(text.as_bytes(), most);
        (String::from_utf8(shown).unwrap(), is_cut)
    }

    #[test]
    fn a_secret_is_blanked_wherever_else_it_stands_the_longest_first() {
        let all = ["0123456789", "01234567", "short", "9 abcdefgh"];
        assert_eq!(
            shown(&all, "Bearer 0123456789 abcdefgh, 01234567 short!", 100),
            (format!("Bearer {BLANK} abcdefgh, {BLANK} short!"), false)
        );
        assert_eq!(shown(&[], "nothing to hide", 7), ("nothing".to_owned(), true));
    }

    #[test]
    fn a_secret_is_found_whole_where_the_text_is_cut_within_it() {
        let text = "ab0123456789cd";
        for most in 0..=text.len() {
            let (cut, is_cut) = shown(&["0123456789"], text, most);
            let whole = format!("ab{BLANK}cd");
            assert_eq!(cut, whole[..most.min(whole.len())], "{most}");
            assert_eq!(is_cut, most < whole.len(), "{most}");
        }
    }

    #[test]
    fn behind_the_beginning_of_a_long_secret_nothing_is_shown() {
        let long = "x".repeat(2 * LONGEST);
        let text = format!("a {long} b");
        assert_eq!(shown(&[long.as_str()], &text, usize::MAX), (format!("a {BLANK}"), false));
    }

    #[test]
    fn a_secret_is_blanked_in_a_url_however_its_characters_are_encoded() {
        let blanked = |secret: &str, text: &str| secrets(&[secret]).finder().unwrap().blanked(text);
        for (secret, encoded) in [
            ("a+b/c=d e", "a+b/c=d e"),
            ("a+b/c=d e", "a%2Bb%2fc%3Dd%20e"),
            ("a+b/c=d e", "a+b/c%3Dd%20e"),
            ("a+b/c=d e", "a%2Bb/c%3Dd+e"),
            ("a%41b/c=d", "a%41b/c=d"),
            ("passwörter", "passw%C3%B6rter"),
        ] {
            let text = format!("/%zz/x?k={encoded}&100%&%4");
            assert_eq!(blanked(secret, &text), format!("/%zz/x?k={BLANK}&100%&%4"), "{encoded}");
        }
        let long = "x/".repeat(LONGEST);
        assert_eq!(
            blanked(&long, &format!("a%20{}%2Fb", long.replace('/', "%2F"))),
            format!("a%20{BLANK}")
        );
        assert_eq!(blanked("not in it", "a%20b+c%"), "a%20b+c%");
    }

    #[test]
    fn a_text_that_is_found_often_is_looked_for_once_and_there_is_an_end_of_others() {
        let password = "p4ssw0rd";
        let often = secrets(&[password; 4_096]);
        assert_eq!(often.finder().unwrap().0.patterns_len(), 1);
        let side_by_side: Vec<String> = (1..=4_096).map(|times| password.repeat(times)).collect();
        let mut secrets = secrets(&side_by_side.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(secrets.finder().unwrap().0.patterns_len(), LONGEST / password.len());
        (0..ALL / SHORTEST).for_each(|number| secrets.add(format!("{number:08}").as_bytes()));
        assert_eq!(secrets.finder().err(), Some(Unreadable::TooManySecrets));
    }
}
