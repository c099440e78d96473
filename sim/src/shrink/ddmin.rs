//! Delta debugging: finds a minimal subset of items for which a condition holds.

/// Returns a small subset of `items` for which `happens` still holds, but not if any single item were removed. It must
/// hold for all of them. Only subsets of the last one that held are tried, so a caller that keeps the last subset that
/// held has the result.
pub(super) fn minimize<T: Clone>(items: &[T], mut happens: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut left = items.to_vec();
    if left.is_empty() || happens(&[]) {
        return Vec::new();
    }
    let mut parts = 2;
    while left.len() >= 2 {
        let size = left.len().div_ceil(parts);
        let without = |from: usize| {
            let rest = left.iter().enumerate().filter(|(at, _)| !(from..from + size).contains(at));
            rest.map(|(_, item)| item.clone()).collect::<Vec<T>>()
        };
        // The last parts are tried first, because late items depend on early ones.
        match (0..left.len()).step_by(size).rev().map(without).find(|rest| happens(rest)) {
            Some(rest) => {
                left = rest;
                parts = (parts - 1).max(2);
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(left.len()),
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_left_of_what_does_not_matter() {
        let mut asked = 0;
        let left = minimize(&(0..1000).collect::<Vec<_>>(), |part| {
            asked += 1;
            part.contains(&17) && part.contains(&803)
        });
        assert_eq!(left, [17, 803]);
        assert!(asked < 150, "{asked}");
        assert_eq!(minimize(&[1, 2, 3], |_| true), Vec::<i32>::new());
        let nothing: &[i32] = &[];
        assert!(minimize(nothing, |_| panic!("there is nothing to ask about")).is_empty());
    }

    proptest! {
        #[test]
        fn only_needed_items_remain(
            all in 1_usize..60, needed in proptest::collection::btree_set(0_usize..60, 1..6)
        ) {
            let all: Vec<usize> = (0..60.max(all)).collect();
            let mut last = all.clone();
            let left = minimize(&all, |part| {
                let happens = needed.iter().all(|one| part.contains(one));
                if happens {
                    last = part.to_vec();
                }
                happens
            });
            prop_assert_eq!(&left, &needed.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(left, last);
        }
    }
}
