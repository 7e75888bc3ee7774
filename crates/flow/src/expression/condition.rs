//! Which branch a branching step takes.

use super::compare::{exactly_equal, holds, instant, is_absent, is_empty, is_true, loosely_equal, order};
use super::resolve::{Seen, view};
use super::scope::Budget;
use super::{ExpressionError, Scope, text_of};
use perseat_domain::definition::{ComplexItem, Input};
use serde_json::Value;
use std::cmp::Ordering;

/// The branch taken where no other is.
pub const ELSE: &str = "Else";

macro_rules! operators {
    ($($name:ident = $word:literal / $operands:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Operator { $($name,)* }

        impl Operator {
            fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$name),)* _ => None }
            }
        }

        /// Every operator and how many operands it reads; 0 for as many as there are.
        pub(crate) const fn operator_words() -> &'static [(&'static str, usize)] {
            &[$(($word, $operands),)*]
        }
    };
}

operators! {
    And = "and" / 0,
    Or = "or" / 0,
    IsTrue = "isTrue" / 1,
    IsFalse = "isFalse" / 1,
    Exists = "exists" / 1,
    DoesNotExist = "doesNotExist" / 1,
    IsEmpty = "isEmpty" / 1,
    IsNotEmpty = "isNotEmpty" / 1,
    Equal = "equal" / 2,
    NotEqual = "notEqual" / 2,
    GreaterThan = "greaterThan" / 2,
    GreaterThanOrEqual = "greaterThanOrEqual" / 2,
    LessThan = "lessThan" / 2,
    LessThanOrEqual = "lessThanOrEqual" / 2,
    In = "in" / 2,
    NotIn = "notIn" / 2,
    Contains = "contains" / 2,
    DoesNotContain = "doesNotContain" / 2,
    ExactlyMatches = "exactlyMatches" / 2,
    DoesNotExactlyMatch = "doesNotExactlyMatch" / 2,
    StartsWith = "startsWith" / 2,
    DoesNotStartWith = "doesNotStartWith" / 2,
    EndsWith = "endsWith" / 2,
    DoesNotEndWith = "doesNotEndWith" / 2,
    DateTimeAfter = "dateTimeAfter" / 2,
    DateTimeBefore = "dateTimeBefore" / 2,
    DateTimeSame = "dateTimeSame" / 2,
}

/// `branch/branchOnExpression`: the name of the first branch whose condition holds, else [`ELSE`].
///
/// # Errors
/// See [`ExpressionError`].
pub fn branch_on_expression(conditions: &Input, scope: &Scope) -> Result<String, ExpressionError> {
    let Input::Complex(branches) = conditions else {
        return Err(malformed("conditions are a list of named conditions"));
    };
    for branch in branches {
        let ComplexItem::Input { name: Some(name), input } = branch else {
            return Err(malformed("each condition has the name of its branch"));
        };
        let mut budget = Budget::of(scope.limits());
        if input_holds(input, scope, &mut budget)? {
            return Ok(text_of(&*view(name, scope, &mut budget)?).into_owned());
        }
    }
    Ok(ELSE.to_owned())
}

/// `branch/branchOnValue`: the name of the first branch whose value equals the input, else [`ELSE`].
///
/// # Errors
/// See [`ExpressionError`].
pub fn branch_on_value(value: &Input, mappings: &Input, scope: &Scope) -> Result<String, ExpressionError> {
    let Input::Complex(mappings) = mappings else {
        return Err(malformed("branch mappings are a list of named values"));
    };
    let value = view(value, scope, &mut Budget::of(scope.limits()))?;
    for mapping in mappings {
        let ComplexItem::Input { name: Some(name), input } = mapping else {
            return Err(malformed("each branch mapping has the name of its branch"));
        };
        let mut budget = Budget::of(scope.limits());
        if loosely_equal(&value, &*view(input, scope, &mut budget)?) {
            return Ok(text_of(&*view(name, scope, &mut budget)?).into_owned());
        }
    }
    Ok(ELSE.to_owned())
}

fn malformed(message: &str) -> ExpressionError {
    ExpressionError::Condition(message.to_owned())
}

fn input_holds(input: &Input, scope: &Scope, budget: &mut Budget) -> Result<bool, ExpressionError> {
    match input {
        Input::Complex(list) => list_holds(list, scope, budget),
        single => Ok(is_true(&*view(single, scope, budget)?)),
    }
}

fn item_holds(item: &ComplexItem, scope: &Scope, budget: &mut Budget) -> Result<bool, ExpressionError> {
    match item {
        ComplexItem::List(list) => list_holds(list, scope, budget),
        ComplexItem::Input { input, .. } => input_holds(input, scope, budget),
        ComplexItem::Operator(word) => Err(ExpressionError::Condition(format!(
            "the operator `{word}` stands where a condition is wanted"
        ))),
    }
}

fn list_holds(list: &[ComplexItem], scope: &Scope, budget: &mut Budget) -> Result<bool, ExpressionError> {
    let Some((ComplexItem::Operator(word), operands)) = list.split_first() else {
        return Err(malformed("a condition starts with its operator"));
    };
    let operator = Operator::from_word(word).ok_or_else(|| ExpressionError::Condition(format!("there is no operator `{word}`")))?;
    budget.enter()?;
    let holds = match operator {
        Operator::And => operands
            .iter()
            .try_fold(true, |all, item| Ok(all && item_holds(item, scope, budget)?)),
        Operator::Or => operands
            .iter()
            .try_fold(false, |any, item| Ok(any || item_holds(item, scope, budget)?)),
        term => {
            let left = operand(operands.first(), scope, budget)?;
            let right = operand(operands.get(1), scope, budget)?;
            term_holds(term, &left, &right)
        }
    };
    budget.leave();
    holds
}

fn operand<'a>(item: Option<&'a ComplexItem>, scope: &'a Scope, budget: &mut Budget) -> Result<Seen<'a>, ExpressionError> {
    match item {
        None => Ok(Seen::Made(Value::Null)),
        Some(ComplexItem::Input { input, .. }) => view(input, scope, budget),
        Some(_) => Err(malformed("an operand is an input")),
    }
}

/// In `startsWith` and `endsWith` the left operand is the affix: read "left starts right".
fn term_holds(operator: Operator, left: &Value, right: &Value) -> Result<bool, ExpressionError> {
    let ordered = |wanted: fn(Ordering) -> bool| order(left, right).is_some_and(wanted);
    let dated = |wanted: fn(Ordering) -> bool| Ok(wanted(date(left)?.cmp(&date(right)?)));
    Ok(match operator {
        Operator::And | Operator::Or => false,
        Operator::IsTrue => is_true(left),
        Operator::IsFalse => !is_true(left),
        Operator::Exists => !is_absent(left),
        Operator::DoesNotExist => is_absent(left),
        Operator::IsEmpty => is_empty(left),
        Operator::IsNotEmpty => !is_empty(left),
        Operator::Equal => loosely_equal(left, right),
        Operator::NotEqual => !loosely_equal(left, right),
        Operator::GreaterThan => ordered(Ordering::is_gt),
        Operator::GreaterThanOrEqual => ordered(Ordering::is_ge),
        Operator::LessThan => ordered(Ordering::is_lt),
        Operator::LessThanOrEqual => ordered(Ordering::is_le),
        Operator::In => holds(right, left),
        Operator::NotIn => !holds(right, left),
        Operator::Contains => holds(left, right),
        Operator::DoesNotContain => !holds(left, right),
        Operator::ExactlyMatches => exactly_equal(left, right),
        Operator::DoesNotExactlyMatch => !exactly_equal(left, right),
        Operator::StartsWith => text_of(right).starts_with(&*text_of(left)),
        Operator::DoesNotStartWith => !text_of(right).starts_with(&*text_of(left)),
        Operator::EndsWith => text_of(right).ends_with(&*text_of(left)),
        Operator::DoesNotEndWith => !text_of(right).ends_with(&*text_of(left)),
        Operator::DateTimeAfter => dated(Ordering::is_gt)?,
        Operator::DateTimeBefore => dated(Ordering::is_lt)?,
        Operator::DateTimeSame => dated(Ordering::is_eq)?,
    })
}

fn date(value: &Value) -> Result<i64, ExpressionError> {
    instant(value).ok_or_else(|| malformed("a date is an ISO 8601 date or time, a year, or a number of seconds or milliseconds since 1970"))
}
