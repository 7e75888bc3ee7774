//! Token answers, as providers really give them: JSON or a form, numbers as text, the token within another object.

use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;
use zeroize::Zeroize;

/// How deep a token may stand in an answer.
const DEPTH: usize = 4;
/// Members of an answer that are kept beside the token, at most.
const MEMBERS: usize = 32;
/// The longest of them, in bytes.
const MEMBER: usize = 4 * 1024;

/// A token as it was given. Holds secrets: never printed, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// `access_token`, `refresh_token`, and what else stood beside them: what is sealed and stored.
    value: Map<String, Value>,
    /// How long it lives, if that was said.
    lifetime: Option<Duration>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        for (_, value) in &mut self.value {
            if let Value::String(text) = value {
                text.zeroize();
            }
        }
    }
}

impl Token {
    /// How long it lives, if that was said.
    #[must_use]
    pub fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }

    /// The refresh token, if one was given.
    #[must_use]
    pub fn refresh_token(&self) -> Option<&str> {
        self.value.get("refresh_token")?.as_str()
    }

    /// The access token.
    #[must_use]
    pub fn access_token(&self) -> &str {
        self.value.get("access_token").and_then(Value::as_str).unwrap_or_default()
    }

    /// What is stored. A refresh token that was not given anew is that of `before`, and so is what a renewal leaves out.
    #[must_use]
    pub fn stored(&self, before: Option<&Value>) -> Value {
        let mut stored = before.and_then(Value::as_object).cloned().unwrap_or_default();
        stored.extend(self.value.clone());
        Value::Object(stored)
    }
}

/// Why an answer holds no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// The provider's own error code, such as `invalid_grant`.
    Code(String),
    /// Nothing in it is a token.
    NoToken,
}

/// Reads an answer's body. `path` is where the token stands; empty to look for it.
///
/// # Errors
/// If the provider says so, or there is no token in it.
pub fn read(content_type: &str, body: &[u8], path: &[String]) -> Result<Token, AnswerError> {
    let value = parse(content_type, body).ok_or(AnswerError::NoToken)?;
    if let Some(token) = find(&value, path).and_then(token) {
        return Ok(token);
    }
    Err(code(&value).map_or(AnswerError::NoToken, AnswerError::Code))
}

/// JSON, whatever its type says; else a form.
fn parse(content_type: &str, body: &[u8]) -> Option<Value> {
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        return value.is_object().then_some(value);
    }
    let text = std::str::from_utf8(body).ok()?;
    let is_form = content_type.contains("x-www-form-urlencoded") || content_type.contains("text/plain") || content_type.is_empty();
    if !is_form || !text.contains('=') || text.trim_start().starts_with('<') {
        return None;
    }
    let pairs = form_urlencoded::parse(text.trim().as_bytes());
    let members = pairs
        .take(MEMBERS)
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())));
    Some(Value::Object(members.collect()))
}

fn find<'v>(value: &'v Value, path: &[String]) -> Option<&'v Map<String, Value>> {
    if path.is_empty() {
        return search(value, DEPTH);
    }
    let found = path.iter().try_fold(value, |value, name| value.get(name))?;
    found.as_object().filter(|members| access_token(members).is_some())
}

/// The first object with an access token: the outermost, in the order of the answer.
fn search(value: &Value, depth: usize) -> Option<&Map<String, Value>> {
    let members = value.as_object()?;
    if access_token(members).is_some() {
        return Some(members);
    }
    let depth = depth.checked_sub(1)?;
    members.values().find_map(|member| search(member, depth))
}

fn text<'m>(members: &'m Map<String, Value>, names: &[&str]) -> Option<&'m str> {
    names
        .iter()
        .find_map(|name| members.get(*name)?.as_str().map(str::trim).filter(|text| !text.is_empty()))
}

fn access_token(members: &Map<String, Value>) -> Option<&str> {
    text(members, &["access_token", "accessToken"])
}

fn token(members: &Map<String, Value>) -> Option<Token> {
    let mut value = Map::new();
    let others = members.iter().filter(|(_, member)| match member {
        Value::String(text) => text.len() <= MEMBER,
        Value::Number(_) | Value::Bool(_) => true,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    });
    value.extend(others.take(MEMBERS).map(|(name, member)| (name.clone(), member.clone())));
    value.insert("access_token".into(), access_token(members)?.into());
    if let Some(refresh) = text(members, &["refresh_token", "refreshToken"]) {
        value.insert("refresh_token".into(), refresh.into());
    }
    for other in ["accessToken", "refreshToken", super::accounts::MEMBER] {
        value.remove(other);
    }
    let lifetime = ["expires_in", "expiresIn", "expires"]
        .iter()
        .find_map(|name| seconds(members.get(*name)?));
    Some(Token { value, lifetime })
}

/// A number, a number as text, with or without a fraction; nothing that is no time from now.
fn seconds(value: &Value) -> Option<Duration> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse::<f64>().ok()?,
        _ => return None,
    };
    Duration::try_from_secs_f64(number).ok().filter(|span| !span.is_zero())
}

/// `error` as RFC 6749 has it, or as an object with a code.
fn code(value: &Value) -> Option<String> {
    let named = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    for name in ["error", "errorCode", "error_code"] {
        let Some(found) = value.get(name) else { continue };
        let found = named(found).or_else(|| {
            ["code", "type", "status"]
                .iter()
                .find_map(|inner| found.get(*inner).and_then(named))
        });
        if found.is_some() {
            return found;
        }
    }
    None
}
