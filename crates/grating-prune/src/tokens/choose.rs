//! From attention to the rows that stay.

use std::cmp::Ordering;
use std::ops::Range;

use super::{Keep, TokenPolicy, TokenStage};

/// What attention tells of each of a candidate's rows that are still in ([`Signal`](super::Signal)).
#[derive(Debug, Clone)]
pub struct TokenMass<'a> {
    /// Attention of each row.
    pub mass: &'a [f32],
    /// Place of each row in the whole candidate; rising.
    pub positions: &'a [u32],
    /// Places of the text's tokens; what is outside stays.
    pub text: Range<u32>,
}

/// Rows that stay or leave together, and the mean of their attention.
struct Block {
    rows: Range<usize>,
    mass: f64,
}

impl TokenPolicy {
    /// Which rows stay after a stage, for each whether. Equal ones are told apart by their place: the earlier one stays.
    ///
    /// A token's attention that is no number counts as none: the score that is read of it ends the request.
    ///
    /// # Panics
    /// If there are not as many places as rows.
    pub fn stays(&self, stage: &TokenStage, tokens: &TokenMass<'_>) -> Vec<bool> {
        let TokenMass { mass, positions, text } = tokens;
        assert_eq!(mass.len(), positions.len(), "a place for each row");
        let mut stays = vec![true; mass.len()];
        let first = text.start.saturating_add(u32::try_from(self.first).unwrap_or(u32::MAX));
        let last = text.end.saturating_sub(u32::try_from(self.last).unwrap_or(u32::MAX));
        let row = |place: u32| positions.partition_point(|&p| p < place);
        let free = row(first)..row(last);
        let blocks = blocks(tokens, free, stage.block);
        for block in leaving(blocks, stage.keep) {
            stays[block.rows].fill(false);
        }
        stays
    }
}

/// The blocks of the rows that may leave: as the text's tokens lie, however many of each are left.
fn blocks(tokens: &TokenMass<'_>, free: Range<usize>, size: usize) -> Vec<Block> {
    let TokenMass { mass, positions, text } = tokens;
    let mut blocks = Vec::new();
    let number = |row: usize| (positions[row] - text.start) as usize / size;
    let mut start = free.start;
    while start < free.end {
        let same = |&row: &usize| number(row) == number(start);
        let end = (start..free.end).find(|row| !same(row)).unwrap_or(free.end);
        let sum: f64 = mass[start..end].iter().map(|&mass| number_or_none(mass)).sum();
        blocks.push(Block { rows: start..end, mass: sum / (end - start) as f64 });
        start = end;
    }
    blocks
}

fn number_or_none(mass: f32) -> f64 {
    if mass.is_finite() { f64::from(mass) } else { 0.0 }
}

/// Those that leave.
fn leaving(mut blocks: Vec<Block>, keep: Keep) -> Vec<Block> {
    match keep {
        Keep::Share(share) => {
            let kept = share_of(share, blocks.len());
            blocks.sort_by(|a, b| more(a, b).then_with(|| a.rows.start.cmp(&b.rows.start)));
            blocks.split_off(kept)
        }
        Keep::Threshold(times) => {
            let rows: usize = blocks.iter().map(|block| block.rows.len()).sum();
            let all: f64 = blocks.iter().map(|block| block.mass * block.rows.len() as f64).sum();
            let least = times * all / rows.max(1) as f64;
            blocks.retain(|block| block.mass < least);
            blocks
        }
    }
}

/// Those with more attention first.
fn more(a: &Block, b: &Block) -> Ordering {
    b.mass.total_cmp(&a.mass)
}

/// A share of so many, rounded up, one at least where there are any; what only rounding makes more does not count.
pub(super) fn share_of(share: f64, count: usize) -> usize {
    const ROUNDING: f64 = 1e-9;
    ((share * count as f64 - ROUNDING).ceil().max(1.0) as usize).min(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stays(
        policy: &TokenPolicy,
        mass: &[f32],
        positions: &[u32],
        text: Range<u32>,
    ) -> Vec<usize> {
        let stage = policy.stages[0];
        let stays = policy.stays(&stage, &TokenMass { mass, positions, text });
        (0..stays.len()).filter(|&row| stays[row]).collect()
    }

    fn policy(stage: TokenStage) -> TokenPolicy {
        TokenPolicy::new(vec![stage])
    }

    #[test]
    fn the_share_with_most_attention_stays_with_what_is_not_the_texts() {
        let mass = [0.0, 0.5, 0.1, 0.3, 0.2, 0.0];
        let places = [10, 11, 12, 13, 14, 15];
        let half = policy(TokenStage::new(0.5, 0.5));
        assert_eq!(stays(&half, &mass, &places, 11..15), [0, 1, 3, 5]);
        // Ends stay in any case, and of the two between them one.
        assert_eq!(stays(&half.clone().with_ends(1, 1), &mass, &places, 11..15), [0, 1, 3, 4, 5]);
        assert_eq!(
            stays(&half.clone().with_ends(3, 3), &mass, &places, 11..15),
            [0, 1, 2, 3, 4, 5]
        );
        assert_eq!(stays(&half, &mass, &places, 0..0), [0, 1, 2, 3, 4, 5]);
        assert_eq!(stays(&half, &[0.1; 6], &places, 11..15), [0, 1, 2, 5], "the earlier of equals");
        assert_eq!(
            stays(&half, &[f32::NAN, 0.1, 0.2, 0.0, f32::NAN, 0.0], &places, 11..15),
            [0, 1, 2, 5]
        );
    }

    #[test]
    fn blocks_are_where_the_text_has_them_and_weigh_by_their_mean() {
        // Of the first block of four one token is left, of the second two.
        let (mass, places) = ([0.3, 0.1, 0.4, 0.2, 0.2], [23, 24, 27, 28, 30]);
        let third = policy(TokenStage::new(0.5, 1.0 / 3.0).with_block(4));
        assert_eq!(stays(&third, &mass, &places, 20..40), [0]);
        let above = third.stages[0].with_keep(Keep::Threshold(1.0));
        assert_eq!(stays(&policy(above), &mass, &places, 20..40), [0, 1, 2]);
        let any = third.stages[0].with_keep(Keep::Threshold(0.0));
        assert_eq!(stays(&policy(any), &mass, &places, 20..40), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_share_is_rounded_up_but_not_for_the_rounding() {
        assert_eq!(share_of(0.7, 10), 7);
        assert_eq!(share_of(0.7, 11), 8);
        assert_eq!(share_of(0.1, 1), 1);
        assert_eq!((share_of(1.0, 5), share_of(0.5, 0)), (5, 0));
        assert_eq!((share_of(1e-12, 5), share_of(1e-12, 0)), (1, 0));
    }

    proptest! {
        /// Later sets are subsets, none outside the text leaves, as many stay as a share says, and all who stay have at
        /// least the attention of those who leave.
        #[test]
        fn those_who_stay_are_the_share_with_most_attention(
            gaps in prop::collection::vec((0..3u32, 0.0..1.0f32), 1..80),
            share in 0.01..1.0f64, block in 1..9usize, ends in (0..4usize, 0..4usize), text in (0..60u32, 0..90u32),
        ) {
            let mut place = 0;
            let (places, mass): (Vec<u32>, Vec<f32>) = gaps.iter().map(|&(gap, mass)| {
                place += gap + 1;
                (place, mass)
            }).unzip();
            let text = text.0..text.0 + text.1;
            let stage = TokenStage::new(0.5, share).with_block(block);
            let policy = policy(stage).with_ends(ends.0, ends.1);
            let found = stays(&policy, &mass, &places, text.clone());
            let free = |row: &usize| {
                let place = places[*row] as usize;
                (text.start as usize + ends.0..(text.end as usize).saturating_sub(ends.1)).contains(&place)
            };
            let rows: Vec<usize> = (0..places.len()).collect();
            prop_assert!(rows.iter().filter(|r| !free(r)).all(|r| found.contains(r)));
            let number = |row: &usize| (places[*row] - text.start) as usize / block;
            let mut by_block: Vec<(Vec<usize>, f64)> = Vec::new();
            for row in rows.iter().copied().filter(free) {
                match by_block.last_mut().filter(|(rows, _)| number(&rows[0]) == number(&row)) {
                    Some((rows, _)) => rows.push(row),
                    None => by_block.push((vec![row], 0.0)),
                }
            }
            for (rows, mean) in &mut by_block {
                *mean = rows.iter().map(|&r| f64::from(mass[r])).sum::<f64>() / rows.len() as f64;
            }
            let kept = by_block.iter().filter(|(rows, _)| found.contains(&rows[0]));
            prop_assert_eq!(kept.clone().count(), share_of(share, by_block.len()));
            let least = kept.clone().map(|(_, mean)| *mean).fold(f64::INFINITY, f64::min);
            for (rows, mean) in &by_block {
                prop_assert!(rows.iter().all(|r| found.contains(r) == found.contains(&rows[0])));
                prop_assert!(found.contains(&rows[0]) || *mean <= least);
            }
        }
    }
}
