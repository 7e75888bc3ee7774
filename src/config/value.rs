//! How one value is read from a file, an environment variable or a flag, and how it is written back.
//!
//! A file gives typed TOML; the environment and flags give text. Both end in the same [`Value::read`], so that a limit is
//! checked in one place. Sizes and durations carry their unit, so that no key needs `-ms` or `-bytes` in its name.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use url::Url;

/// A type that a configuration key may have.
pub trait Value: Sized {
    /// What to write here, for error messages and the reference.
    const KIND: &'static str;

    /// Reads a TOML value.
    fn read(value: &toml::Value) -> Result<Self, String>;

    /// Reads the text of an environment variable or a flag.
    fn read_text(text: &str) -> Result<Self, String> {
        Self::read(&toml::Value::String(text.to_owned()))
    }

    /// The value of a key that has no default and was not given.
    fn unset() -> Result<Self, String> {
        Err(format!("is missing: give {}", Self::KIND))
    }

    /// The value as it would stand in the file; `None` for a key that is not set.
    fn write(&self) -> Option<toml::Value>;
}

/// A number of bytes, written `6MiB`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// So many bytes.
    #[must_use]
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

const SIZE_UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl fmt::Display for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = SIZE_UNITS
            .into_iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
            .unwrap_or(("B", 1));
        write!(formatter, "{}{unit}", self.0 / factor)
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

fn text<T: Value>(value: &toml::Value) -> Result<&str, String> {
    value
        .as_str()
        .ok_or_else(|| format!("expected {}, found {}", T::KIND, value.type_str()))
}

/// Splits `29s` into 29 and the factor of `s`.
fn with_unit<T: Value>(text: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let refuse = || format!("expected {}, found {text:?}", T::KIND);
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(refuse)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refuse())?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start()).ok_or_else(refuse)?;
    number.checked_mul(*factor).ok_or_else(|| format!("{text:?} is too large"))
}

impl Value for Size {
    const KIND: &'static str = "a size such as \"6MiB\" (B, KiB, MiB, GiB, TiB)";

    fn read(value: &toml::Value) -> Result<Self, String> {
        with_unit::<Self>(text::<Self>(value)?, &SIZE_UNITS).map(Self)
    }

    fn write(&self) -> Option<toml::Value> {
        Some(self.to_string().into())
    }
}

const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Value for Duration {
    const KIND: &'static str = "a duration such as \"29s\" (ms, s, m, h, d)";

    fn read(value: &toml::Value) -> Result<Self, String> {
        with_unit::<Self>(text::<Self>(value)?, &DURATION_UNITS).map(Self::from_millis)
    }

    fn write(&self) -> Option<toml::Value> {
        let millis = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        let (unit, factor) = DURATION_UNITS
            .into_iter()
            .find(|(_, factor)| millis >= *factor && millis.is_multiple_of(*factor))
            .unwrap_or(("ms", 1));
        Some(format!("{}{unit}", millis / factor).into())
    }
}

impl Value for bool {
    const KIND: &'static str = "true or false";

    fn read(value: &toml::Value) -> Result<Self, String> {
        value
            .as_bool()
            .ok_or_else(|| format!("expected {}, found {}", Self::KIND, value.type_str()))
    }

    fn read_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("expected {}, found {text:?}", Self::KIND))
    }

    fn write(&self) -> Option<toml::Value> {
        Some((*self).into())
    }
}

/// How many of something. Zero is refused: a limit of nothing is a daemon that does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(u32);

impl Count {
    /// So many.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as a length.
    #[must_use]
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl Value for Count {
    const KIND: &'static str = "a whole number from 1 to 4294967295";

    fn read(value: &toml::Value) -> Result<Self, String> {
        let number = value
            .as_integer()
            .ok_or_else(|| format!("expected {}, found {}", Self::KIND, value.type_str()))?;
        u32::try_from(number)
            .ok()
            .filter(|number| *number > 0)
            .map(Self)
            .ok_or_else(|| format!("expected {}, found {number}", Self::KIND))
    }

    fn read_text(text: &str) -> Result<Self, String> {
        let number: i64 = text.parse().map_err(|_| format!("expected {}, found {text:?}", Self::KIND))?;
        Self::read(&number.into())
    }

    fn write(&self) -> Option<toml::Value> {
        Some(i64::from(self.0).into())
    }
}

/// A share in percent, written `25%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(u8);

impl Percent {
    /// That share of `whole`, at least one.
    #[must_use]
    pub fn of(self, whole: u32) -> u32 {
        u32::try_from(u64::from(whole) * u64::from(self.0) / 100).unwrap_or(whole).max(1)
    }

    /// The share in percent.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Value for Percent {
    const KIND: &'static str = "a share from \"1%\" to \"100%\"";

    fn read(value: &toml::Value) -> Result<Self, String> {
        let text = text::<Self>(value)?;
        let number = text
            .strip_suffix('%')
            .and_then(|number| number.parse().ok())
            .filter(|number| (1..=100).contains(number));
        number.map(Self).ok_or_else(|| format!("expected {}, found {text:?}", Self::KIND))
    }

    fn write(&self) -> Option<toml::Value> {
        Some(format!("{}%", self.0).into())
    }
}

/// A value that the daemon derives from the machine or from other keys unless it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auto<T> {
    /// Derived.
    Auto,
    /// Given.
    Given(T),
}

impl<T: Copy> Auto<T> {
    /// The given value, or `derived`.
    #[must_use]
    pub fn or(self, derived: T) -> T {
        match self {
            Self::Auto => derived,
            Self::Given(value) => value,
        }
    }
}

impl<T: Value> Value for Auto<T> {
    const KIND: &'static str = T::KIND;

    fn read(value: &toml::Value) -> Result<Self, String> {
        if value.as_str() == Some("auto") {
            Ok(Self::Auto)
        } else {
            T::read(value).map(Self::Given).map_err(|why| format!("{why}, or \"auto\""))
        }
    }

    fn read_text(text: &str) -> Result<Self, String> {
        if text == "auto" {
            Ok(Self::Auto)
        } else {
            T::read_text(text).map(Self::Given).map_err(|why| format!("{why}, or \"auto\""))
        }
    }

    fn write(&self) -> Option<toml::Value> {
        match self {
            Self::Auto => Some("auto".into()),
            Self::Given(value) => value.write(),
        }
    }
}

impl<T: Value> Value for Option<T> {
    const KIND: &'static str = T::KIND;

    fn unset() -> Result<Self, String> {
        Ok(None)
    }

    fn read(value: &toml::Value) -> Result<Self, String> {
        T::read(value).map(Some)
    }

    fn read_text(text: &str) -> Result<Self, String> {
        T::read_text(text).map(Some)
    }

    fn write(&self) -> Option<toml::Value> {
        self.as_ref().and_then(T::write)
    }
}

impl<T: Value> Value for Vec<T> {
    const KIND: &'static str = "a list (in the environment: separated by commas)";

    fn read(value: &toml::Value) -> Result<Self, String> {
        let items = value
            .as_array()
            .ok_or_else(|| format!("expected a list of {}, found {}", T::KIND, value.type_str()))?;
        items.iter().map(T::read).collect()
    }

    fn read_text(text: &str) -> Result<Self, String> {
        text.split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(T::read_text)
            .collect()
    }

    fn write(&self) -> Option<toml::Value> {
        Some(toml::Value::Array(self.iter().filter_map(T::write).collect()))
    }
}

/// Types whose text form is their `FromStr` and `Display`.
macro_rules! textual {
    ($($type:ty: $kind:literal, $show:expr;)*) => {$(
        impl Value for $type {
            const KIND: &'static str = $kind;

            fn read(value: &toml::Value) -> Result<Self, String> {
                let text = text::<Self>(value)?;
                text.parse().map_err(|_| format!("expected {}, found {text:?}", Self::KIND))
            }

            fn write(&self) -> Option<toml::Value> {
                let show: fn(&Self) -> String = $show;
                Some(show(self).into())
            }
        }
    )*};
}

textual! {
    String: "a text", Self::clone;
    PathBuf: "a path", |path| path.display().to_string();
    SocketAddr: "an address such as \"127.0.0.1:3000\"", Self::to_string;
    IpNet: "a network such as \"10.0.0.0/8\"", Self::to_string;
    Url: "a URL such as \"https://hooks.example.com\"", Self::to_string;
}

/// Declares a type with a fixed set of words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $kind:literal { $($(#[$item_doc:meta])* $item:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$item_doc])* $item,)+ }

        impl Value for $name {
            const KIND: &'static str = $kind;

            fn read(value: &toml::Value) -> Result<Self, String> {
                match text::<Self>(value)? {
                    $($word => Ok(Self::$item),)+
                    other => Err(format!("expected {}, found {other:?}", Self::KIND)),
                }
            }

            fn write(&self) -> Option<toml::Value> {
                Some(match self { $(Self::$item => $word,)+ }.into())
            }
        }
    };
}

/// What is logged: a level, or directives for parts of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives(String);

impl Directives {
    /// As they were given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for Directives {
    const KIND: &'static str = "a level (off, error, warn, info, debug, trace) or directives such as \"info,perseat_journal=debug\"";

    fn read(value: &toml::Value) -> Result<Self, String> {
        let text = text::<Self>(value)?;
        let wrong = || format!("expected {}, found {text:?}", Self::KIND);
        // A bare word that is no level would be taken for the name of a part, and silence all others.
        let is_level = |word: &str| !word.is_empty() && (word.contains(['=', '[']) || word.parse::<LevelFilter>().is_ok());
        if !text.split(',').all(|directive| is_level(directive.trim())) {
            return Err(wrong());
        }
        EnvFilter::builder().parse(text).map_err(|_| wrong())?;
        Ok(Self(text.to_owned()))
    }

    fn write(&self) -> Option<toml::Value> {
        Some(self.0.clone().into())
    }
}

words! {
    /// The form of a log line.
    LogFormat: "\"auto\", \"json\" or \"pretty\"" {
        /// Pretty on a terminal, JSON elsewhere.
        Auto = "auto",
        /// One JSON object a line.
        Json = "json",
        /// For people.
        Pretty = "pretty",
    }
}

words! {
    /// How the connection to the mail server is secured.
    MailSecurity: "\"starttls\", \"tls\" or \"none\"" {
        /// TLS after a word in the clear.
        StartTls = "starttls",
        /// TLS from the first byte.
        Tls = "tls",
        /// None.
        None = "none",
    }
}

words! {
    /// What to do on a kernel that cannot confine the children that run code steps.
    SandboxMode: "\"required\" or \"best-effort\"" {
        /// Refuse to start.
        Required = "required",
        /// Start with what the kernel has, and warn.
        BestEffort = "best-effort",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_back_as_they_were_written() {
        for text in ["1B", "6MiB", "10GiB", "1025B", "0B"] {
            assert_eq!(Size::read_text(text).unwrap().to_string(), text);
        }
        for text in ["29s", "250ms", "15m", "23h", "90d", "1500ms"] {
            assert_eq!(Duration::read_text(text).unwrap().write(), Some(text.into()));
        }
        assert_eq!(Size::read_text("6MiB").unwrap().get(), 6 << 20);
        assert_eq!(Duration::read_text("2m").unwrap(), Duration::from_secs(120));
    }

    #[test]
    fn a_value_without_its_unit_is_refused_with_the_form_to_use() {
        for text in ["6", "6MB", "MiB", "-1MiB", "99999999999TiB"] {
            assert!(Size::read_text(text).is_err(), "{text}");
        }
        assert_eq!(
            Duration::read_text("29").unwrap_err(),
            "expected a duration such as \"29s\" (ms, s, m, h, d), found \"29\""
        );
        assert!(Count::read_text("0").is_err());
        assert!(Percent::read_text("101%").is_err());
        assert!(Auto::<Count>::read_text("many").unwrap_err().ends_with("or \"auto\""));
    }

    #[test]
    fn lists_come_from_toml_arrays_and_from_comma_separated_text() {
        let from_text = Vec::<IpNet>::read_text("10.0.0.0/8, ::1/128").unwrap();
        let from_file = Vec::<IpNet>::read(&toml::Value::Array(vec!["10.0.0.0/8".into(), "::1/128".into()])).unwrap();
        assert_eq!(from_text, from_file);
        assert!(Vec::<IpNet>::read_text("10.0.0.0/99").is_err());
    }

    #[test]
    fn what_is_logged_is_levels_and_parts() {
        for text in ["info", "off", "WARN", "info,perseat_journal=debug", "perseat[span]=trace"] {
            assert!(Directives::read_text(text).is_ok(), "{text}");
        }
        for text in ["", "inof", "info,", "verbose", "info,perseat=loud", "perseat_journal"] {
            assert!(Directives::read_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_of_few_is_at_least_one() {
        assert_eq!(Percent::read_text("25%").unwrap().of(2), 1);
        assert_eq!(Percent::read_text("25%").unwrap().of(1024), 256);
    }
}
