//! Options of what becomes of long texts.

use anyhow::{Result, bail};
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use grating::prune::PassageScore;
use grating::{Long, Passages, TokenPolicy};

use crate::args::at_least_one;
use crate::units;

/// What becomes of texts that are longer than the limit.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Long texts")]
pub(crate) struct LongArgs {
    /// What becomes of texts longer than the limit, or of `prune` only long [default: truncate].
    #[arg(long, value_enum)]
    pub(crate) long: Option<LongArg>,
    /// Most tokens of a passage by itself, where that is less than fits beside the query.
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one, requires = "long")]
    pub(crate) passage_tokens: Option<usize>,
    /// Tokens, about, that a passage has of the end of the one before [default: 0].
    #[arg(long, value_name = "TOKENS", requires = "long")]
    pub(crate) passage_overlap: Option<usize>,
    /// A text's score from those of its passages: `max` the best one's, `mean:N` the mean of the N best [default: max].
    #[arg(long, value_name = "max|mean:N", requires = "long")]
    pub(crate) passage_score: Option<PassageScore>,
    /// Most passages of a text; what follows them is left out [default: 64].
    #[arg(long, value_name = "N", value_parser = at_least_one, requires = "long")]
    pub(crate) max_passages: Option<usize>,
    /// Which tokens leave with --long prune: `grating`, `lazy-llm` or `slim-infer`, each with the share that stays if you
    /// like (`grating:0.5`), or a policy as JSON, or a file that holds it [default: grating].
    #[arg(long, value_name = "NAME|JSON|FILE", requires = "long",
        value_parser = OsStringValueParser::new().try_map(|text| units::token_policy(&text)))]
    pub(crate) token_policy: Option<TokenPolicy>,
    /// Least tokens, query and template included, of a text whose tokens leave; shorter ones are computed in full
    /// [default: 512].
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one, requires = "long")]
    pub(crate) prune_from: Option<usize>,
}

/// See [`grating::Long`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LongArg {
    /// Their end is left out.
    Truncate,
    /// They are cut into passages that are scored apart, and the best counts.
    Passages,
    /// Their tokens that matter least leave on their way through the layers.
    Prune,
}

impl LongArgs {
    /// As the library has it; nothing where nothing is said.
    ///
    /// # Errors
    /// Where passages are spoken of that there are none of.
    pub(crate) fn long(&self) -> Result<Option<Long>> {
        let LongArgs { long, passage_tokens, passage_overlap, passage_score, max_passages, .. } =
            self;
        if *long != Some(LongArg::Prune)
            && (self.token_policy.is_some() || self.prune_from.is_some())
        {
            bail!("--token-policy and --prune-from need --long prune: no tokens leave otherwise");
        }
        let mut passages = Passages::default();
        if let Some(tokens) = passage_tokens {
            passages = passages.tokens(*tokens);
        }
        if let Some(tokens) = passage_overlap {
            passages = passages.overlap(*tokens);
        }
        if let Some(score) = passage_score {
            passages = passages.score(*score);
        }
        if let Some(most) = max_passages {
            passages = passages.max_passages(*most);
        }
        match long {
            Some(LongArg::Passages) => Ok(Some(Long::Passages(passages))),
            _ if passages != Passages::default() => {
                bail!("options of passages need --long passages: other texts have none")
            }
            Some(LongArg::Truncate) => Ok(Some(Long::Truncate)),
            Some(LongArg::Prune) => Ok(Some(Long::Prune(self.tokens()))),
            None => Ok(None),
        }
    }

    /// Which tokens leave where they do.
    fn tokens(&self) -> TokenPolicy {
        let policy = self.token_policy.clone().unwrap_or_else(TokenPolicy::grating);
        match self.prune_from {
            Some(tokens) => policy.with_min_tokens(tokens),
            None => policy,
        }
    }

    /// Most passages of a text.
    pub(crate) fn most_passages(&self) -> usize {
        self.max_passages.unwrap_or(Passages::MAX_PASSAGES)
    }

    /// Whether results say which passage was the best.
    pub(crate) fn has_passages(&self) -> bool {
        self.long == Some(LongArg::Passages)
    }
}
