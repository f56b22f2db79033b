//! A subset of `0..n` in one bit a number.

use std::ops::Range;

use rayon::prelude::*;

const WORD: usize = u64::BITS as usize;

/// Some of the numbers `0..n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Members {
    words: Vec<u64>,
}

impl Members {
    /// The numbers of `0..n` for which `is_member` holds.
    pub fn of(n: usize, is_member: impl Fn(usize) -> bool + Sync) -> Members {
        let word = |i: usize| {
            let numbers = (WORD * i..n.min(WORD * (i + 1))).filter(|&number| is_member(number));
            numbers.fold(0, |word, number| word | 1 << (number % WORD))
        };
        Members { words: (0..n.div_ceil(WORD)).into_par_iter().map(word).collect() }
    }

    /// The numbers of an ascending list.
    pub fn listed(n: usize, numbers: &[usize]) -> Members {
        let mut words = vec![0; n.div_ceil(WORD)];
        numbers.iter().for_each(|&number| words[number / WORD] |= 1 << (number % WORD));
        Members { words }
    }

    /// How many members lie in a range.
    pub fn count_in(&self, range: Range<usize>) -> usize {
        self.words_from(range.start)
            .take_while(|(first, _)| *first < range.end)
            .map(|(first, word)| {
                let beyond = (first + WORD).saturating_sub(range.end);
                (if beyond > 0 { word << beyond } else { word }).count_ones() as usize
            })
            .sum()
    }

    /// The member that `rank` members from `first` on come before.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn nth(&self, first: usize, mut rank: usize) -> usize {
        for (first, mut word) in self.words_from(first) {
            let members = word.count_ones() as usize;
            if rank < members {
                (0..rank).for_each(|_| word &= word - 1);
                return first + word.trailing_zeros() as usize;
            }
            rank -= members;
        }
        panic!("the set has fewer members")
    }

    /// The words that hold the numbers from `first` on, each with its first number; smaller numbers are taken out.
    fn words_from(&self, first: usize) -> impl Iterator<Item = (usize, u64)> {
        let words = self.words.iter().enumerate().skip(first / WORD);
        words.map(move |(i, &word)| {
            let before = first.saturating_sub(WORD * i);
            (WORD * i, if before > 0 { word >> before << before } else { word })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_counted_and_found_by_rank() {
        let thirds = Members::of(1000, |i| i % 3 == 1);
        assert_eq!(thirds, Members::listed(1000, &(0..333).map(|i| 3 * i + 1).collect::<Vec<_>>()));
        for range in [0..1000, 0..0, 1..2, 63..65, 64..128, 100..700, 998..1000] {
            assert_eq!(thirds.count_in(range.clone()), range.filter(|i| i % 3 == 1).count());
        }
        for first in [0, 1, 2, 63, 64, 65, 500] {
            let expected: Vec<usize> = (first..1000).filter(|i| i % 3 == 1).collect();
            assert!(expected.iter().enumerate().all(|(rank, &i)| thirds.nth(first, rank) == i), "{first}");
        }
    }
}
