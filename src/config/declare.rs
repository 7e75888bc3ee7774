//! How keys are declared: [`settings!`] makes the structs, the reading and the reference of one list.

/// What a key is, for the reference, the checks of unknown keys and the report of a reload.
#[derive(Clone, Debug)]
pub struct Key {
    /// The dotted name, `front.max-body`.
    pub path: String,
    /// What the key does, one string a line.
    pub doc: Vec<&'static str>,
    /// The default as TOML; for a key that is unset by default, an example.
    pub shown: toml::Value,
    /// Whether the key has no default.
    pub unset: bool,
    /// The form of its value.
    pub kind: &'static str,
    /// Whether SIGHUP applies a new value to the running daemon.
    pub reloads: bool,
}

/// A group of keys under one `[name]`.
#[derive(Clone, Debug)]
pub struct Section {
    /// The name; empty for the keys above the first section.
    pub name: &'static str,
    /// What the section is about.
    pub doc: Vec<&'static str>,
    /// Its keys.
    pub keys: Vec<Key>,
}

/// What a key has when nobody sets it.
pub(super) struct Preset {
    pub(super) shown: toml::Value,
    pub(super) unset: bool,
}

/// This, when nobody sets the key.
pub(super) fn preset(shown: impl Into<toml::Value>) -> Preset {
    let (shown, unset) = (shown.into(), false);
    Preset { shown, unset }
}

impl From<&str> for Preset {
    fn from(value: &str) -> Self {
        preset(value)
    }
}

impl From<i64> for Preset {
    fn from(value: i64) -> Self {
        preset(value)
    }
}

/// No default; the reference shows an example.
pub(super) fn unset(example: &str) -> Preset {
    Preset {
        shown: example.into(),
        unset: true,
    }
}

/// An empty list by default; the reference shows it.
pub(super) fn none() -> Preset {
    preset(Vec::<toml::Value>::new())
}

pub(super) fn path(section: &str, field: &str) -> String {
    let field = field.replace('_', "-");
    if section.is_empty() { field } else { format!("{section}.{field}") }
}

macro_rules! settings {
    ($(#[doc = $own_doc:literal])+ $own:ident $(with $part:ident: $part_type:ty),*;
    $($(#[doc = $section_doc:literal])+ $field:ident $name:literal: $section:ident {
        $($(#[doc = $doc:literal])+ $(@$reloads:ident)? $key:ident: $type:ty = $default:expr;)+
    })+) => {
        $(#[doc = $own_doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $own {
            $($(#[doc = $section_doc])+ pub $field: $section,)+
            $(
                /// Keys that are declared elsewhere.
                pub $part: $part_type,
            )*
        }

        $(
            $(#[doc = $section_doc])+
            #[derive(Clone, Debug, PartialEq)]
            pub struct $section {
                $($(#[doc = $doc])+ pub $key: $type,)+
            }
        )+

        impl $own {
            /// Takes every key from `reader`, which keeps what is wrong with each and gives the default in its place.
            pub(super) fn take(reader: &mut Reader) -> Option<Self> {
                $(
                    let $field = {
                        $(let $key: Option<$type> = {
                            let preset = Preset::from($default);
                            reader.take(&path($name, stringify!($key)), (!preset.unset).then_some(&preset.shown))
                        };)+
                        (|| Some($section { $($key: $key?,)+ }))()
                    };
                )+
                $(let $part = <$part_type>::take(reader);)*
                Some(Self { $($field: $field?,)+ $($part: $part?,)* })
            }

            /// Every key with its value as TOML, in the order of the reference.
            #[must_use]
            pub fn entries(&self) -> Vec<(String, Option<toml::Value>)> {
                let own = vec![$($((path($name, stringify!($key)), self.$field.$key.write()),)+)+];
                $(let own = [own, self.$part.entries()].concat();)*
                own
            }

            /// Every section with its keys.
            #[must_use]
            pub fn sections() -> Vec<Section> {
                let own = vec![$(Section {
                    name: $name,
                    doc: vec![$($section_doc.trim()),+],
                    keys: vec![$({
                        let preset = Preset::from($default);
                        Key {
                            path: path($name, stringify!($key)),
                            doc: vec![$($doc.trim()),+],
                            shown: preset.shown,
                            unset: preset.unset,
                            kind: <$type as Value>::KIND,
                            reloads: false $(|| stringify!($reloads) == "reloads")?,
                        }
                    }),+],
                }),+];
                $(let own = [own, <$part_type>::sections()].concat();)*
                own
            }
        }
    };
}

pub(super) use settings;
