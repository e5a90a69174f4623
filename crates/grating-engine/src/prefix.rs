//! The tokens that all candidates begin with: found once, computed once a layer.

use grating_model::{
    Attention, CpuOps, CpuTensor, Encoding, FeedForward, KeysValues, Ragged, RequestContext,
};

use crate::executor::Executor;

/// The shared prefix on its way through the layers. Without tokens it does nothing.
pub(crate) struct Prefix {
    ragged: Ragged,
    /// `[tokens, hidden]`; none once the last layer has no use for them.
    hidden: Option<CpuTensor>,
    /// Those of the attention block that ran last.
    keys_values: Option<KeysValues<CpuOps>>,
}

impl Prefix {
    /// None, before the candidates' own tokens or their hidden states.
    pub(crate) fn none() -> Self {
        Prefix { ragged: Ragged::from_lengths(None), hidden: None, keys_values: None }
    }

    /// A prefix of so many tokens with hidden states `[tokens, hidden]`.
    pub(crate) fn new(tokens: usize, hidden: CpuTensor) -> Self {
        let ragged = Ragged::from_lengths([tokens]);
        Prefix { ragged, hidden: Some(hidden), keys_values: None }
    }

    pub(crate) fn tokens(&self) -> usize {
        self.ragged.tokens()
    }

    /// What comes before the candidates' own keys and values in the layer at work.
    pub(crate) fn keys_values(&self) -> Option<&KeysValues<CpuOps>> {
        self.keys_values.as_ref()
    }

    /// Through a block of a layer, or both; after the attention of the `last` layer nothing but keys and values is
    /// needed.
    pub(crate) fn run(
        &mut self,
        on: Executor<'_>,
        request: &RequestContext<CpuOps>,
        attention: Option<&Attention<'_, CpuOps>>,
        feed_forward: Option<&FeedForward<'_, CpuOps>>,
        last: bool,
    ) -> grating_model::Result<()> {
        let Executor { model, ops, .. } = on;
        if let (Some(attention), Some(hidden)) = (attention, self.hidden.take()) {
            let context = request.chunk(&self.ragged, None);
            // Those of the layer before go before the new ones come.
            self.keys_values = None;
            if last {
                let keys_values = model.prefix_keys_values(ops, attention, &hidden, &context)?;
                self.keys_values = Some(keys_values);
            } else {
                let (hidden, keys_values) =
                    model.attend_prefix(ops, attention, hidden, &context)?;
                self.hidden = Some(hidden);
                self.keys_values = Some(keys_values);
            }
        }
        if let (Some(feed_forward), Some(hidden)) = (feed_forward, self.hidden.take()) {
            self.hidden = Some(model.feed(ops, feed_forward, hidden)?);
        }
        Ok(())
    }
}

/// Tokens that all candidates begin with, leaving each at least one of its own; 0 for one candidate alone.
pub(crate) fn common(encodings: &[Encoding]) -> usize {
    let [first, others @ ..] = encodings else { return 0 };
    if others.is_empty() {
        return 0;
    }
    let shared = |e: &Encoding| first.ids.iter().zip(&e.ids).take_while(|(a, b)| a == b).count();
    let shortest = encodings.iter().map(|e| e.ids.len()).min().unwrap_or(0);
    others.iter().map(shared).min().unwrap_or(0).min(shortest.saturating_sub(1))
}

/// What of an encoding comes after the first `prefix` tokens; takes it out.
pub(crate) fn take_own(encoding: &mut Encoding, prefix: usize) -> Encoding {
    let mut own = std::mem::take(encoding);
    own.ids.drain(..prefix);
    own.type_ids.drain(..prefix.min(own.type_ids.len()));
    own
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoding(ids: &[u32]) -> Encoding {
        Encoding { ids: ids.to_vec(), ..Encoding::default() }
    }

    #[test]
    fn a_prefix_leaves_everybody_a_token() {
        assert_eq!(common(&[encoding(&[1, 2, 3]), encoding(&[1, 2, 4, 5])]), 2);
        assert_eq!(common(&[encoding(&[1, 2]), encoding(&[1, 2, 4])]), 1);
        assert_eq!(common(&[encoding(&[1, 2])]), 0);
        assert_eq!(common(&[encoding(&[1]), encoding(&[2])]), 0);
        assert_eq!(common(&[]), 0);
    }

    #[test]
    fn types_go_with_their_tokens() {
        let (ids, type_ids) = (vec![7, 8, 9], vec![0, 0, 1]);
        let mut whole = Encoding { ids, type_ids, truncated: true };
        let own = take_own(&mut whole, 2);
        assert_eq!(own, Encoding { ids: vec![9], type_ids: vec![1], truncated: true });
        assert_eq!(whole, Encoding::default());
    }

    proptest! {
        #[test]
        fn a_prefix_is_everybodys_and_as_long_as_can_be(
            pool in prop::collection::vec(prop::collection::vec(0..2u32, 1..6), 2..5)
        ) {
            let encodings: Vec<Encoding> = pool.iter().map(|ids| encoding(ids)).collect();
            let tokens = common(&encodings);
            let is_common = |n: usize| pool.iter().all(|ids| ids.len() > n && ids[..n] == pool[0][..n]);
            prop_assert!(is_common(tokens));
            prop_assert!(!is_common(tokens + 1));
        }
    }
}
