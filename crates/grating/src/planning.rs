//! The pools that plans are made for.

use grating_model::{Encoding, TextEncoder, TokenCompression};
use grating_prune::TokenPolicy;
use grating_sched::PoolShape;

use crate::error::{Error, Result};
use crate::long::Long;

/// Most candidates of a plan: their lengths take 8 MiB.
const MAX_PLANNED_CANDIDATES: usize = 1 << 20;
/// Most tokens of a candidate in a plan: more than any model has positions.
const MAX_PLANNED_TOKENS: usize = 1 << 26;

/// What of a model the candidates of a pool depend on.
pub(crate) struct Planning<'a> {
    pub(crate) encoder: &'a TextEncoder,
    pub(crate) compression: Option<&'a TokenCompression>,
    /// Most tokens of a text with its query and template.
    pub(crate) limit: usize,
}

impl Planning<'_> {
    /// So many texts of so many tokens each, long ones read as `long` says; `leaving` makes it a pool that tokens leave.
    ///
    /// # Errors
    /// [`Error::Setting`] for more or longer candidates than can be planned for, and those of `leaving`.
    pub(crate) fn long(
        &self,
        (candidates, tokens): (usize, usize),
        long: &Long,
        leaving: impl FnOnce(PoolShape, &TokenPolicy) -> Result<PoolShape>,
    ) -> Result<PoolShape> {
        match long {
            Long::Truncate => self.whole(candidates, tokens.min(self.limit)),
            Long::Passages(passages) => {
                let (of_each, length) = passages.of_tokens(tokens, self.limit);
                self.whole(candidates.saturating_mul(of_each), length)
            }
            Long::Prune(policy) => {
                let tokens = tokens.min(self.limit);
                check(candidates, tokens)?;
                leaving(PoolShape::uniform(candidates, tokens), policy)
            }
        }
    }

    /// So many texts of so many tokens each. Where passages are compressed, all but the template counts as passage.
    ///
    /// # Errors
    /// [`Error::Setting`] for more or longer candidates than can be planned for.
    pub(crate) fn whole(&self, candidates: usize, tokens: usize) -> Result<PoolShape> {
        check(candidates, tokens)?;
        let mut pool = PoolShape::uniform(candidates, tokens);
        if let Some(compression) = self.compression {
            let passage = tokens.saturating_sub(self.tokens_around_passages()?);
            for &layer in compression.layers() {
                let left = tokens - passage + compression.rows_in(layer, passage);
                pool = pool.with_later(layer, vec![left; candidates]);
            }
        }
        Ok(pool)
    }

    /// Tokens of the template around a passage.
    fn tokens_around_passages(&self) -> Result<usize> {
        let Encoding { ids, passage, .. } =
            self.encoder.encode(&self.encoder.encode_query("", None)?, "")?;
        Ok(ids.len() - passage.len())
    }
}

/// Whether a plan can be made for such a pool.
fn check(candidates: usize, tokens: usize) -> Result<()> {
    // A plan lists the candidates' lengths, so their number must be bounded before.
    for (setting, found, most) in [
        ("the number of candidates", candidates, MAX_PLANNED_CANDIDATES),
        ("the number of tokens of a candidate", tokens, MAX_PLANNED_TOKENS),
    ] {
        if !(1..=most).contains(&found) {
            let (expected, found) = (format!("1 to {most}"), found.to_string());
            return Err(Error::Setting { setting, expected, found });
        }
    }
    Ok(())
}
