//! How flows are read and run: definitions, expressions and (in their own modules) components and code steps.
//!
//! Reading order: [`definition`] (YAML → checked definition) → [`expression`] (inputs → values) → [`schema`].

pub mod definition;
pub mod expression;
pub mod schema;
