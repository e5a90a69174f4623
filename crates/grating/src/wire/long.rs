//! What a body says of long texts.

use grating_prune::{PassageScore, TokenPolicy};
use serde_json::Value;

use super::value;
use crate::long::{Long, Passages, token_policy};

/// What a body says of texts that are longer than the limit; what it leaves out is the server's own setting.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct LongFields {
    /// Whether they are cut into passages: `long` is `passages` or `truncate`. A field that is about passages alone says
    /// so, too.
    pub passages: Option<bool>,
    /// Most tokens of a passage: `passage_tokens`.
    pub tokens: Option<usize>,
    /// Tokens that passages share: `passage_overlap`.
    pub overlap: Option<usize>,
    /// How passages make a text's score: `passage_score`.
    pub score: Option<PassageScore>,
    /// Most passages of a text: `max_passages`, or Cohere's `max_chunks_per_doc`.
    pub max_passages: Option<usize>,
    /// Whether their tokens leave on the way: `long` is `prune`, or there is a `token_policy`.
    pub prune: bool,
    /// Which ones: `token_policy`.
    pub token_policy: Option<TokenPolicy>,
}

/// The fields as they are written.
pub(super) struct Written {
    pub(super) long: Option<Value>,
    pub(super) passage_tokens: Option<Value>,
    pub(super) passage_overlap: Option<Value>,
    pub(super) passage_score: Option<Value>,
    pub(super) max_passages: Option<Value>,
    pub(super) max_chunks_per_doc: Option<Value>,
    pub(super) token_policy: Option<Value>,
}

impl Written {
    pub(super) fn read(self) -> Result<LongFields, String> {
        let (said, prunes) = match value::string("long", self.long)?.as_deref() {
            None => (None, false),
            Some("truncate") => (Some(false), false),
            Some("passages") => (Some(true), false),
            Some("prune") => (Some(false), true),
            Some(_) => return Err("long: must be `truncate`, `passages` or `prune`".into()),
        };
        let policy = value::given(self.token_policy).map(token_policy).transpose();
        let token_policy = policy.map_err(|reason| format!("token_policy: {reason}"))?;
        let prune = prunes || (said.is_none() && token_policy.is_some());
        let score = value::string("passage_score", self.passage_score)?;
        let score = score.map(|words| words.parse().map_err(|e| format!("passage_score: {e}")));
        let fields = LongFields {
            passages: said,
            tokens: value::count("passage_tokens", self.passage_tokens)?,
            overlap: value::count("passage_overlap", self.passage_overlap)?,
            score: score.transpose()?,
            max_passages: value::count("max_passages", self.max_passages)?
                .or(value::count("max_chunks_per_doc", self.max_chunks_per_doc)?),
            prune,
            token_policy,
        };
        let LongFields { tokens, overlap, score, max_passages, .. } = &fields;
        let numbers = [tokens, overlap, max_passages];
        let about_passages = !prune && (numbers.iter().any(|n| n.is_some()) || score.is_some());
        Ok(LongFields { passages: said.or(about_passages.then_some(true)), ..fields })
    }
}

impl LongFields {
    /// What becomes of long texts where `usual` does without a word; nothing where there is no word.
    pub fn long(&self, usual: &Long) -> Option<Long> {
        if self.prune {
            let policy = self.token_policy.as_ref().or(usual.tokens()).cloned();
            return Some(Long::Prune(policy.unwrap_or_else(TokenPolicy::grating)));
        }
        match self.passages? {
            false => Some(Long::Truncate),
            true => {
                let mut passages = match usual {
                    Long::Passages(passages) => *passages,
                    _ => Passages::default(),
                };
                if let Some(tokens) = self.tokens {
                    passages = passages.tokens(tokens);
                }
                if let Some(tokens) = self.overlap {
                    passages = passages.overlap(tokens);
                }
                if let Some(score) = self.score {
                    passages = passages.score(score);
                }
                if let Some(most) = self.max_passages {
                    passages = passages.max_passages(most);
                }
                Some(Long::Passages(passages))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::RerankBody;

    use super::*;

    fn long(fields: &str, usual: &Long) -> Result<Option<Long>, String> {
        let body = format!(r#"{{"query":"q","documents":["a"]{fields}}}"#);
        let body = RerankBody::parse(body.as_bytes()).map_err(|error| error.message)?;
        Ok(body.long.long(usual))
    }

    #[test]
    fn a_word_of_passages_asks_for_them_and_the_rest_is_the_servers() {
        let passages = |passages| Ok(Some(Long::Passages(passages)));
        let (none, own) = (Passages::default(), Passages::default().tokens(99).overlap(9));
        let usual = Long::Passages(own);
        for (fields, beside_none, beside_own) in [
            ("", Ok(None), Ok(None)),
            (r#","long":null,"max_chunks_per_doc":null"#, Ok(None), Ok(None)),
            (r#","long":"passages""#, passages(none), passages(own)),
            (
                r#","max_chunks_per_doc":10"#,
                passages(none.max_passages(10)),
                passages(own.max_passages(10)),
            ),
            (r#","passage_tokens":"64""#, passages(none.tokens(64)), passages(own.tokens(64))),
            (
                r#","long":"truncate","max_passages":3"#,
                Ok(Some(Long::Truncate)),
                Ok(Some(Long::Truncate)),
            ),
        ] {
            assert_eq!(long(fields, &Long::Truncate), beside_none, "{fields}");
            assert_eq!(long(fields, &usual), beside_own, "{fields}");
        }
        let mean = none.overlap(5).score("mean:2".parse().unwrap());
        let fields = r#","passage_overlap":5,"passage_score":"mean:2""#;
        assert_eq!(long(fields, &Long::Truncate), passages(mean));
    }

    #[test]
    fn a_word_of_tokens_lets_them_leave_by_the_servers_policy_or_the_bodys() {
        let prune = |policy| Ok(Some(Long::Prune(policy)));
        let usual = Long::Prune(TokenPolicy::slim_infer());
        for (fields, beside_none, beside_own) in [
            (r#","long":"prune""#, TokenPolicy::grating(), TokenPolicy::slim_infer()),
            (r#","token_policy":"lazy-llm""#, TokenPolicy::lazy_llm(), TokenPolicy::lazy_llm()),
        ] {
            assert_eq!(long(fields, &Long::Truncate), prune(beside_none));
            assert_eq!(long(fields, &usual), prune(beside_own));
        }
        let policy = TokenPolicy::lazy_llm().with_min_tokens(99);
        let written = serde_json::to_string(&policy).unwrap();
        let fields = format!(r#","long":"prune","token_policy":{written}"#);
        assert_eq!(long(&fields, &Long::Truncate), prune(policy));
        let fields = r#","long":"truncate","token_policy":"lazy-llm""#;
        assert_eq!(long(fields, &usual), Ok(Some(Long::Truncate)));
    }

    #[test]
    fn mistakes_are_named() {
        for (fields, message) in [
            (r#","long":"cut""#, "long: must be `truncate`, `passages` or `prune`"),
            (r#","token_policy":"lazy""#, "token_policy: policy: the name of a token policy"),
            (r#","token_policy":{}"#, "token_policy: missing field"),
            (r#","passage_score":"min""#, "passage_score: `min` must be `max`, or `mean:N`"),
            (r#","max_passages":-1"#, "max_passages: must be a whole number"),
        ] {
            let error = long(fields, &Long::Truncate).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
