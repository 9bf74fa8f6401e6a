//! A set of small numbers, used for subsets of snapshots and of index entries.

/// A bit set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct BitSet {
    /// 64 bits each; the last word is not zero.
    words: Vec<u64>,
}

impl BitSet {
    /// Adds a number. Returns true if the set did not have it before.
    pub fn insert(&mut self, number: usize) -> bool {
        let (at, bit) = (number / 64, 1 << (number % 64));
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        self.words.get_mut(at).is_some_and(|word| {
            let is_new = *word & bit == 0;
            *word |= bit;
            is_new
        })
    }

    /// Adds all numbers of another set.
    pub fn add(&mut self, other: &Self) {
        if other.words.len() > self.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// Returns the numbers that are in both sets.
    pub fn and(&self, other: &Self) -> Self {
        Self::of_words(self.words.iter().zip(&other.words).map(|(a, b)| a & b).collect())
    }

    /// Returns the numbers that are not in the other set.
    pub fn minus(&self, other: &Self) -> Self {
        let others = other.words.iter().copied().chain(std::iter::repeat(0));
        Self::of_words(self.words.iter().zip(others).map(|(a, b)| a & !b).collect())
    }

    fn of_words(mut words: Vec<u64>) -> Self {
        while words.last() == Some(&0) {
            words.pop();
        }
        Self { words }
    }

    /// Returns whether a number is in the set.
    pub fn has(&self, number: usize) -> bool {
        self.words.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Returns the size of the intersection.
    pub fn common(&self, other: &Self) -> u64 {
        self.words.iter().zip(&other.words).map(|(a, b)| u64::from((a & b).count_ones())).sum()
    }

    /// Returns whether the sets intersect.
    pub fn meets(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).any(|(a, b)| a & b != 0)
    }

    /// Returns the number of elements.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Iterates over the numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        (0..).zip(&self.words).flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as usize;
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    at * 64 + bit
                })
            })
        })
    }

    /// Returns the smallest number.
    pub fn first(&self) -> Option<usize> {
        self.iter().next()
    }

    /// Returns the largest number.
    pub fn last(&self) -> Option<usize> {
        let (at, word) = self.words.iter().enumerate().next_back()?;
        Some(at * 64 + 63 - word.leading_zeros() as usize)
    }

    /// Returns the runs of consecutive numbers, each as first and last.
    pub fn runs(&self) -> Vec<(usize, usize)> {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for number in self.iter() {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == number => *last = number,
                _ => runs.push((number, number)),
            }
        }
        runs
    }
}

impl FromIterator<usize> for BitSet {
    fn from_iter<I: IntoIterator<Item = usize>>(numbers: I) -> Self {
        let mut set = Self::default();
        numbers.into_iter().for_each(|number| _ = set.insert(number));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::BitSet;

    #[test]
    fn set_returns_what_was_inserted() {
        let given = [0, 1, 63, 64, 65, 199];
        let mut set: BitSet = given.into_iter().rev().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), given);
        assert_eq!((set.count(), set.first(), set.last()), (6, Some(0), Some(199)));
        assert_eq!(set.runs(), [(0, 1), (63, 65), (199, 199)]);
        assert!(set.has(63) && !set.has(62) && !set.has(5000));
        let other: BitSet = [1, 2, 300].into_iter().collect();
        assert!(set.meets(&other) && set.common(&other) == 1);
        // Sets that hold the same are equal, however they came about.
        assert_eq!(set.and(&other), [1].into_iter().collect());
        assert_eq!(other.minus(&set), [2, 300].into_iter().collect());
        assert_eq!(set.minus(&set), BitSet::default());
        set.add(&other);
        assert_eq!(set.minus(&other), given.into_iter().filter(|number| *number != 1).collect());
        assert_eq!(set.last(), Some(300));
        assert_eq!(BitSet::default().last(), None);
        assert!(!BitSet::default().meets(&set) && BitSet::default().is_empty());
    }
}
