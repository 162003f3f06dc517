//! Into a map or set, one by one.

/// What `collect()` does for maps and sets, without the sort that comes with it: for each type that sort is three
/// kilobytes of a router's flash. For what is few; many at once are sooner collected.
pub trait Gather: Iterator + Sized {
    /// All items.
    fn gather<C: Default + Extend<Self::Item>>(self) -> C {
        let mut gathered = C::default();
        gathered.extend(self);
        gathered
    }
}

impl<I: Iterator> Gather for I {}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::Gather;

    #[test]
    fn gathers_what_collect_does() {
        let pairs = [(2, 'b'), (1, 'a'), (2, 'c')];
        assert_eq!(pairs.into_iter().gather::<BTreeMap<_, _>>(), BTreeMap::from(pairs));
        let keys = || pairs.iter().map(|(key, _)| *key);
        assert_eq!(keys().gather::<BTreeSet<_>>(), keys().collect());
    }
}
