//! The first of many, by some order.

use std::cmp::Ordering;

/// A request's place among all: so that of equal ones, those that are kept do not depend on the order in which they come.
pub(super) type Place = (u64, u64);

/// At most so many items with the greatest keys. Of equal keys, those of the earliest place.
#[derive(Clone, Debug)]
pub(super) struct Top<T> {
    limit: usize,
    /// In descending order.
    items: Vec<(u64, Place, T)>,
}

impl<T> Top<T> {
    pub(super) const fn new(limit: usize) -> Self {
        Self { limit, items: Vec::new() }
    }

    /// Adds an item, which is made if it belongs to the first.
    #[inline]
    pub(super) fn offer(&mut self, key: u64, place: Place, item: impl FnOnce() -> T) {
        let is_full = self.items.len() >= self.limit;
        let is_less = self.items.last().is_none_or(|(last, its_place, _)| order(key, place, *last, *its_place).is_ge());
        if !(is_full && is_less) {
            self.insert(key, place, item());
        }
    }

    /// Adds an item, unless one that is the same is there with a greater key, or an earlier place: of those, the first is kept.
    pub(super) fn offer_distinct(
        &mut self,
        key: u64,
        place: Place,
        is_same: impl Fn(&T) -> bool,
        item: impl FnOnce() -> T,
    ) {
        let is_full = self.items.len() >= self.limit;
        let is_less = self.items.last().is_none_or(|(last, its_place, _)| order(key, place, *last, *its_place).is_ge());
        if is_full && is_less {
            return;
        }
        if self.makes_way(key, place, is_same) {
            self.insert(key, place, item());
        }
    }

    /// Removes the item that is the same, if it is not the first of both. Returns whether there is none now.
    fn makes_way(&mut self, key: u64, place: Place, is_same: impl Fn(&T) -> bool) -> bool {
        let Some(index) = self.items.iter().position(|(.., item)| is_same(item)) else { return true };
        let other = self.items.get(index);
        let is_first = other.is_some_and(|(other, its_place, _)| order(key, place, *other, *its_place).is_lt());
        if is_first {
            self.items.remove(index);
        }
        is_first
    }

    #[inline(never)]
    fn insert(&mut self, key: u64, place: Place, item: T) {
        let at = self.items.partition_point(|(other, its_place, _)| order(*other, *its_place, key, place).is_lt());
        self.items.insert(at, (key, place, item));
        self.items.truncate(self.limit);
    }

    pub(super) fn merge(&mut self, other: Self) {
        for (key, place, item) in other.items {
            self.offer(key, place, || item);
        }
    }

    pub(super) fn merge_distinct(&mut self, other: Self, is_same: impl Fn(&T, &T) -> bool) {
        for (key, place, item) in other.items {
            if self.makes_way(key, place, |own| is_same(own, &item)) {
                self.offer(key, place, || item);
            }
        }
    }

    /// Returns the items, the greatest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|(_, _, item)| item)
    }
}

fn order(key: u64, place: Place, other: u64, its_place: Place) -> Ordering {
    other.cmp(&key).then(place.cmp(&its_place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_are_kept_in_any_order_of_arrival() {
        let all: Vec<(u64, Place)> = (0..50).map(|n| (n * 7 % 10, (n, 1))).collect();
        let mut expected = all.clone();
        expected.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        expected.truncate(8);
        for turn in 0..50 {
            let (mut one, mut other) = (Top::new(8), Top::new(8));
            for (index, (key, place)) in all.iter().cycle().skip(turn).take(50).enumerate() {
                let top = if index % 3 == 0 { &mut one } else { &mut other };
                top.offer(*key, *place, || (*key, *place));
            }
            one.merge(other);
            assert_eq!(one.iter().copied().collect::<Vec<_>>(), expected);
        }
        assert_eq!(Top::<()>::new(0).iter().count(), 0);
    }

    #[test]
    fn of_items_that_are_the_same_the_first_is_kept_in_any_order_of_arrival() {
        // What each is, its key and its place: some come again and again.
        let all: Vec<(u64, u64, Place)> =
            (0..60).map(|n| (n % 7 * u64::from(n % 3 < 2), n * 11 % 13 / 4, (n, 1))).collect();
        let mut expected: Vec<(u64, u64, Place)> = Vec::new();
        let mut sorted = all.clone();
        sorted.sort_by(|a, b| order(a.1, a.2, b.1, b.2));
        for item in sorted {
            if expected.iter().all(|other| other.0 != item.0) {
                expected.push(item);
            }
        }
        expected.truncate(4);
        for turn in 0..60 {
            let (mut one, mut other) = (Top::new(4), Top::new(4));
            for (index, item) in all.iter().cycle().skip(turn).take(60).enumerate() {
                let top = if index % 3 == 0 { &mut one } else { &mut other };
                top.offer_distinct(item.1, item.2, |own: &(u64, u64, Place)| own.0 == item.0, || *item);
            }
            one.merge_distinct(other, |own, other| own.0 == other.0);
            assert_eq!(one.iter().copied().collect::<Vec<_>>(), expected, "{turn}");
        }
    }
}
