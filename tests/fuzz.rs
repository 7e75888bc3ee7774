//! The fuzz targets in the ordinary build: over the committed corpus, then over seeded mutations of it for some seconds.
//!
//! `make fuzz` runs the same functions instrumented and for an hour each. `FUZZ_SEED` draws other mutations, `FUZZ_SECONDS`
//! more of them. An input that fails is kept in a file, one that takes long is printed, and with `FUZZ_INPUT` each is in that file while
//! it is read, as one may end the process. Put into the corpus it fails first, every time.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::expect_used, clippy::panic, reason = "the targets panic where something does not hold")]

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "a library for the fuzzer, a module here")]
mod targets;

use std::fs;
use std::io::{Write as _, stderr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// The same mutations in each run, so that a change is not judged by luck; `make crash` draws others.
const SEED: u64 = 20_261_201;
/// How long each target takes mutations.
const SECONDS: u64 = 5;
/// An input that is read for longer is printed.
const LONG: Duration = Duration::from_secs(10);
/// The longest input.
const LONGEST: usize = 16 << 10;

#[test]
fn route() {
    holds("route");
}

#[test]
fn body() {
    holds("body");
}

#[test]
fn yaml() {
    holds("yaml");
}

#[test]
fn expression() {
    holds("expression");
}

#[test]
fn frame() {
    holds("frame");
}

#[test]
fn child() {
    holds("child");
}

#[test]
fn every_target_has_a_test_a_corpus_and_a_program() {
    let this = fs::read_to_string(file!()).unwrap();
    let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for (name, _) in targets::TARGETS {
        assert!(this.contains(&format!("holds(\"{name}\")")), "{name} is not tested");
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name} has no program");
        assert!(corpus(name).len() >= 20, "the corpus of {name} is small");
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder().join("corpus").join(name)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// The words of a dictionary, in libFuzzer's format: a line is empty, a comment, or a word in quotes whose escapes are `\\`, `\"` and
/// `\xHH`. <https://llvm.org/docs/LibFuzzer.html#dictionaries>
fn dictionary(name: &str) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(folder().join("dictionaries").join(name)).unwrap();
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(at, line)| word(line).unwrap_or_else(|| panic!("the dictionary of {name}, line {}: {line}", at + 1)))
        .collect()
}

fn word(line: &str) -> Option<Vec<u8>> {
    let mut text = line.strip_prefix('"')?.strip_suffix('"').filter(|text| !text.is_empty())?;
    let mut word = Vec::new();
    while let Some(first) = text.bytes().next() {
        let (byte, length) = match (first, text.as_bytes().get(1)) {
            (b'\\', Some(escaped @ (b'\\' | b'"'))) => (*escaped, 2),
            (b'\\', Some(b'x')) => (u8::from_str_radix(text.get(2..4)?, 16).ok()?, 4),
            (b'\\' | b'"', _) => return None,
            _ => (first, 1),
        };
        word.push(byte);
        text = text.get(length..)?;
    }
    Some(word)
}

#[test]
fn a_word_is_what_the_fuzzer_takes_it_for() {
    assert_eq!(word(r#""a\x0a\\\"b""#).as_deref(), Some(b"a\n\\\"b".as_slice()));
    for wrong in [r#""\ud800""#, r#""\n""#, r#""\x0""#, r#""a"b""#, "bare", r#""""#] {
        assert_eq!(word(wrong), None, "{wrong}");
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn holds(name: &'static str) {
    let reader = Reader {
        name,
        seed: number("FUZZ_SEED").unwrap_or(SEED),
        trace: std::env::var_os("FUZZ_INPUT").map(PathBuf::from),
        now: Mutex::default(),
    };
    let (corpus, words) = (corpus(name), dictionary(name));
    let seconds = number("FUZZ_SECONDS").unwrap_or(SECONDS);
    // Not captured as the test's output is: it is there, too, if an input ends the process.
    let _ = writeln!(
        stderr(),
        "{name}: {} inputs of the corpus and {seconds} s of mutations; for one that ends the process or is read for ever: \
         FUZZ_SEED={} FUZZ_SECONDS=600 FUZZ_INPUT=/tmp/{name} cargo test --features faults --test fuzz {name}",
        corpus.len(),
        reader.seed
    );
    std::thread::scope(|scope| {
        let (_over, watched) = mpsc::channel();
        let reader = &reader;
        scope.spawn(move || reader.watch(&watched));
        for input in &corpus {
            reader.one(input);
        }
        let mut mutations = Mutations {
            random: reader.seed,
            corpus,
            words,
        };
        let until = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < until {
            reader.one(&mutations.next());
        }
    });
    println!("{name}: {} inputs hold (FUZZ_SEED={})", reader.now.lock().unwrap().0, reader.seed);
}

/// Reads inputs, and has each at hand while it does.
struct Reader {
    name: &'static str,
    seed: u64,
    /// Where each input is put before.
    trace: Option<PathBuf>,
    /// The number of the input that is read, and the input.
    now: Mutex<(u64, Vec<u8>)>,
}

impl Reader {
    fn one(&self, input: &[u8]) {
        {
            let (number, now) = &mut *self.now.lock().unwrap();
            *number += 1;
            input.clone_into(now);
        }
        if let Some(file) = &self.trace {
            fs::write(file, input).unwrap();
        }
        let kept = Kept {
            name: self.name,
            seed: self.seed,
            input,
        };
        targets::run(self.name, input);
        drop(kept);
    }

    /// Prints an input that is read for long, until all are.
    fn watch(&self, all: &Receiver<()>) {
        let mut before = 0;
        while all.recv_timeout(LONG) == Err(RecvTimeoutError::Timeout) {
            let (number, input) = &*self.now.lock().unwrap();
            if *number == before {
                let (name, seed, input) = (self.name, self.seed, input.escape_ascii());
                let _ = writeln!(stderr(), "{name} reads input {number} for long (FUZZ_SEED={seed}):\n{input}");
            }
            before = *number;
        }
    }
}

/// Keeps an input that fails.
struct Kept<'a> {
    name: &'a str,
    seed: u64,
    input: &'a [u8],
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { name, seed, input } = *self;
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}-{seed}"));
            let _ = fs::write(&file, input);
            eprintln!("{name} fails (FUZZ_SEED={seed}) for {}:\n{}", file.display(), input.escape_ascii());
            eprintln!("to keep it: cp {} fuzz/corpus/{name}/", file.display());
        }
    }
}

/// Makes new inputs from old ones.
struct Mutations {
    random: u64,
    corpus: Vec<Vec<u8>>,
    words: Vec<Vec<u8>>,
}

impl Mutations {
    fn next(&mut self) -> Vec<u8> {
        let from = self.below(self.corpus.len());
        let mut input = self.corpus[from].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        const TELLING: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b'"', b'{', b'[', b'%', b':', b'-'];
        let at = self.below(input.len() + 1);
        let length = self.below(input.len() - at + 1);
        match self.below(8) {
            0 => {
                let bit = self.below(8);
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            1 => {
                let byte = TELLING[self.below(TELLING.len())];
                input.insert(at, byte);
            }
            2 => {
                let byte = self.step() as u8;
                if let Some(old) = input.get_mut(at) {
                    *old = byte;
                }
            }
            3 => {
                input.drain(at..at + length);
            }
            4 => {
                // Nesting and repetition.
                let times = 1 + self.below(8);
                let piece = input[at..at + length.min(64)].repeat(times);
                input.splice(at..at, piece);
            }
            5 if !self.words.is_empty() => {
                let which = self.below(self.words.len());
                input.splice(at..at, self.words[which].iter().copied());
            }
            6 => input.truncate(at),
            _ => {
                let other = self.below(self.corpus.len());
                let from = self.below(self.corpus[other].len() + 1);
                let tail = self.corpus[other][from..].to_vec();
                input.splice(at.., tail);
            }
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.step() % bound.max(1) as u64) as usize
    }

    /// splitmix64.
    fn step(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
