//! Grants of a backup of which nobody knows whether they still hold: their refresh token may have been spent since.

use perseat_domain::grant::{Grant, Holder, Rules, Status};
use perseat_domain::model::{Customer, Instance, Organization, User, UserConfig};
use perseat_domain::time::Timestamp;
use perseat_store::catalog::{Catalog, GrantId, Lookup, Mutation, StoredGrant};
use perseat_store::error::StoreError;

/// Those grants, as they are to be written down. One whose refresh token is declared to stay as it is when it is used is not among them, and
/// neither is one that is over.
pub(super) fn doubtful(catalog: &Catalog, at: Timestamp, rules: &Rules) -> Result<Vec<(GrantId, StoredGrant)>, StoreError> {
    let view = catalog.view()?;
    let mut holders = Vec::new();
    view.for_each(|instance: Instance| {
        holders.push(Holder::Instance(instance.id));
        Ok::<_, StoreError>(())
    })?;
    view.for_each(|config: UserConfig| {
        holders.push(Holder::UserConfig(config.id));
        Ok::<_, StoreError>(())
    })?;
    view.for_each(|customer: Customer| {
        holders.push(Holder::Customer(customer.id));
        Ok::<_, StoreError>(())
    })?;
    view.for_each(|user: User| {
        holders.push(Holder::User(user.id));
        Ok::<_, StoreError>(())
    })?;
    holders.extend(
        view.organization()?
            .map(|organization: Organization| Holder::Organization(organization.id)),
    );
    let mut found = Vec::new();
    for holder in holders {
        for (variable, stored) in view.grants_of(holder)? {
            if let Some(grant) = doubted(&stored.grant, at, rules) {
                found.push((GrantId { holder, variable }, StoredGrant { grant, ..stored }));
            }
        }
    }
    Ok(found)
}

/// What is known of a grant after a restore, where that is less than before.
fn doubted(grant: &Grant, at: Timestamp, rules: &Rules) -> Option<Grant> {
    let mut grant = Some(grant).filter(|grant| grant.is_kept())?.clone();
    // As if renewals had been cut off that nothing is known of: no grace lasts that long.
    grant.intend(at);
    grant.intend(at);
    grant.settle(at, rules);
    (grant.status == Status::Uncertain).then_some(grant)
}

/// Writes them down, but for those whose holder is gone; gives how many.
pub(super) fn doubt(mutation: &mut Mutation<'_>, found: &[(GrantId, StoredGrant)]) -> Result<u64, StoreError> {
    let mut count = 0;
    for (id, stored) in found {
        match mutation.put_grant(id, stored) {
            Ok(()) => count += 1,
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use perseat_domain::grant::{Renewal, Renewed};

    #[test]
    fn whatever_may_be_renewed_is_in_doubt_and_so_is_what_waits_for_an_account() {
        let (at, rules) = (Timestamp(1_000), Rules::default());
        let consented = |rotates| {
            let renewed = Renewed {
                lifetime: None,
                renewal: Renewal::Refresh { rotates },
            };
            let mut grant = Grant::default();
            grant.consented(renewed, Timestamp(1), &rules);
            grant
        };
        let is_in_doubt = |grant: &Grant| doubted(grant, at, &rules).is_some();
        let mut grant = consented(None);
        assert!(is_in_doubt(&grant) && !is_in_doubt(&consented(Some(false))));
        grant.await_account(true);
        assert_eq!(grant.status, Status::Pending);
        assert!(is_in_doubt(&grant));
        grant.disconnected(at, &rules);
        assert!(!is_in_doubt(&grant) && !is_in_doubt(&Grant::default()));
    }
}
