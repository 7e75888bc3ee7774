//! How flows are read and run: definitions, expressions, components and code steps.
//!
//! Reading order: [`definition`] (YAML → checked definition) → [`expression`] (inputs → values) → [`schema`], then
//! [`component`] (what a step can perform) → [`http`], [`js`] (the two kinds that leave this process) → [`outbound`]
//! (the guard both go through); [`oauth`] (credentials from third parties, through the same guard). [`payload`] makes a trigger's results from a request, [`mask`] finds secrets in text.

pub mod component;
pub mod definition;
pub mod expression;
pub mod http;
pub mod js;
pub mod mask;
pub mod oauth;
pub mod offer;
pub mod outbound;
pub mod payload;
pub mod schema;
pub mod sharing;
pub mod value;
