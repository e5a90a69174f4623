//! The tokens that all candidates begin with: found once, computed once a layer.

use std::ops::Range;

use grating_backend::Ops;
use grating_model::{Attention, ChunkLayout, Encoding, FeedForward, KeysValues, PassContext};
use grating_prune::TokenPolicy;
use grating_sched::PoolShape;

use crate::compression;
use crate::executor::Executor;
use crate::job::Job;
use crate::tokens::{RowRules, shared, text_of};

/// The shared prefix on its way through the layers. Without tokens it does nothing.
pub(crate) struct Prefix<B: Ops> {
    tokens: usize,
    /// `[tokens, hidden]`; none once the last layer has no use for them.
    hidden: Option<B::Tensor>,
    /// Where its rows are.
    layout: Option<ChunkLayout<B>>,
    /// Those of the attention block that ran last.
    keys_values: Option<KeysValues<B>>,
}

impl<B: Ops> Prefix<B> {
    /// None, before the candidates' own tokens or their hidden states.
    pub(crate) fn none() -> Self {
        Prefix { tokens: 0, hidden: None, layout: None, keys_values: None }
    }

    /// A prefix of so many tokens with hidden states `[tokens, hidden]`.
    pub(crate) fn new(
        on: Executor<'_, B>,
        pass: &PassContext<B>,
        tokens: usize,
        hidden: B::Tensor,
    ) -> grating_model::Result<Self> {
        let layout = pass.layout(on.ops, &on.model.ragged([tokens], 0))?;
        Ok(Prefix { tokens, hidden: Some(hidden), layout: Some(layout), keys_values: None })
    }

    pub(crate) fn tokens(&self) -> usize {
        self.tokens
    }

    /// What comes before the candidates' own keys and values in the layer at work.
    pub(crate) fn keys_values(&self) -> Option<&KeysValues<B>> {
        self.keys_values.as_ref()
    }

    /// Through a block of a layer, or both; after the attention of the `last` layer nothing but keys and values is
    /// needed.
    pub(crate) fn run(
        &mut self,
        on: Executor<'_, B>,
        pass: &PassContext<B>,
        attention: Option<&Attention<'_, B>>,
        feed_forward: Option<&FeedForward<'_, B>>,
        last: bool,
    ) -> grating_model::Result<()> {
        let Executor { model, ops, .. } = on;
        // What a block does not need stays for the next one, which may be the other half of the layer.
        if let (Some(attention), Some(layout)) = (attention, &self.layout)
            && let Some(hidden) = self.hidden.take()
        {
            let context = pass.chunk(layout, None);
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
        if let Some(feed_forward) = feed_forward
            && let Some(hidden) = self.hidden.take()
        {
            self.hidden = Some(model.feed(ops, feed_forward, hidden)?);
        }
        Ok(())
    }
}

/// A job's candidates by their lengths: with `shared_prefix` after what they have in common, and where tokens leave them
/// with what is left of them.
pub(crate) fn pool(job: &Job, shared_prefix: bool, row_rules: &RowRules) -> PoolShape {
    let encodings = &job.encodings;
    let mut prefix = if shared_prefix { common(encodings) } else { 0 };
    if let Some(compression) = row_rules.compression() {
        return compression::pool(compression, encodings, prefix);
    }
    let texts: Vec<Option<Range<u32>>> = match &job.tokens {
        Some(policy) => encodings.iter().map(|e| text_of(policy, e)).collect(),
        None => Vec::new(),
    };
    if let Some(policy) = &job.tokens {
        prefix = shared(policy, encodings, prefix);
    }
    let lengths: Vec<usize> = encodings.iter().map(|e| e.ids.len() - prefix).collect();
    let pool = PoolShape::new(lengths).with_prefix(prefix);
    let leave = |policy: &&TokenPolicy| !job.attention && policy.validate().is_ok();
    match job.tokens.as_ref().filter(leave) {
        Some(policy) => {
            let texts: Vec<Option<usize>> =
                texts.into_iter().map(|text| text.map(|text| text.len())).collect();
            leaving(pool, policy, &texts, row_rules)
        }
        None => pool,
    }
}

/// A pool with its later layers where tokens leave: of each candidate's own rows, so many are its text's, if tokens may
/// leave it.
pub(crate) fn leaving(
    mut pool: PoolShape,
    policy: &TokenPolicy,
    texts: &[Option<usize>],
    row_rules: &RowRules,
) -> PoolShape {
    let left =
        |(&rows, text): (&usize, &Option<usize>)| text.map(|text| policy.rows_left(rows, text));
    let left: Vec<Option<Vec<usize>>> = pool.lengths.iter().zip(texts).map(left).collect();
    for at in row_rules.places(policy).iter().filter(|_| left.iter().any(Option::is_some)) {
        let rows = |(left, &rows): (&Option<Vec<usize>>, &usize)| {
            left.as_ref().map_or(rows, |left| left[at.stage])
        };
        let later = left.iter().zip(&pool.lengths).map(rows).collect();
        pool = pool.with_later(at.layer + 1, later);
    }
    pool
}

/// Tokens that all candidates begin with, leaving each at least one of its own; 0 for one candidate alone.
fn common(encodings: &[Encoding]) -> usize {
    let [first, others @ ..] = encodings else { return 0 };
    if others.is_empty() {
        return 0;
    }
    let shared = |e: &Encoding| first.ids.iter().zip(&e.ids).take_while(|(a, b)| a == b).count();
    let shortest = encodings.iter().map(|e| e.ids.len()).min().unwrap_or(0);
    others.iter().map(shared).min().unwrap_or(0).min(shortest.saturating_sub(1))
}

/// What of an encoding comes after the first `prefix` tokens; takes it out.
pub(crate) fn take_suffix(encoding: &mut Encoding, prefix: usize) -> Encoding {
    let mut own = std::mem::take(encoding);
    own.ids.drain(..prefix);
    own.type_ids.drain(..prefix.min(own.type_ids.len()));
    own
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use grating_backend::{Backend, Precision};
    use grating_cpu::{CpuOps, Isa};
    use grating_model::{LayerWeights, Part, PartBuffer};
    use grating_prune::TokenStage;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::golden;

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
    fn a_pool_counts_the_prefix_once_where_it_is_shared() {
        let encodings = [encoding(&[1, 2, 3]), encoding(&[1, 2, 4, 5])];
        let job = Job::new(encodings.to_vec(), 1);
        let pool = |shared| pool(&job, shared, &RowRules::default());
        assert_eq!(pool(true), PoolShape::new(vec![1, 2]).with_prefix(2));
        assert_eq!(pool(false), PoolShape::new(vec![3, 4]));
    }

    #[test]
    fn tokens_that_may_leave_are_not_shared_and_later_layers_have_fewer() {
        let (model, _) = golden("qwen3-tied-f32");
        let text = |ids: &[u32]| Encoding { text: 2..ids.len() as u32 - 1, ..encoding(ids) };
        let mut job = Job::new(vec![text(&[1, 2, 3, 4, 5, 6, 7]), text(&[1, 2, 3, 4, 5])], 1);
        let stages = vec![TokenStage::new(0.3, 0.5), TokenStage::new(0.6, 0.5)];
        job.tokens = Some(TokenPolicy::new(stages).with_min_tokens(6));
        let shape = PoolShape::new(vec![5, 3]).with_prefix(2);
        let row_rules = RowRules::of(&model);
        let expected = shape.clone().with_later(1, vec![3, 3]).with_later(2, vec![2, 3]);
        assert_eq!(pool(&job, true, &row_rules), expected);
        job.tokens = job.tokens.map(|policy| policy.with_min_tokens(8));
        assert_eq!(pool(&job, true, &row_rules), PoolShape::new(vec![3, 1]).with_prefix(4));
    }

    #[test]
    fn types_go_with_their_tokens() {
        let (ids, type_ids) = (vec![7, 8, 9], vec![0, 0, 1]);
        let mut whole = Encoding { ids, type_ids, truncated: true, ..Encoding::default() };
        let own = take_suffix(&mut whole, 2);
        assert_eq!((own.ids, own.type_ids, own.truncated), (vec![9], vec![1], true));
        assert_eq!(whole, Encoding::default());
    }

    /// Keys and values after every layer, whose blocks come together or one after the other.
    fn keys_values(halves: bool) -> Vec<Vec<f32>> {
        let (model, checkpoint) = golden("qwen3-tied-f32");
        let ops = CpuOps::new(Isa::Portable, Precision::Full);
        let on = Executor { name: "qwen3", model: &model, ops: &ops };
        let read = |parts: &[Part]| Arc::new(PartBuffer::read(&checkpoint, parts).unwrap());
        let stem_bytes = read(model.stem_parts());
        let slot = ops.admit(stem_bytes.clone(), None).unwrap();
        let weights = LayerWeights::new(&ops, &slot, model.stem_parts());
        let stem = model.stem(&weights, &*stem_bytes).unwrap();
        let ids = encoding(&[5, 6, 7]);
        let hidden = model.embed(&ops, &stem, &mut checkpoint.clone(), &[ids]).unwrap();
        let pass = model.context(&ops, &stem, 3).unwrap();
        let mut prefix = Prefix::new(on, &pass, 3, hidden).unwrap();
        let mut found = Vec::new();
        for layer in 0..on.layers() {
            let slot = ops.admit(read(model.layer_parts(layer)), None).unwrap();
            let weights = LayerWeights::new(&ops, &slot, model.layer_parts(layer));
            let attention = model.attention(layer, &weights).unwrap();
            let feed_forward = model.feed_forward(layer, &weights).unwrap();
            let (attention, feed_forward) = (Some(&attention), Some(&feed_forward));
            let last = layer + 1 == on.layers();
            if halves {
                prefix.run(on, &pass, attention, None, last).unwrap();
                prefix.run(on, &pass, None, feed_forward, last).unwrap();
            } else {
                prefix.run(on, &pass, attention, feed_forward, last).unwrap();
            }
            let (k, v) = prefix.keys_values().expect("a layer has run").tensors();
            found.push([k.as_slice(), v.as_slice()].concat());
        }
        found
    }

    #[test]
    fn halves_of_layers_give_the_keys_and_values_of_whole_ones() {
        let whole = keys_values(false);
        assert!(whole.windows(2).all(|layers| layers[0] != layers[1]), "every layer has its own");
        assert_eq!(keys_values(true), whole);
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
