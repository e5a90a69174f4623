//! Chunks: runs of candidates that are executed together in one layer.

use std::ops::Range;

/// Cuts candidates of the given lengths (tokens) into consecutive chunks of at most `chunk_tokens` tokens.
///
/// A candidate is never split, so one that is longer than the limit has a chunk of its own. Order is kept and every
/// candidate is in exactly one chunk. Greedy: each chunk takes as many as fit, which for runs in order gives the
/// fewest chunks.
pub fn plan(lengths: &[usize], chunk_tokens: usize) -> Vec<Range<usize>> {
    let mut chunks = Vec::new();
    let (mut start, mut tokens) = (0, 0usize);
    for (index, &length) in lengths.iter().enumerate() {
        if index > start && tokens.saturating_add(length) > chunk_tokens {
            chunks.push(start..index);
            (start, tokens) = (index, 0);
        }
        tokens = tokens.saturating_add(length);
    }
    if start < lengths.len() {
        chunks.push(start..lengths.len());
    }
    chunks
}

/// The order in which pass number `pass` takes the chunks: 0, 1, ... in even passes, back again in odd ones.
///
/// A pass is one block of weights over all chunks: a layer, or half of one. The chunk in hand at the end of a pass
/// starts the next, which saves its trip to disk where hidden states are spilled.
///
/// ```
/// use grating_sched::chunk;
///
/// assert!(chunk::order(3, 0).eq([0, 1, 2]));
/// assert!(chunk::order(3, 1).eq([2, 1, 0]));
/// ```
pub fn order(chunks: usize, pass: usize) -> impl ExactSizeIterator<Item = usize> {
    let last = chunks.saturating_sub(1);
    (0..chunks).map(move |i| if pass.is_multiple_of(2) { i } else { last - i })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_candidate_has_its_own_chunk() {
        assert_eq!(plan(&[3, 5, 9, 1, 1, 1, 20, 2], 10), [0..2, 2..4, 4..6, 6..7, 7..8]);
        assert_eq!(plan(&[1, 1, 1], 0), [0..1, 1..2, 2..3]);
        assert!(plan(&[], 10).is_empty());
    }

    proptest! {
        #[test]
        fn each_pass_starts_with_the_chunk_in_hand(chunks in 1usize..20, pass in 0usize..40) {
            let last = order(chunks, pass).last();
            prop_assert_eq!(last, order(chunks, pass + 1).next());
            let mut all: Vec<usize> = order(chunks, pass).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..chunks).collect::<Vec<_>>());
        }

        #[test]
        fn chunks_partition_the_pool_within_the_limit(
            lengths in prop::collection::vec(0usize..600, 0..80),
            limit in 0usize..2000,
        ) {
            let chunks = plan(&lengths, limit);
            let covered: Vec<usize> = chunks.iter().cloned().flatten().collect();
            prop_assert_eq!(covered, (0..lengths.len()).collect::<Vec<_>>());
            for (i, chunk) in chunks.iter().enumerate() {
                let tokens: usize = lengths[chunk.clone()].iter().sum();
                prop_assert!(chunk.len() == 1 || tokens <= limit);
                // No chunk could have taken the first of the next one too.
                if i + 1 < chunks.len() {
                    prop_assert!(tokens + lengths[chunk.end] > limit);
                }
            }
        }
    }
}
