//! Options of what becomes of long texts.

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
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    pub(crate) passage_tokens: Option<usize>,
    /// Tokens, about, that a passage has of the end of the one before [default: 0].
    #[arg(long, value_name = "TOKENS")]
    pub(crate) passage_overlap: Option<usize>,
    /// A text's score from those of its passages: `max` the best one's, `mean:N` the mean of the N best [default: max].
    #[arg(long, value_name = "max|mean:N")]
    pub(crate) passage_score: Option<PassageScore>,
    /// Most passages of a text; what follows them is left out [default: 64].
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) max_passages: Option<usize>,
    /// Which tokens leave with --long prune: `grating`, `lazy-llm` or `slim-infer`, each with the share that stays if you
    /// like (`grating:0.5`), or a policy as JSON, or a file that holds it [default: grating].
    #[arg(long, value_name = "NAME|JSON|FILE",
        value_parser = OsStringValueParser::new().try_map(|text| units::token_policy(&text)))]
    pub(crate) token_policy: Option<TokenPolicy>,
    /// Least tokens, query and template included, of a text whose tokens leave; shorter ones are computed in full
    /// [default: 512].
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    pub(crate) prune_from: Option<usize>,
}

/// Token policies that a calibration tries beside those over texts.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Long texts")]
pub(crate) struct TokenPolicyArgs {
    /// With `prune` the profile may let tokens leave long texts: each query is run with each token policy, too, and both
    /// policies are certified as one [default: truncate].
    #[arg(long, value_enum)]
    long: Option<CalibratedLong>,
    /// Which tokens leave, as for `rerank`; may be repeated [default: lazy-llm:0.5, grating and lazy-llm:0.85].
    #[arg(long, value_name = "NAME|JSON|FILE",
        value_parser = OsStringValueParser::new().try_map(|text| units::token_policy(&text)))]
    token_policy: Vec<TokenPolicy>,
    /// Least tokens, query and template included, of a text whose tokens leave [default: 512].
    #[arg(long, value_name = "TOKENS", value_parser = at_least_one)]
    prune_from: Option<usize>,
}

/// What a calibration may do with long texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CalibratedLong {
    /// Their end is left out.
    Truncate,
    /// Their tokens that matter least leave, too, where that can be certified.
    Prune,
}

impl TokenPolicyArgs {
    /// The policies to try.
    pub(crate) fn policies(&self) -> Vec<TokenPolicy> {
        let TokenPolicyArgs { long, token_policy, prune_from } = self;
        if *long != Some(CalibratedLong::Prune) {
            let given = of_tokens(!token_policy.is_empty(), prune_from.is_some());
            warn_of(LongArg::Prune, &given);
            return Vec::new();
        }
        let policies = match token_policy.is_empty() {
            true => TokenPolicy::to_calibrate(),
            false => token_policy.clone(),
        };
        let from = |policy: TokenPolicy| match *prune_from {
            Some(tokens) => policy.with_min_tokens(tokens),
            None => policy,
        };
        policies.into_iter().map(from).collect()
    }
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
    pub(crate) fn long(&self) -> Option<Long> {
        Some(match self.long? {
            LongArg::Truncate => Long::Truncate,
            LongArg::Passages => Long::Passages(self.passages()),
            LongArg::Prune => Long::Prune(self.tokens()),
        })
    }

    /// Says which options have no effect. That is no failure: a file of options may have them for when they have one.
    pub(crate) fn warn_of_idle(&self) {
        let of_passages = [
            ("--passage-tokens", self.passage_tokens.is_some()),
            ("--passage-overlap", self.passage_overlap.is_some()),
            ("--passage-score", self.passage_score.is_some()),
            ("--max-passages", self.max_passages.is_some()),
        ];
        let of_tokens = of_tokens(self.token_policy.is_some(), self.prune_from.is_some());
        let families = [(LongArg::Passages, &of_passages[..]), (LongArg::Prune, &of_tokens)];
        for (needed, options) in families.into_iter().filter(|(long, _)| self.long != Some(*long)) {
            warn_of(needed, options);
        }
    }

    fn passages(&self) -> Passages {
        let mut passages = Passages::default();
        if let Some(tokens) = self.passage_tokens {
            passages = passages.tokens(tokens);
        }
        if let Some(tokens) = self.passage_overlap {
            passages = passages.overlap(tokens);
        }
        if let Some(score) = self.passage_score {
            passages = passages.score(score);
        }
        if let Some(most) = self.max_passages {
            passages = passages.max_passages(most);
        }
        passages
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

/// The options of tokens that leave, and whether they are given.
fn of_tokens(policy: bool, from: bool) -> [(&'static str, bool); 2] {
    [("--token-policy", policy), ("--prune-from", from)]
}

/// Says of each option that is given that it has no effect.
fn warn_of(needed: LongArg, options: &[(&str, bool)]) {
    let needed = needed.to_possible_value().expect("no value is hidden");
    let needed = needed.get_name();
    for (option, _) in options.iter().filter(|(_, given)| *given) {
        eprintln!("grating: {option} has no effect without --long {needed}");
    }
}
