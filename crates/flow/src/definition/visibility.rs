//! Who sees a configuration variable or an input of a connection, as its `meta` says.

use super::Code;
use super::document::Node;
use super::read::{Flag, Leaf as _, Read};
use super::report::{Report, Spot};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

const VISIBLE: &str = "visibleToCustomerDeployer";
/// As older files spell it.
const IS_VISIBLE: &str = "isVisibleToCustomerDeployer";
const ORG_ONLY: &str = "orgOnly";

/// What stands at a variable or an input beside its value. Of it only what says who sees it is looked into.
#[derive(Clone, Debug)]
pub(super) struct Meta;

impl Read for Meta {
    fn read(node: &Node, spot: &Spot, report: &mut Report) -> Option<Self> {
        let Some(members) = node.members() else {
            report.problem(spot, Code::TypeMismatch, format!("expected a mapping, found {}", node.kind()));
            return None;
        };
        let flags = members
            .iter()
            .filter(|(key, member)| matches!(&*key.text, VISIBLE | IS_VISIBLE | ORG_ONLY) && !member.is_null());
        for (key, member) in flags {
            Flag::read(member, &spot.key(&key.text, member.at), report);
        }
        Some(Self)
    }
}

impl JsonSchema for Meta {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Meta")
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let flag = json_schema!({"type": ["boolean", "null"]});
        json_schema!({"type": "object", "properties": {VISIBLE: flag, IS_VISIBLE: flag, ORG_ONLY: flag}})
    }
}

/// Whether `meta` hides what it stands at from people of customers. What cannot be read hides it, too.
#[must_use]
pub fn is_hidden(meta: &Node) -> bool {
    if meta.is_null() {
        return false;
    }
    let flag = |member: &Node| member.scalar().and_then(bool::leaf);
    let hides = |name: &str, member: &Node| match name {
        VISIBLE | IS_VISIBLE => flag(member) != Some(true),
        ORG_ONLY => flag(member) != Some(false),
        _ => false,
    };
    let mut members = meta.members().unwrap_or_default().iter();
    meta.members().is_none() || members.any(|(key, member)| !member.is_null() && hides(&key.text, member))
}
