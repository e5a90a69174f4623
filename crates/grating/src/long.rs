//! What becomes of long texts.

use std::num::NonZeroUsize;
use std::sync::Arc;

use grating_engine::TextPassages;
use grating_model::{Logit, PassageLimits};
use grating_prune::{PassageScore, PruneError, TokenPolicy};
use serde::Serialize;
use serde_json::Value;

/// What becomes of texts that are longer than the model reads at one time, or than they may be
/// ([`Request::max_length`](crate::Request::max_length)). Shorter ones are read as they are, whatever is said here.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum Long {
    /// Their end is left out.
    #[default]
    Truncate,
    /// They are cut into passages, each of which is scored as a text of its own.
    Passages(Passages),
    /// Their end is left out, too, and of what is left of them the tokens that matter least leave on their way through the
    /// layers, by this policy. Sooner, and not exact; texts below the policy's least length, which has nothing to do with
    /// the limit, keep their scores to the bit. Not for models that score the mean of all tokens.
    ///
    /// Nothing is learned from such requests, and none is audited ([`Pruning::Auto`](crate::Pruning::Auto),
    /// [`RerankerBuilder::audit`](crate::RerankerBuilder::audit)): what pruning candidates would have done is known of the
    /// full model alone. What a request with [`Pruning::Off`](crate::Pruning::Off) does not ask for itself, it does not get.
    Prune(TokenPolicy),
}

impl Long {
    /// Which tokens leave.
    pub(crate) fn tokens(&self) -> Option<&TokenPolicy> {
        match self {
            Long::Prune(policy) => Some(policy),
            Long::Truncate | Long::Passages(_) => None,
        }
    }

    /// As options and requests write it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Long::Truncate => "truncate",
            Long::Passages(_) => "passages",
            Long::Prune(_) => "prune",
        }
    }
}

/// A token policy as requests write it: its name, perhaps with the share that stays, or an object with its fields.
///
/// ```
/// use grating::{TokenPolicy, token_policy};
///
/// let policy = token_policy(serde_json::json!("lazy-llm:0.5"));
/// assert_eq!(policy, Ok(TokenPolicy::lazy_llm().with_share(0.5)));
/// ```
///
/// # Errors
/// What can be written, in words.
pub fn token_policy(value: Value) -> Result<TokenPolicy, String> {
    if let Value::String(name) = &value {
        return name.parse().map_err(|error: PruneError| error.to_string());
    }
    let policy: TokenPolicy = serde_json::from_value(value).map_err(|error| {
        let example = serde_json::to_string(&TokenPolicy::grating()).unwrap_or_default();
        format!("{error}; a token policy looks like {example}")
    })?;
    policy.validate().map_err(|error| error.to_string())?;
    Ok(policy)
}

/// Passages of a long text: how it is cut, and how their scores become the text's.
///
/// The passages of a text are selected or dropped together: pruning sees the text's score, combined from those of its
/// passages after the layer, and K counts texts.
///
/// ```
/// use grating::{Long, Passages, Request};
///
/// let passages = Passages::default().tokens(256).overlap(32).score("mean:2".parse()?);
/// let request = Request::new("a river", ["a long text"].as_slice(), 1).long(Long::Passages(passages));
/// # drop(request);
/// # Ok::<(), grating::prune::UnknownPassageScore>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passages {
    pub(crate) tokens: Option<NonZeroUsize>,
    pub(crate) overlap: usize,
    pub(crate) most: NonZeroUsize,
    pub(crate) score: PassageScore,
}

impl Default for Passages {
    /// As long as the model reads beside the query, without overlap, at most 64 of a text, the best of which counts.
    fn default() -> Self {
        let most = NonZeroUsize::new(Self::MAX_PASSAGES).unwrap_or(NonZeroUsize::MIN);
        Passages { tokens: None, overlap: 0, most, score: PassageScore::Max }
    }
}

impl Passages {
    /// Most passages of a text where nothing else is said.
    pub const MAX_PASSAGES: usize = 64;

    /// Most tokens of a passage by itself, where that is less than fits beside the query. Texts that are longer are cut,
    /// also where they would fit. 0 is 1.
    #[must_use]
    pub fn tokens(mut self, tokens: usize) -> Self {
        self.tokens = NonZeroUsize::new(tokens).or(Some(NonZeroUsize::MIN));
        self
    }

    /// Tokens, about, that a passage has of the end of the one before, so that what stands at a border is read as a whole
    /// once; at most half a passage.
    #[must_use]
    pub fn overlap(mut self, tokens: usize) -> Self {
        self.overlap = tokens;
        self
    }

    /// Most passages of a text; what follows them is left out, and the text counts as truncated. It bounds what one text
    /// may cost. 0 is 1.
    #[must_use]
    pub fn max_passages(mut self, most: usize) -> Self {
        self.most = NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN);
        self
    }

    /// How the scores of the passages become the text's.
    #[must_use]
    pub fn score(mut self, score: PassageScore) -> Self {
        self.score = score;
        self
    }

    /// How many passages a text of so many tokens has, and of how many tokens each is, where the model takes `limit`.
    pub(crate) fn of_tokens(&self, tokens: usize, limit: usize) -> (usize, usize) {
        let length = self.tokens.map_or(limit, |most| most.get().min(limit)).max(1);
        let step = length - self.overlap.min(length / 2);
        let further = tokens.saturating_sub(length).div_ceil(step.max(1));
        ((1 + further).min(self.most.get()), length.min(tokens))
    }

    pub(crate) fn limits(&self) -> PassageLimits {
        PassageLimits::new(self.most.get())
            .tokens(self.tokens.map(NonZeroUsize::get))
            .overlap(self.overlap)
    }
}

/// The passage with the best score of a text that was cut into several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BestPassage {
    /// Its place among the text's passages, from 0.
    pub index: usize,
    /// How many the text has.
    pub of: usize,
    /// Where it begins in the text, bytes of UTF-8.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

/// The passages of a job's texts, and where each is.
#[derive(Debug, Clone)]
pub(crate) struct PassagesOfTexts {
    pub(crate) texts: Arc<TextPassages>,
    /// First byte and end, by passage.
    pub(crate) bytes: Vec<(usize, usize)>,
}

impl PassagesOfTexts {
    /// How many texts have more than one.
    pub(crate) fn is_long(&self) -> Vec<bool> {
        (0..self.texts.texts()).map(|text| self.texts.of(text).len() > 1).collect()
    }
}

/// One passage of a text that was cut into several.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ScoredPassage {
    /// Where it begins in the text, bytes of UTF-8.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// Its own score, last read after the same layer as the text's.
    pub raw_score: Logit,
}

/// The passages of a job's texts with their latest scores.
#[derive(Debug, Clone)]
pub(crate) struct ScoredPassages {
    pub(crate) of_texts: PassagesOfTexts,
    /// By passage.
    pub(crate) scores: Vec<Logit>,
}

impl ScoredPassages {
    /// The passages of a distinct text; none where it is read as one.
    pub(crate) fn of(&self, text: usize) -> Vec<ScoredPassage> {
        let passages = self.of_texts.texts.of(text);
        if passages.len() == 1 {
            return Vec::new();
        }
        let scored = |passage: usize| {
            let (start, end) = self.of_texts.bytes[passage];
            ScoredPassage { start, end, raw_score: self.scores[passage] }
        };
        passages.map(scored).collect()
    }

    /// The best of them, of equal ones the first.
    pub(crate) fn best(&self, text: usize) -> Option<BestPassage> {
        let passages = self.of_texts.texts.of(text);
        let score = |passage: usize| self.scores[passage].0;
        let better = |a: &usize, b: &usize| score(*a).total_cmp(&score(*b)).then(b.cmp(a));
        let best = passages.clone().max_by(better).filter(|_| passages.len() > 1)?;
        let (start, end) = self.of_texts.bytes[best];
        Some(BestPassage { index: best - passages.start, of: passages.len(), start, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passages_of_a_length_are_counted() {
        let plain = Passages::default();
        assert_eq!(plain.of_tokens(100, 512), (1, 100));
        assert_eq!(plain.of_tokens(513, 512), (2, 512));
        assert_eq!(plain.tokens(256).of_tokens(1024, 512), (4, 256));
        // 256, and then 192 more with each.
        assert_eq!(plain.tokens(256).overlap(64).of_tokens(1024, 512), (5, 256));
        assert_eq!(plain.tokens(256).max_passages(3).of_tokens(9999, 512), (3, 256));
    }

    #[test]
    fn the_first_of_the_best_passages_is_named_and_whole_texts_have_none() {
        let texts = Arc::new(TextPassages::new([1, 3, 2], PassageScore::Max));
        let bytes = vec![(0, 9), (0, 5), (5, 11), (12, 20), (0, 7), (3, 8)];
        let of_texts = PassagesOfTexts { texts, bytes };
        assert_eq!(of_texts.is_long(), [false, true, true]);
        let scores = [5.0, -2.0, -1.0, -1.0, 0.5, 3.0].map(Logit).to_vec();
        let passages = ScoredPassages { of_texts, scores };
        let second = BestPassage { index: 1, of: 3, start: 5, end: 11 };
        let last = BestPassage { index: 1, of: 2, start: 3, end: 8 };
        assert_eq!([0, 1, 2].map(|text| passages.best(text)), [None, Some(second), Some(last)]);
        assert_eq!([0, 1, 2].map(|text| passages.of(text).len()), [0, 3, 2]);
        let first = ScoredPassage { start: 0, end: 7, raw_score: Logit(0.5) };
        assert_eq!(passages.of(2)[0], first);
    }
}
