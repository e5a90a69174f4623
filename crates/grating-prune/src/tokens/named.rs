//! Policies by their names, and policies in words.

use std::fmt;
use std::str::FromStr;

use super::{Keep, OverHeads, Signal, TokenPolicy, TokenStage};
use crate::error::PruneError;

impl TokenPolicy {
    /// Names that [`FromStr`] knows; each may be followed by the share that its stages keep, as in `lazy-llm:0.5`.
    pub const NAMES: [&'static str; 3] = ["grating", "lazy-llm", "slim-infer"];

    /// LazyLLM's (arXiv 2407.14057): after 30, 50 and 70 % of the layers the three tenths of the tokens leave to which the
    /// last token attends least, on the mean of its heads.
    pub fn lazy_llm() -> Self {
        let stage = |depth| TokenStage::new(depth, 0.7);
        TokenPolicy::new([0.3, 0.5, 0.7].map(stage).to_vec())
    }

    /// SlimInfer's form (arXiv 2508.06447): blocks of tokens leave in the middle layers, half of them at 40 % and again at
    /// 60 % of the depth. The paper's own sizes and shares are for prompts of tens of thousands of tokens that go on to be
    /// decoded; these are ours.
    pub fn slim_infer() -> Self {
        let stage = |depth| TokenStage::new(depth, 0.5).with_block(32);
        TokenPolicy::new([0.4, 0.6].map(stage).to_vec())
    }

    /// Ours: after half of the layers 0.4 of the tokens stay, and after 80 % one in twenty of those, by what the scored token
    /// pays to each, counted by the norm of its value. About 0.63 of the work of long texts is left.
    ///
    /// What a text says has not spread before the middle: what leaves there or later changes scores less than what leaves
    /// sooner, for the same work. In the last layers the scored token looks at a few tokens still, which say little and
    /// are looked at in every text: those few stay.
    pub fn grating() -> Self {
        let stage = |(depth, share)| TokenStage::new(depth, share).with_value_norms(true);
        TokenPolicy::new([(0.5, 0.4), (0.8, 0.05)].map(stage).to_vec())
    }

    /// What calibrations try where nobody says: half of the work, two thirds and four fifths, each by what kept the order of
    /// two decoders best for it.
    pub fn to_calibrate() -> Vec<Self> {
        let lazy_llm = |share| TokenPolicy::lazy_llm().with_share(share);
        vec![lazy_llm(0.5), TokenPolicy::grating(), lazy_llm(0.85)]
    }

    /// With stages that keep another share.
    #[must_use]
    pub fn with_share(mut self, share: f64) -> Self {
        self.stages.iter_mut().for_each(|stage| stage.keep = Keep::Share(share));
        self
    }
}

impl FromStr for TokenPolicy {
    type Err = PruneError;

    fn from_str(words: &str) -> Result<Self, PruneError> {
        let (name, share) = match words.split_once(':') {
            Some((name, share)) => (name, Some(share)),
            None => (words, None),
        };
        let unknown = |setting, found: &str, expected| PruneError::InvalidPolicy {
            setting,
            found: format!("{found:?}"),
            expected,
        };
        let policy = match name {
            "lazy-llm" => TokenPolicy::lazy_llm(),
            "slim-infer" => TokenPolicy::slim_infer(),
            "grating" => TokenPolicy::grating(),
            _ => {
                let expected =
                    "grating, lazy-llm or slim-infer, or one with a share, as in grating:0.3";
                return Err(unknown("the name of a token policy", name, expected));
            }
        };
        let policy = match share {
            Some(share) => policy.with_share(
                share
                    .parse()
                    .map_err(|_| unknown("share", share, "a number, more than 0 and at most 1"))?,
            ),
            None => policy,
        };
        policy.validate().map(|()| policy)
    }
}

impl fmt::Display for TokenPolicy {
    /// Like "0.5 of the tokens by the mean of the heads at 50 % of the layers, from 512 tokens on".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, stage) in self.stages.iter().enumerate() {
            let before = if at == 0 { "" } else { ", then " };
            write!(f, "{before}{stage}")?;
        }
        write!(f, ", from {} tokens on", self.min_tokens)
    }
}

impl fmt::Display for TokenStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.keep {
            Keep::Share(share) => write!(f, "{share} of ")?,
            Keep::Threshold(times) => write!(f, "those with {times} times the mean of ")?,
        }
        match self.block {
            1 => write!(f, "the tokens")?,
            block => write!(f, "blocks of {block}")?,
        }
        let heads = match self.heads {
            OverHeads::Mean => "the mean of the heads",
            OverHeads::Maximum => "the most of any head",
        };
        let values = match (self.signal, self.by_value) {
            (Signal::Query, _) => " on the query",
            (Signal::Scored, true) => " and their values",
            (Signal::Scored, false) => "",
        };
        write!(f, " by {heads}{values} at {:.0} % of the layers", 100.0 * self.depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_policy_and_takes_a_share() {
        for name in TokenPolicy::NAMES {
            let policy: TokenPolicy = name.parse().unwrap();
            let with = format!("{name}:0.25").parse::<TokenPolicy>().unwrap();
            assert_eq!(with, policy.with_share(0.25));
            assert!(with.stages.iter().all(|stage| stage.keep == Keep::Share(0.25)));
        }
        for wrong in ["", "lazy", "grating:", "grating:0", "grating:1.5", "grating:x", ":0.5"] {
            assert!(wrong.parse::<TokenPolicy>().is_err(), "{wrong}");
        }
        let error = "lazy".parse::<TokenPolicy>().unwrap_err().to_string();
        assert!(error.contains("lazy-llm") && error.contains("\"lazy\""), "{error}");
    }

    #[test]
    fn words_say_what_changes_something() {
        assert_eq!(
            TokenPolicy::slim_infer().to_string(),
            "0.5 of blocks of 32 by the mean of the heads at 40 % of the layers, then 0.5 of blocks of 32 by the mean \
             of the heads at 60 % of the layers, from 512 tokens on"
        );
        let stage = TokenStage::new(0.5, 0.5).with_keep(Keep::Threshold(0.5));
        let stage = stage.with_heads(OverHeads::Maximum).with_value_norms(true);
        let words = "those with 0.5 times the mean of the tokens by the most of any head and their values at 50 % of \
                     the layers, from 9 tokens on";
        assert_eq!(TokenPolicy::new(vec![stage]).with_min_tokens(9).to_string(), words);
        let stage = TokenStage::new(0.3, 0.5).with_block(64).with_signal(Signal::Query);
        let stage = stage.with_heads(OverHeads::Maximum);
        let words = "0.5 of blocks of 64 by the most of any head on the query at 30 % of the layers, from 512 tokens on";
        assert_eq!(TokenPolicy::new(vec![stage]).to_string(), words);
        let words = "0.4 of the tokens by the mean of the heads and their values at 50 % of the layers, then 0.05 of the \
                     tokens by the mean of the heads and their values at 80 % of the layers, from 512 tokens on";
        assert_eq!(TokenPolicy::grating().to_string(), words);
    }
}
