//! Passages that are compressed on their way: whose rows become which, before which layers.

use std::ops::Range;

use grating_model::{Encoding, TokenCompression};
use grating_sched::PoolShape;

use crate::pool::Member;

/// A job's passages.
pub(crate) struct Compressing {
    compression: TokenCompression,
    /// Places of each candidate's among its own tokens, which come after a shared prefix; before layer 0.
    passages: Vec<Range<usize>>,
}

/// What becomes of a chunk's rows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Merged {
    /// How many neighbours become one, from the first row on.
    pub(crate) groups: Vec<usize>,
    /// Rows that each member has then.
    pub(crate) rows: Vec<usize>,
}

impl Compressing {
    /// Of candidates that continue a prefix of so many tokens, which [ends](pool) before any of their passages.
    pub(crate) fn new(
        compression: &TokenCompression,
        encodings: &[Encoding],
        prefix: usize,
    ) -> Self {
        let own = |at: u32| at as usize - prefix;
        let passage = |e: &Encoding| own(e.passage.start)..own(e.passage.end);
        let passages = encodings.iter().map(passage).collect();
        Compressing { compression: compression.clone(), passages }
    }

    /// Whether passages are compressed before a layer.
    pub(crate) fn is_before(&self, layer: usize) -> bool {
        self.compression.is_before(layer)
    }

    /// Rows that a layer computes of a member that comes to it.
    pub(crate) fn rows_in(&self, layer: usize, member: &Member) -> usize {
        let [came, goes_on] = self.passage_rows(layer, member);
        member.rows - came + goes_on
    }

    /// What becomes of members that come to a layer; nothing where none is [compressed](Self::is_before).
    pub(crate) fn merged(&self, layer: usize, members: &[Member]) -> Option<Merged> {
        if !self.is_before(layer) {
            return None;
        }
        let groups = members.iter().flat_map(|member| {
            let [came, _] = self.passage_rows(layer, member);
            let start = self.passages[member.candidate].start;
            self.compression.groups(member.rows, start..start + came)
        });
        let rows = members.iter().map(|member| self.rows_in(layer, member));
        Some(Merged { groups: groups.collect(), rows: rows.collect() })
    }

    /// Rows of a member's passage as it comes to a layer, and as it goes through it.
    fn passage_rows(&self, layer: usize, member: &Member) -> [usize; 2] {
        let passage = self.passages[member.candidate].len();
        let came = match layer.checked_sub(1) {
            Some(before) => self.compression.rows_in(before, passage),
            None => passage,
        };
        [came, self.compression.rows_in(layer, passage)]
    }
}

/// Candidates by their lengths where passages are compressed: after what of their `common` first tokens is in no passage,
/// and with what is left of them in later layers.
pub(crate) fn pool(
    compression: &TokenCompression,
    encodings: &[Encoding],
    common: usize,
) -> PoolShape {
    let starts = encodings.iter().map(|encoding| encoding.passage.start as usize);
    let prefix = starts.fold(common, usize::min);
    let rows_in = |layer: usize| -> Vec<usize> {
        let rows = |encoding: &Encoding| {
            let passage = encoding.passage.len();
            encoding.ids.len() - prefix - passage + compression.rows_in(layer, passage)
        };
        encodings.iter().map(rows).collect()
    };
    let pool = PoolShape::new(rows_in(0)).with_prefix(prefix);
    let layers = compression.layers().iter();
    layers.fold(pool, |pool, &layer| pool.with_later(layer, rows_in(layer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A candidate of so many tokens, the passage at these places.
    fn encoding(tokens: u32, passage: Range<u32>) -> Encoding {
        Encoding { ids: (0..tokens).collect(), passage, ..Encoding::default() }
    }

    #[test]
    fn a_prefix_ends_where_the_first_passage_begins_and_later_layers_have_fewer_rows() {
        let compression = TokenCompression::new(4, [2, 5]);
        let encodings = [encoding(20, 3..18), encoding(9, 4..6)];
        let shape = pool(&compression, &encodings, 7);
        let expected = PoolShape::new(vec![17, 6]).with_prefix(3);
        let expected = expected.with_later(2, vec![6, 5]).with_later(5, vec![3, 5]);
        assert_eq!(shape, expected);
        assert_eq!(pool(&compression, &encodings, 2).prefix_tokens, 2);
    }

    #[test]
    fn members_lose_rows_of_their_own_passages_and_twice_what_is_left() {
        let compression = TokenCompression::new(4, [2, 5]);
        let encodings = [encoding(20, 3..18), encoding(9, 4..6)];
        let compressing = Compressing::new(&compression, &encodings, 3);
        let members = |rows: [usize; 2]| {
            [Member { candidate: 1, rows: rows[0] }, Member { candidate: 0, rows: rows[1] }]
        };
        assert_eq!(compressing.merged(1, &members([6, 17])), None);
        let groups = [vec![1, 2, 1, 1, 1], vec![4, 4, 4, 3, 1, 1]].concat();
        let merged = compressing.merged(2, &members([6, 17]));
        assert_eq!(merged, Some(Merged { groups, rows: vec![5, 6] }));
        let groups = [vec![1; 5], vec![4, 1, 1]].concat();
        let merged = compressing.merged(5, &members([5, 6]));
        assert_eq!(merged, Some(Merged { groups, rows: vec![5, 3] }));
        assert_eq!(compressing.rows_in(3, &members([5, 6])[1]), 6);
    }
}
