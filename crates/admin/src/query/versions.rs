//! Every version of many integrations, in pages.
//!
//! A cursor names the version that came last: its integration's place, and its number.

use super::{Listed, PageRequest, Reader, VersionView, id_of, unknown_cursor};
use crate::fault::Fault;
use perseat_domain::id::IntegrationId;
use perseat_domain::model::Integration;
use perseat_store::catalog::Lookup as _;
use std::sync::Arc;

/// Between place and number: no place has it in its text.
const BETWEEN: char = '.';

/// A page that is being filled.
struct Filling {
    items: Vec<(String, VersionView)>,
    first: usize,
}

impl Filling {
    fn room(&self) -> usize {
        self.first - self.items.len()
    }
}

impl Reader<'_> {
    /// A page of the versions of those that `list` lists, newest first of each; `keep` says whether one of them is listed.
    pub(super) fn all_versions(
        &self,
        request: &PageRequest,
        keep: &dyn Fn(&Integration) -> Result<bool, Fault>,
        list: &dyn Fn(&PageRequest) -> Result<Listed<Integration>, Fault>,
    ) -> Result<Listed<VersionView>, Fault> {
        let mut page = Filling {
            items: Vec::new(),
            first: self.first(request),
        };
        let mut place = request.after.clone().filter(|cursor| !cursor.is_empty());
        let begun = place.as_deref().and_then(|cursor| cursor.rsplit_once(BETWEEN));
        if let Some((of, number)) = begun {
            let number: u32 = number.parse().map_err(|_| unknown_cursor())?;
            let integration = self.view.get::<Integration>(id_of::<IntegrationId>(of)?)?;
            let of = of.to_owned();
            if let Some(integration) = integration
                && keep(&integration)?
                && self.versions_below(&mut page, &of, integration, number)?
            {
                return Ok(full(page));
            }
            place = Some(of);
        }
        let listed = list(&PageRequest {
            after: place,
            first: Some(page.room().max(1)),
        })?;
        for (of, integration) in listed.items {
            let above = integration.latest_version.saturating_add(1);
            if page.room() == 0 || self.versions_below(&mut page, &of, integration, above)? {
                return Ok(full(page));
            }
        }
        let last = page.items.last().map(|(cursor, _)| cursor.clone());
        Ok(Listed {
            // A page that ended early goes on where the search did.
            end: if page.room() == 0 { last } else { listed.end.or(last) },
            items: page.items,
            has_next: listed.has_next,
        })
    }

    /// Adds the versions of one integration below this number; whether some are left over.
    fn versions_below(&self, page: &mut Filling, of: &str, integration: Integration, number: u32) -> Result<bool, Fault> {
        let integration = Arc::new(integration);
        for number in (1..number.min(integration.latest_version.saturating_add(1))).rev() {
            if page.room() == 0 {
                return Ok(true);
            }
            if let Some(view) = self.version_view(Arc::clone(&integration), Some(number))? {
                page.items.push((format!("{of}{BETWEEN}{number}"), view));
            }
        }
        Ok(false)
    }
}

/// A page behind which there is more.
fn full(page: Filling) -> Listed<VersionView> {
    Listed {
        end: page.items.last().map(|(cursor, _)| cursor.clone()),
        items: page.items,
        has_next: true,
    }
}
