//! What was cut, in one line on standard error.

use grating::{ModelInfo, Stats};

use crate::long::LongArgs;

/// Counts over the requests of a run.
#[derive(Debug, Default)]
pub(crate) struct Truncations {
    candidates: usize,
    truncated: usize,
    query_truncated: usize,
}

impl Truncations {
    pub(crate) fn add(&mut self, stats: &Stats) {
        self.candidates += stats.candidates;
        self.truncated += stats.truncated;
        self.query_truncated += stats.query_truncated;
    }

    /// How many, at which limit, and which option changes it; nothing where nothing was cut.
    pub(crate) fn message(
        &self,
        info: &ModelInfo,
        text_tokens: Option<usize>,
        long: &LongArgs,
    ) -> Option<String> {
        let Truncations { candidates, truncated, query_truncated } = *self;
        let were = if truncated == 1 { "was" } else { "were" };
        let itself = text_tokens.map(|most| format!("{most} tokens of their own, or "));
        let itself = itself.unwrap_or_default();
        let at = format!("{itself}{} tokens, query and template included", info.max_length);
        let how = how_to_raise(info);
        let refuse = "--refuse-long-query refuses such queries";
        Some(match (truncated, query_truncated, info.template) {
            (0, 0, _) => return None,
            (_, 0, _) if long.has_passages() => {
                let have = if truncated == 1 { "has" } else { "have" };
                let tokens = text_tokens.map(|most| format!(", or {most} tokens"));
                format!(
                    "{truncated} of {candidates} texts {have} more than {} passages{}, behind which the rest is left \
                     out; --max-passages raises that",
                    long.most_passages(),
                    tokens.unwrap_or_default()
                )
            }
            (_, 0, _) => format!(
                "{truncated} of {candidates} texts {were} cut at {at}; {how}; --long passages reads all of them"
            ),
            (_, _, "prompt") => format!(
                "the query was cut: it takes up all of the {} tokens, so that nothing is left of {query_truncated} of \
                 {candidates} texts and these score the same; {how}, {refuse}",
                info.max_length
            ),
            _ => format!(
                "the query was cut beside {query_truncated} of {candidates} texts and {truncated} {were} cut, the \
                 longer side first, at {at}; {how}, {refuse}"
            ),
        })
    }
}

/// What raises the model's limit.
pub(crate) fn how_to_raise(info: &ModelInfo) -> String {
    match info.max_length < info.max_positions {
        true => format!("--max-length raises the limit, up to {}", info.max_positions),
        false => "more the model cannot read".into(),
    }
}
