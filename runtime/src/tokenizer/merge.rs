//! Merging neighbours, best pair first: the one algorithm behind byte pair encoding and SentencePiece's BPE.
//!
//! A word begins as a chain of small symbols (bytes or characters). Again and again the pair of neighbours with the lowest rank becomes
//! one symbol, of equal ranks the leftmost pair, until no pair has a rank. What differs between tokenizers is only what ranks a pair:
//! [`Rank`]. A heap of candidates makes it O(n log n) for a word of n symbols, so that a hostile text of one long word costs no more
//! than another.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Part of a word that is one symbol.
#[derive(Clone, Copy, Debug)]
pub(super) struct Symbol {
    /// Its first byte in the word.
    pub start: usize,
    /// Its bytes; 0 once it was merged into its left neighbour.
    pub len: usize,
    /// The token that it is, where it is one.
    pub id: Option<u32>,
    left: usize,
    right: usize,
}

impl Symbol {
    pub fn end(&self) -> usize {
        self.start + self.len
    }
}

/// No neighbour.
const NONE: usize = usize::MAX;

/// Ranks pairs of neighbouring symbols.
pub(super) trait Rank {
    /// The rank of a pair in `word` and the token that it becomes, if it may be merged. Lower ranks go first.
    fn rank(&self, word: &[u8], left: &Symbol, right: &Symbol) -> Option<(u32, Option<u32>)>;
}

/// A pair that may be merged. The order of the fields is the order of merging.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    left: usize,
    right: usize,
    /// Bytes of both. If a neighbour has changed since, this differs from what it was, and the candidate is void.
    len: usize,
    id: Option<u32>,
}

/// Splits `word` into symbols of the given lengths with their ids and merges them. Lengths add up to the word's.
pub(super) fn merge(
    word: &[u8],
    symbols: impl Iterator<Item = (usize, Option<u32>)>,
    rank: &impl Rank,
) -> Vec<Symbol> {
    let mut chain: Vec<Symbol> = Vec::new();
    for (len, id) in symbols {
        let index = chain.len();
        let start = chain.last().map_or(0, Symbol::end);
        chain.push(Symbol {
            start,
            len,
            id,
            left: index.checked_sub(1).unwrap_or(NONE),
            right: index + 1,
        });
    }
    if let Some(last) = chain.last_mut() {
        last.right = NONE;
    }
    let mut queue = BinaryHeap::new();
    for left in 1..chain.len() {
        push(&mut queue, word, &chain, (left - 1, left), rank);
    }
    while let Some(Reverse(best)) = queue.pop() {
        let (left, right) = (chain[best.left], chain[best.right]);
        let is_current =
            left.len > 0 && left.right == best.right && left.len + right.len == best.len;
        if !is_current {
            continue;
        }
        chain[best.right].len = 0;
        chain[best.left].len = best.len;
        chain[best.left].id = best.id;
        chain[best.left].right = right.right;
        // The left neighbour first: an encoder may remember which pair it saw last.
        if left.left != NONE {
            push(&mut queue, word, &chain, (left.left, best.left), rank);
        }
        if right.right != NONE {
            chain[right.right].left = best.left;
            push(&mut queue, word, &chain, (best.left, right.right), rank);
        }
    }
    chain.retain(|symbol| symbol.len > 0);
    chain
}

fn push(
    queue: &mut BinaryHeap<Reverse<Candidate>>,
    word: &[u8],
    chain: &[Symbol],
    (left, right): (usize, usize),
    rank: &impl Rank,
) {
    if let Some((value, id)) = rank.rank(word, &chain[left], &chain[right]) {
        queue.push(Reverse(Candidate {
            rank: value,
            left,
            right,
            len: chain[left].len + chain[right].len,
            id,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranks by a list of words.
    struct Words(&'static [&'static str]);

    impl Rank for Words {
        fn rank(&self, word: &[u8], left: &Symbol, right: &Symbol) -> Option<(u32, Option<u32>)> {
            let merged = &word[left.start..right.end()];
            let rank = self.0.iter().position(|word| word.as_bytes() == merged)? as u32;
            Some((rank, Some(rank)))
        }
    }

    fn merged(word: &str, words: &'static [&'static str]) -> Vec<String> {
        let symbols = word.bytes().map(|_| (1, None));
        let symbols = merge(word.as_bytes(), symbols, &Words(words));
        symbols
            .iter()
            .map(|symbol| word[symbol.start..symbol.end()].to_owned())
            .collect()
    }

    #[test]
    fn the_lowest_rank_goes_first_and_of_equal_ones_the_leftmost() {
        assert_eq!(merged("abc", &["bc", "ab"]), ["a", "bc"]);
        assert_eq!(merged("abc", &["ab", "bc"]), ["ab", "c"]);
        assert_eq!(merged("aaaaa", &["aa"]), ["aa", "aa", "a"]);
        assert_eq!(merged("aaaaa", &["aa", "aaaa"]), ["aaaa", "a"]);
        assert_eq!(merged("", &["aa"]), [""; 0]);
    }

    /// After "bc" is taken, "ab" is no pair any more, although both were neighbours once.
    #[test]
    fn pairs_whose_parts_have_changed_are_void() {
        assert_eq!(
            merged("abcd", &["bc", "ab", "cd", "abc"]),
            ["abc".to_owned(), "d".to_owned()]
        );
    }
}
