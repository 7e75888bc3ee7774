//! What a list adds to the estimated cost of a query: what one item costs, as often as a page has items.

/// Items of one page, unless `first` says fewer.
const PAGE: usize = 100;
/// Items of what one definition or record holds, such as variables and their inputs: it is no page, and seldom long.
const PART: usize = 10;
/// What a list comes to at most, so that no sum of lists overflows.
const MOST: usize = 1_000_000_000;

/// A list that is read in pages.
pub(super) fn page(first: Option<i32>, item: usize) -> usize {
    let first = first.and_then(|first| usize::try_from(first).ok()).unwrap_or(PAGE);
    list(first.clamp(1, PAGE), item)
}

/// A list within one record.
pub(super) fn part(item: usize) -> usize {
    list(PART, item)
}

fn list(items: usize, item: usize) -> usize {
    items.saturating_mul(item).saturating_add(5).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_costs_what_its_page_can_hold() {
        assert_eq!(page(None, 3), 305);
        assert_eq!(page(Some(5), 3), 20);
        assert_eq!(page(Some(1_000), 3), 305);
        assert_eq!(page(Some(0), 3), 8);
        assert_eq!(page(Some(-1), usize::MAX), MOST);
        assert_eq!(part(3), 35);
    }
}
