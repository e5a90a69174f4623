//! Compression of passages on their way through the layers: neighbouring tokens become one, which has their mean.
//!
//! What the reference does (`token_compress` and `CostWiseGemmaModel.forward` in `gemma_model.py` of FlagEmbedding):
//!
//! - It comes before a layer of `compress_layer`, after the score of the layers before was read. Before layer 0 it never does.
//! - A passage are the tokens of `B: {document}`. What stands before it (start, query, line break) and behind it (line break,
//!   prompt) stays as it is.
//! - A passage of `n` tokens becomes `(n + ratio - 1) / ratio`, rounded down. Each is the plain mean of `ratio` neighbours, the last one
//!   that of those that are left; padding counts nowhere, and stands at the right.
//! - Positions are counted anew, without gaps: rotary angles, masks and windows of the layers that follow go by them.
//! - Before a further layer of `compress_layer` what is left is compressed once more.

use std::fmt;
use std::ops::Range;

use crate::error::{ModelError, Result};

/// By how much passages are compressed, and before which layers.
///
/// ```
/// use grating_model::TokenCompression;
///
/// let compression = TokenCompression::new(4, [8, 16]);
/// // Rows of a passage of 90 tokens.
/// assert_eq!([7, 8, 15, 16].map(|layer| compression.rows_in(layer, 90)), [90, 23, 23, 6]);
/// assert_eq!(compression.to_string(), "by 4 before layers 8 and 16");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenCompression {
    ratio: usize,
    /// Each once, in order.
    layers: Vec<usize>,
}

impl TokenCompression {
    /// Ratios that models are trained for; 1 compresses nothing.
    pub const RATIOS: [usize; 4] = [1, 2, 4, 8];

    /// The layers before which the reference compresses where nobody says.
    pub const LAYERS: [usize; 1] = [8];

    /// `ratio` tokens become one before each of these layers, which are counted from 0. A model [checks](crate::LoadOptions)
    /// both.
    pub fn new(ratio: usize, layers: impl Into<Vec<usize>>) -> Self {
        let mut layers = layers.into();
        layers.sort_unstable();
        layers.dedup();
        TokenCompression { ratio, layers }
    }

    /// Tokens that become one.
    pub fn ratio(&self) -> usize {
        self.ratio
    }

    /// The layers before which they do, in order.
    pub fn layers(&self) -> &[usize] {
        &self.layers
    }

    /// Whether passages are compressed right before a layer.
    pub fn is_before(&self, layer: usize) -> bool {
        self.layers.contains(&layer)
    }

    /// Rows that a layer computes of a passage of so many tokens.
    pub fn rows_in(&self, layer: usize, passage: usize) -> usize {
        let times = self.layers.iter().take_while(|before| **before <= layer);
        times.fold(passage, |rows, _| rows.div_ceil(self.ratio))
    }

    /// How many neighbours become one, from the first row of a candidate of so many to the last: 1 outside of the passage.
    pub fn groups(&self, rows: usize, passage: Range<usize>) -> impl Iterator<Item = usize> {
        let (ratio, end) = (self.ratio, passage.end);
        let of_passage = passage.clone().step_by(ratio).map(move |at| ratio.min(end - at));
        let alone = |rows: usize| std::iter::repeat_n(1, rows);
        alone(passage.start).chain(of_passage).chain(alone(rows - end))
    }

    /// What of it a model of so many layers can do; nothing where nothing is compressed.
    ///
    /// # Errors
    /// [`ModelError::NotCompressible`], [`ModelError::Compression`].
    pub(crate) fn checked(
        self,
        layers: usize,
        trained: bool,
        family: &str,
    ) -> Result<Option<Self>> {
        let wrong = |setting, expected: String, found: String| {
            Err(ModelError::Compression { setting, expected, found })
        };
        if !Self::RATIOS.contains(&self.ratio) {
            return wrong("compress_ratio", "1, 2, 4 or 8".into(), self.ratio.to_string());
        }
        if self.ratio == 1 {
            return Ok(None);
        }
        if !trained {
            return Err(ModelError::NotCompressible { family: family.into() });
        }
        if self.layers.is_empty() {
            return wrong("compress_layers", "at least one layer".into(), "none".into());
        }
        match self.layers.iter().find(|layer| !(1..layers).contains(*layer)) {
            Some(layer) => {
                let expected = match layers {
                    ..=1 => "none, since one layer alone is run".into(),
                    _ => format!("layers from 1 to {}, of {layers} that are run", layers - 1),
                };
                wrong("compress_layers", expected, layer.to_string())
            }
            None => Ok(Some(self)),
        }
    }
}

impl fmt::Display for TokenCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by {} before layer", self.ratio)?;
        match self.layers.as_slice() {
            [] => f.write_str("s of none"),
            [layer] => write!(f, " {layer}"),
            [others @ .., last] => {
                let others: Vec<String> = others.iter().map(ToString::to_string).collect();
                write!(f, "s {} and {last}", others.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_group_is_what_is_left_and_others_stay_alone() {
        let by_four = TokenCompression::new(4, [2]);
        let groups = |rows, passage| by_four.groups(rows, passage).collect::<Vec<_>>();
        assert_eq!(groups(14, 2..11), [1, 1, 4, 4, 1, 1, 1, 1]);
        assert_eq!(groups(12, 2..10), [1, 1, 4, 4, 1, 1]);
        assert_eq!(groups(4, 1..4), [1, 3]);
        assert_eq!(groups(3, 2..2), [1, 1, 1]);
    }

    #[test]
    fn what_models_are_not_trained_for_is_refused() {
        let checked = |ratio, layers: &[usize], of, trained| {
            TokenCompression::new(ratio, layers).checked(of, trained, "BERT")
        };
        for layers in [&[5, 2, 5][..], &[1], &[41]] {
            let compression = checked(8, layers, 42, true).unwrap().unwrap();
            assert!(compression.layers().is_sorted_by(|a, b| a < b));
        }
        assert_eq!(checked(1, &[], 2, false).unwrap(), None);
        let error = checked(2, &[1], 4, false).unwrap_err();
        assert!(matches!(error, ModelError::NotCompressible { .. }), "{error}");
        for (ratio, layers, of, words) in [
            (3, &[1][..], 4, ["compress_ratio", "is 3", "1, 2, 4 or 8"]),
            (0, &[1], 4, ["compress_ratio", "is 0", "1, 2, 4 or 8"]),
            (16, &[1], 4, ["compress_ratio", "is 16", "1, 2, 4 or 8"]),
            (2, &[], 4, ["compress_layers", "is none", "at least one"]),
            (2, &[0, 1], 4, ["compress_layers", "is 0", "from 1 to 3"]),
            (2, &[1, 4], 4, ["compress_layers", "is 4", "from 1 to 3"]),
            (2, &[1], 1, ["compress_layers", "is 1", "one layer alone"]),
        ] {
            let error = checked(ratio, layers, of, true).unwrap_err().to_string();
            assert!(words.iter().all(|words| error.contains(words)), "{error}");
        }
    }

    proptest! {
        #[test]
        fn groups_are_all_rows_and_as_many_as_the_next_layer_has(
            ratio in prop::sample::select(TokenCompression::RATIOS.to_vec()),
            before in 0_usize..5, passage in 0_usize..40, behind in 1_usize..5,
        ) {
            let compression = TokenCompression::new(ratio, [3, 7]);
            let rows = before + passage + behind;
            let groups: Vec<usize> = compression.groups(rows, before..before + passage).collect();
            prop_assert_eq!(groups.iter().sum::<usize>(), rows);
            prop_assert!(groups.iter().all(|&group| (1..=ratio).contains(&group)));
            let once = compression.rows_in(3, passage);
            prop_assert_eq!(groups.len(), before + once + behind);
            prop_assert_eq!(compression.rows_in(2, passage), passage);
            prop_assert_eq!(compression.rows_in(6, passage), once);
            prop_assert_eq!(compression.rows_in(7, passage), once.div_ceil(ratio));
        }
    }
}
