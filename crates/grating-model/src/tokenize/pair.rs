//! Pairs of encoders: control tokens around a query and a text.

use super::Encoding;
use super::frame::Frame;

/// How a query and a text become a pair.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) frame: Frame,
    /// Whether the model gets token types.
    pub(super) types: bool,
    /// Whether what is too long would lose its beginning, which is not done here.
    pub(super) cuts_the_start: bool,
}

impl Pair {
    /// `ids` are the first of the query's, as many as could be kept, and `tokens` how many it has (or more than
    /// [`PairQuery::most`]); query and text have `room` tokens together.
    pub(super) fn query(&self, ids: Vec<u32>, tokens: usize, room: usize) -> PairQuery {
        // However long a text is, half of the room is the query's.
        let shared = match tokens <= room / 2 {
            true => self.frame.start.len() + tokens + self.frame.between.len(),
            false => self.frame.start.len() + room / 2,
        };
        PairQuery { ids, tokens, shared }
    }

    /// The pair of a query and a text, of which `text` has the first [`PairQuery::sought`] tokens and `more` says
    /// whether there are others; and how many tokens of the query are in it.
    pub(super) fn encode(
        &self,
        query: &PairQuery,
        text: &[u32],
        more: bool,
        room: usize,
    ) -> (Encoding, usize) {
        // Where there is more than was sought the text is the longer one, or there is no odd token to give.
        let text_tokens = if more { usize::MAX } else { text.len() };
        let (first, second) = longest_first(query.tokens, text_tokens, room);
        let (query_ids, text_ids) = (&query.ids[..first], &text[..second]);
        let (mut ids, mut type_ids) = self.frame.around(query_ids);
        let query_start = self.frame.start.len() as u32;
        let query_at = query_start..query_start + first as u32;
        let start = ids.len() as u32;
        ids.extend(text_ids);
        let text = start..ids.len() as u32;
        type_ids.resize(ids.len(), self.frame.text_type);
        ids.extend(self.frame.end.iter().map(|(id, _)| id));
        type_ids.extend(self.frame.end.iter().map(|(_, kind)| kind));
        if !self.types {
            type_ids.clear();
        }
        let (truncated, query_truncated) = (second < text_tokens, first < query.tokens);
        let passage = text.clone();
        let encoding =
            Encoding { ids, type_ids, query: query_at, text, passage, truncated, query_truncated };
        (encoding, first)
    }
}

/// A query, encoded.
#[derive(Debug, Clone)]
pub(super) struct PairQuery {
    /// The first tokens of the query, as many as could ever be kept.
    ids: Vec<u32>,
    /// Tokens of the whole query.
    pub(super) tokens: usize,
    /// Tokens with which every pair begins.
    pub(super) shared: usize,
}

/// A text of more than so many times the room counts as longer than any query.
const LONG: usize = 8;

impl PairQuery {
    /// Tokens of a query beyond which it does not matter how many there are: more than any text counts.
    pub(super) fn most(room: usize) -> usize {
        LONG * room + 2
    }

    /// Most tokens of a passage beside it, of `room` together: what the query leaves, and a quarter where it would leave
    /// less. (Of one long text it would be half, for which a query of more than that is cut.)
    pub(super) fn passage_room(&self, room: usize) -> usize {
        room.saturating_sub(self.tokens).max(room / 4).max(1)
    }

    /// How many tokens of a text [`Pair::encode`] needs to see: as many as could be kept; and where query and text both
    /// go over an odd room, enough to know the longer one, which gets the odd token.
    pub(super) fn sought(&self, room: usize) -> usize {
        match self.tokens > room && room % 2 == 1 {
            true => self.tokens.min(LONG * room),
            false => room,
        }
    }
}

/// How many tokens of a query and of a text of these lengths are kept, at most `room` together: of the longer one as
/// few as that takes, and half of the room of each where both have more; an odd token then goes to the longer one, to
/// the text if they are equal. (`LongestFirst` of the `tokenizers` crate.)
fn longest_first(query: usize, text: usize, room: usize) -> (usize, usize) {
    if query.saturating_add(text) <= room {
        return (query, text);
    }
    let (shorter, longer) = (query.min(text), query.max(text));
    let shorter = shorter.min(room / 2);
    let longer = longer.min(room - shorter);
    if query > text { (longer, shorter) } else { (shorter, longer) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokenizers::utils::truncation::{
        TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings,
    };

    use super::*;

    fn encoding(tokens: usize) -> tokenizers::Encoding {
        let token = |id: usize| tokenizers::Token::new(id as u32, String::new(), (0, 0));
        tokenizers::Encoding::from_tokens((0..tokens).map(token).collect(), 0)
    }

    proptest! {
        #[test]
        fn the_longer_one_is_cut_as_the_tokenizers_crate_has_it(
            query in 0_usize..60, text in 0_usize..60, room in 2_usize..50,
        ) {
            let params = TruncationParams {
                direction: TruncationDirection::Right,
                max_length: room,
                strategy: TruncationStrategy::LongestFirst,
                stride: 0,
            };
            let (a, b) =
                truncate_encodings(encoding(query), Some(encoding(text)), &params).unwrap();
            prop_assert_eq!(longest_first(query, text, room), (a.len(), b.unwrap().len()));
        }

        #[test]
        fn the_first_tokens_of_a_text_are_enough(
            query in 0_u32..60, text in 0_u32..60, room in 2_usize..50,
        ) {
            prop_assume!(query.min(text) as usize <= LONG * room);
            let frame = Frame::typed(&[1000], &[1001], &[1002]);
            let pair = Pair { frame, types: true, cuts_the_start: false };
            let (all, text): (Vec<u32>, Vec<u32>) = ((0..query).collect(), (0..text).collect());
            let first = all.iter().copied().take(room).collect();
            let query = pair.query(first, all.len().min(PairQuery::most(room) + 1), room);
            let sought = query.sought(room).min(text.len());
            let (found, kept) = pair.encode(&query, &text[..sought], sought < text.len(), room);
            let (first, second) = longest_first(all.len(), text.len(), room);
            let expected = [&[1000], &all[..first], &[1001], &text[..second], &[1002]].concat();
            prop_assert_eq!(kept, first);
            prop_assert_eq!(&found.ids, &expected);
            let text_ids = found.text.start as usize..found.text.end as usize;
            prop_assert_eq!(&found.ids[text_ids], &text[..second]);
            let query_ids = found.query.start as usize..found.query.end as usize;
            prop_assert_eq!(&found.ids[query_ids], &all[..first]);
            prop_assert_eq!(found.truncated, second < text.len());
            prop_assert_eq!(found.query_truncated, first < all.len());
            let shared = query.shared.min(found.ids.len());
            let long = pair.encode(&query, &[7; 99][..query.sought(room)], true, room).0;
            prop_assert_eq!(&found.ids[..shared], &long.ids[..shared]);
        }
    }
}
