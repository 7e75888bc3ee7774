//! A problem in a definition: where it stands, what it is, what may have been meant.

use serde::{Serialize, Serializer};
use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// The stable word of a problem.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// The word that people and programs see.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// The text is not YAML.
    YamlInvalid = "yaml_invalid";
    /// The text is larger or deeper than the limits.
    TooLarge = "too_large";
    /// The format from before `definitionVersion`.
    FormatObsolete = "format_obsolete";
    /// Another `definitionVersion` than 7.
    VersionUnsupported = "version_unsupported";
    /// A required key is not there.
    KeyMissing = "key_missing";
    /// The format has no such key here.
    KeyUnknown = "key_unknown";
    /// A key stands twice in one mapping.
    KeyDuplicate = "key_duplicate";
    /// A value of another type.
    TypeMismatch = "type_mismatch";
    /// A value that is not one of those allowed or out of range.
    ValueInvalid = "value_invalid";
    /// Two things of one name, key or stable key.
    NameDuplicate = "name_duplicate";
    /// Settings that exclude each other.
    Contradiction = "contradiction";
    /// A routing field or preprocess flow that the endpoint type does not allow, or a bad path.
    RoutingInvalid = "routing_invalid";
    /// A configuration variable that does not exist.
    ConfigVarUnknown = "config_var_unknown";
    /// A step that does not exist, or is not in scope.
    ReferenceInvalid = "reference_invalid";
    /// A template that cannot be read.
    TemplateInvalid = "template_invalid";
    /// A condition that cannot be read.
    ConditionInvalid = "condition_invalid";
    /// Branches that contradict the step's inputs.
    BranchInvalid = "branch_invalid";
    /// A first step that is no trigger, or a later one that is.
    TriggerInvalid = "trigger_invalid";
    /// No more flow numbers.
    FlowNumbersExhausted = "flow_numbers_exhausted";
    /// A user-level page while user level configuration is off.
    UlcNotEnabled = "ulc_not_enabled";
    /// Warning: a component or action that is not here.
    ComponentMissing = "component_missing";
    /// Warning: a feature that does not run yet.
    FeatureUnsupported = "feature_unsupported";
    /// Warning: an input that the action does not know.
    InputUnknown = "input_unknown";
    /// Warning: an input that the action cannot do without.
    InputMissing = "input_missing";
    /// Warning: a key that has no effect any more.
    KeyDeprecated = "key_deprecated";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// From 1; 0 where it concerns the text as a whole.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// The way to it: `flows[0].steps[2].inputs.url`.
    pub path: String,
    /// The stable word.
    pub code: Code,
    /// A sentence.
    pub message: String,
    /// What may have been meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} [{}]", self.line, self.column, self.message, self.code)?;
        if !self.path.is_empty() {
            write!(f, " at {}", self.path)?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean `{suggestion}`?")?;
        }
        Ok(())
    }
}
