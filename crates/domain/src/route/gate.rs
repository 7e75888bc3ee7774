//! Who passes a flow's endpoint security: anybody, or whoever shows one of its keys.

use crate::definition::EndpointSecurity;
use crate::model::{ApiKey, KeyDigest};
use subtle::{Choice, ConstantTimeEq};

/// The security of one flow with the keys that are set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gate {
    /// No key is asked for.
    Open,
    /// One of these keys is asked for; with none of them set nobody passes.
    Keys(Box<[KeyDigest]>),
}

impl Gate {
    /// The gate of a flow from its security type and the keys that customer and organization have set for it.
    #[must_use]
    pub fn new(security: EndpointSecurity, customer_keys: &[ApiKey], organization_keys: &[ApiKey]) -> Self {
        let digests = |keys: &[ApiKey]| Self::Keys(keys.iter().map(|key| key.digest).collect());
        match security {
            EndpointSecurity::Unsecured => Self::Open,
            EndpointSecurity::CustomerOptional if customer_keys.is_empty() => Self::Open,
            EndpointSecurity::CustomerOptional | EndpointSecurity::CustomerRequired => digests(customer_keys),
            EndpointSecurity::Organization => digests(organization_keys),
        }
    }

    /// Whether a request with this key passes.
    #[must_use]
    pub fn lets_pass(&self, key: Option<&KeyDigest>) -> bool {
        matches!(self, Self::Open) || self.accepts(key)
    }

    /// Whether this key is one of those asked for. Takes the same time whichever key matches.
    #[must_use]
    pub fn accepts(&self, key: Option<&KeyDigest>) -> bool {
        let (Self::Keys(accepted), Some(key)) = (self, key) else {
            return false;
        };
        let matches = accepted.iter().fold(Choice::from(0), |found, one| found | one.0.ct_eq(&key.0));
        matches.into()
    }

    /// The gate that lets pass exactly what both let pass.
    #[must_use]
    pub(super) fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Open, gate) | (gate, Self::Open) => gate.clone(),
            (Self::Keys(ours), Self::Keys(theirs)) => Self::Keys(ours.iter().filter(|key| theirs.contains(key)).copied().collect()),
        }
    }

    /// Whether a request passes whose flow is not known: some gate accepts its key, or all are open.
    pub(super) fn any_lets_pass<'a>(mut gates: impl Iterator<Item = &'a Self> + Clone, key: Option<&KeyDigest>) -> bool {
        let accepted = gates.clone().fold(false, |found, gate| found | gate.accepts(key));
        accepted || gates.all(|gate| matches!(gate, Self::Open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sealed;

    const A: KeyDigest = KeyDigest([1; 32]);
    const B: KeyDigest = KeyDigest([2; 32]);

    #[test]
    fn each_security_type_lets_pass_whom_it_names() {
        use EndpointSecurity::{CustomerOptional, CustomerRequired, Organization, Unsecured};
        // security, customer's keys, organization's keys → passes with (no key, A, B)
        let cases: [(_, &[_], &[_], _); 8] = [
            (Unsecured, &[A], &[B], (true, true, true)),
            (CustomerOptional, &[], &[B], (true, true, true)),
            (CustomerOptional, &[A], &[B], (false, true, false)),
            (CustomerRequired, &[], &[B], (false, false, false)),
            (CustomerRequired, &[A], &[B], (false, true, false)),
            (CustomerRequired, &[B, A], &[], (false, true, true)),
            (Organization, &[A], &[B], (false, false, true)),
            (Organization, &[A], &[], (false, false, false)),
        ];
        for (security, customer, organization, expected) in cases {
            let keys = |digests: &[KeyDigest]| -> Vec<ApiKey> {
                let key = |digest: &KeyDigest| ApiKey {
                    digest: *digest,
                    sealed: Sealed(Vec::new()),
                };
                digests.iter().map(key).collect()
            };
            let gate = Gate::new(security, &keys(customer), &keys(organization));
            let passes = (gate.lets_pass(None), gate.lets_pass(Some(&A)), gate.lets_pass(Some(&B)));
            assert_eq!(passes, expected, "{security:?} {customer:?}");
        }
    }

    #[test]
    fn two_gates_let_pass_what_both_do() {
        let keys = |keys: &[KeyDigest]| Gate::Keys(keys.into());
        assert_eq!(Gate::Open.and(&keys(&[A])), keys(&[A]));
        assert_eq!(keys(&[A, B]).and(&keys(&[B])), keys(&[B]));
        assert_eq!(keys(&[A]).and(&keys(&[B])), keys(&[]));
        assert_eq!(Gate::Open.and(&Gate::Open), Gate::Open);
    }
}
