//! Open blocks, one for each owner of files. The size of compressed data reveals similarities: an attacker
//! who can write a part of a block could guess other parts, as in CRIME (Rizzo and Duong, 2012). So files of
//! different users are never compressed together.

use std::collections::VecDeque;

/// Maximum number of open blocks of one type. With files of more owners in turn, blocks become smaller.
const MAX_OPEN: usize = 4;

/// A value for each of the most recent owners, one of which is current.
#[derive(Debug)]
pub(crate) struct ByOwner<T> {
    current: (u32, T),
    /// Least recently used first.
    others: VecDeque<(u32, T)>,
}

impl<T> ByOwner<T> {
    /// Creates it with a value for user 0, which is current.
    pub(crate) fn new(first: T) -> Self {
        Self { current: (0, first), others: VecDeque::new() }
    }

    /// Makes the value of this owner current. If there are too many, removes and returns the least recently
    /// used one.
    pub(crate) fn select(&mut self, owner: u32, new: impl FnOnce() -> T) -> Option<T> {
        if self.current.0 == owner {
            return None;
        }
        let known = self.others.iter().position(|(other, _)| *other == owner);
        let next = known.and_then(|at| self.others.remove(at)).unwrap_or_else(|| (owner, new()));
        self.others.push_back(std::mem::replace(&mut self.current, next));
        if self.others.len() < MAX_OPEN { None } else { self.others.pop_front().map(|(_, value)| value) }
    }

    /// Returns the current value.
    pub(crate) fn current(&mut self) -> &mut T {
        &mut self.current.1
    }

    /// Returns all values.
    pub(crate) fn into_all(self) -> impl Iterator<Item = T> {
        self.others.into_iter().chain([self.current]).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_owners_keep_their_values_a_fifth_evicts_the_oldest() {
        let mut all = ByOwner::new('a');
        for (owner, value) in [(1, 'b'), (2, 'c'), (3, 'd')] {
            assert_eq!(all.select(owner, || value), None);
        }
        assert_eq!((all.select(0, || 'x'), *all.current()), (None, 'a'));
        assert_eq!((all.select(4, || 'e'), *all.current()), (Some('b'), 'e'));
        assert_eq!((all.select(1, || 'y'), *all.current()), (Some('c'), 'y'));
        assert_eq!(all.into_all().collect::<String>(), "daey");
    }
}
