//! A rerank request as clients send it.

use std::sync::Arc;
use std::time::Duration;

use grating_prune::Mode;
use serde::Deserialize;
use serde_json::Value;

use super::error::{Fault, WireError};
use super::long::{LongFields, Written};
use super::{Shape, value};
use crate::input::without_lone_surrogates;

/// A query, its texts, and what is wanted of them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RerankBody {
    /// Which form the answer has.
    pub shape: Shape,
    /// Which model is to judge; a server with one may not care.
    pub model: Option<String>,
    /// What to look for, not empty.
    pub query: String,
    /// The candidates, at least one.
    pub texts: Arc<[String]>,
    /// How many the answer is to have: `top_n`, or `top_k`. Nothing is all of them.
    pub top_n: Option<usize>,
    /// How many of them matter: the others may be dropped early, and come last.
    pub top_k_hint: Option<usize>,
    /// What becomes of texts that are accepted early.
    pub mode: Option<Mode>,
    /// What the query is for.
    pub instruction: Option<String>,
    /// Most tokens of a text with its query: `truncate_prompt_tokens`.
    pub max_tokens: Option<usize>,
    /// Most tokens of a text by itself: `max_tokens_per_doc`.
    pub max_text_tokens: Option<usize>,
    /// What becomes of longer ones.
    pub long: LongFields,
    /// Whether scores are the model's own outputs: `raw_scores`, or `use_activation` that is false.
    pub raw_scores: Option<bool>,
    /// Whether the texts are wanted with their scores: `return_documents`, or `return_text`.
    pub return_texts: bool,
    /// Whether texts may be cut; what is false there is to be refused instead: `truncate`, or `truncation`.
    pub truncate: Option<bool>,
    /// How long the sender waits: `deadline_ms`.
    pub deadline: Option<Duration>,
    /// Whether all figures of the request are wanted, those of each layer included.
    pub explain: bool,
}

/// As it is written. Fields of other names are ignored.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Raw {
    model: Option<Value>,
    query: Option<Value>,
    texts: Option<Value>,
    documents: Option<Value>,
    rank_fields: Option<Value>,
    top_n: Option<Value>,
    top_k: Option<Value>,
    top_k_hint: Option<Value>,
    mode: Option<Value>,
    instruction: Option<Value>,
    truncate_prompt_tokens: Option<Value>,
    max_tokens_per_doc: Option<Value>,
    long: Option<Value>,
    passage_tokens: Option<Value>,
    passage_overlap: Option<Value>,
    passage_score: Option<Value>,
    max_passages: Option<Value>,
    max_chunks_per_doc: Option<Value>,
    token_policy: Option<Value>,
    raw_scores: Option<Value>,
    use_activation: Option<Value>,
    return_documents: Option<Value>,
    return_text: Option<Value>,
    truncate: Option<Value>,
    truncation: Option<Value>,
    truncation_direction: Option<Value>,
    truncation_side: Option<Value>,
    deadline_ms: Option<Value>,
    explain: Option<Value>,
}

/// JSON in UTF-8, halves of surrogate pairs replaced.
pub(super) fn from_json<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, WireError> {
    serde_json::from_str(text).map_err(|error| WireError::of_json(&error))
}

pub(super) fn utf8(bytes: &[u8]) -> Result<std::borrow::Cow<'_, str>, WireError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| WireError::new(Fault::NotJson, Shape::default(), "the body is not UTF-8"))?;
    Ok(without_lone_surrogates(text.strip_prefix('\u{feff}').unwrap_or(text)))
}

impl RerankBody {
    /// Reads a body.
    ///
    /// # Errors
    /// A [`WireError`] for what is not JSON, for a pool without texts, and for fields that cannot be used.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let text = utf8(bytes)?;
        let raw: Raw = from_json(&text)?;
        let shape = match (&raw.texts, &raw.top_n, &raw.top_k) {
            (Some(texts), _, _) if !texts.is_null() => Shape::Texts,
            (_, None | Some(Value::Null), Some(top_k)) if !top_k.is_null() => Shape::Data,
            _ => Shape::Documents,
        };
        raw.body(shape)
    }

    /// How many texts the answer has.
    pub fn answered(&self) -> usize {
        self.top_n.map_or(self.texts.len(), |top_n| top_n.min(self.texts.len()))
    }

    /// How many are to be selected; `hint` counts where the body has none of its own.
    pub fn selected(&self, hint: Option<usize>) -> usize {
        let answered = self.answered();
        self.top_k_hint.or(hint).map_or(answered, |hint| hint.clamp(1, answered))
    }
}

impl Raw {
    fn body(self, shape: Shape) -> Result<RerankBody, WireError> {
        let invalid = |message: String| WireError::invalid(shape, message);
        let Some(query) = value::given(self.query) else {
            return Err(invalid("query: is missing".into()));
        };
        let query =
            value::text(query, &[]).map_err(|reason| invalid(format!("query: {reason}")))?;
        if query.trim().is_empty() {
            return Err(invalid("query: must not be empty".into()));
        }
        refuse_left("truncation_direction", self.truncation_direction).map_err(invalid)?;
        refuse_left("truncation_side", self.truncation_side).map_err(invalid)?;
        let fields = value::names("rank_fields", self.rank_fields).map_err(invalid)?;
        let (name, list) = match (value::given(self.texts), value::given(self.documents)) {
            (Some(texts), _) => ("texts", texts),
            (None, Some(documents)) => ("documents", documents),
            (None, None) => return Err(invalid("documents: are missing".into())),
        };
        let texts = value::texts(name, list, &fields).map_err(invalid)?;
        if texts.is_empty() {
            let message = format!("{name}: must not be empty");
            return Err(WireError::new(Fault::Empty, shape, message));
        }
        if texts.iter().all(|text| text.trim().is_empty()) {
            let message = format!("{name}: must not all be blank");
            return Err(WireError::new(Fault::Empty, shape, message));
        }
        let truth = |name, field| value::truth(name, field).map_err(invalid);
        let count = |name, field| value::count(name, field).map_err(invalid);
        let activation = truth("use_activation", self.use_activation)?;
        let long = Written {
            long: self.long,
            passage_tokens: self.passage_tokens,
            passage_overlap: self.passage_overlap,
            passage_score: self.passage_score,
            max_passages: self.max_passages,
            max_chunks_per_doc: self.max_chunks_per_doc,
            token_policy: self.token_policy,
        };
        Ok(RerankBody {
            shape,
            model: value::string("model", self.model).map_err(invalid)?,
            query,
            texts: texts.into(),
            top_n: count("top_n", self.top_n)?.or(count("top_k", self.top_k)?),
            top_k_hint: count("top_k_hint", self.top_k_hint)?,
            mode: mode(self.mode).map_err(invalid)?,
            instruction: value::string("instruction", self.instruction).map_err(invalid)?,
            max_tokens: value::limit("truncate_prompt_tokens", self.truncate_prompt_tokens)
                .map_err(invalid)?,
            max_text_tokens: value::limit("max_tokens_per_doc", self.max_tokens_per_doc)
                .map_err(invalid)?,
            long: long.read().map_err(invalid)?,
            raw_scores: truth("raw_scores", self.raw_scores)?.or(activation.map(|on| !on)),
            return_texts: truth("return_documents", self.return_documents)?
                .or(truth("return_text", self.return_text)?)
                .unwrap_or(false),
            truncate: truth("truncate", self.truncate)?.or(truth("truncation", self.truncation)?),
            deadline: count("deadline_ms", self.deadline_ms)?
                .map(|ms| Duration::from_millis(ms as u64)),
            explain: truth("explain", self.explain)?.unwrap_or(false),
        })
    }
}

fn mode(field: Option<Value>) -> Result<Option<Mode>, String> {
    match value::string("mode", field)?.as_deref() {
        None => Ok(None),
        Some("rank") => Ok(Some(Mode::Rank)),
        Some("select") => Ok(Some(Mode::Select)),
        Some(_) => Err("mode: must be `rank` or `select`".into()),
    }
}

/// Texts are cut at their end, as the models were trained; scores of others would be others.
fn refuse_left(name: &str, field: Option<Value>) -> Result<(), String> {
    match value::string(name, field)?.map(|side| side.to_ascii_lowercase()).as_deref() {
        None | Some("right" | "") => Ok(()),
        Some(_) => Err(format!("{name}: texts are cut at their end only; leave it out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<RerankBody, WireError> {
        RerankBody::parse(body.as_bytes())
    }

    #[test]
    fn every_client_is_understood() {
        let tei = parse(
            r#"{"query":"q","texts":["a","b"],"raw_scores":false,"truncation_direction":"Right","return_text":true}"#,
        )
        .unwrap();
        assert_eq!((tei.shape, tei.answered(), tei.return_texts), (Shape::Texts, 2, true));
        let cohere = parse(
            r#"{"model":"m","query":"q","documents":["a","b","c"],"top_n":2,"max_tokens_per_doc":null,"truncate_prompt_tokens":-1}"#,
        )
        .unwrap();
        assert_eq!((cohere.shape, cohere.answered()), (Shape::Documents, 2));
        assert_eq!(cohere.model.as_deref(), Some("m"));
        let voyage =
            parse(r#"{"query":"q","documents":["a","b"],"top_k":1,"truncation":true}"#).unwrap();
        assert_eq!((voyage.shape, voyage.answered()), (Shape::Data, 1));
        let xinference = parse(
            r#"{"query":"q","documents":["a"],"return_documents":"true","return_len":"true"}"#,
        );
        assert!(xinference.unwrap().return_texts);
        let vllm = parse(
            r#"{"query":"q","documents":[{"content":[{"type":"text","text":"a"}]}],"top_n":0,"use_activation":false}"#,
        )
        .unwrap();
        assert_eq!(
            (&*vllm.texts, vllm.top_n, vllm.raw_scores),
            (&["a".to_string()][..], None, Some(true))
        );
        let half = parse(r#"{"query":"\ud83d q","documents":["a"]}"#).unwrap();
        assert_eq!(half.query, "\u{fffd} q");
    }

    #[test]
    fn what_is_selected_lies_between_one_and_what_is_answered() {
        let body = |top_n: &str, hint: &str| {
            let body = format!(
                r#"{{"query":"q","documents":["a","b","c","d"],"top_n":{top_n},"top_k_hint":{hint}}}"#
            );
            let body = parse(&body).unwrap();
            (body.answered(), body.selected(Some(2)), body.selected(None))
        };
        assert_eq!(body("null", "null"), (4, 2, 4));
        assert_eq!(body("9", "null"), (4, 2, 4));
        assert_eq!(body("1", "null"), (1, 1, 1));
        assert_eq!(body("0", "3"), (4, 3, 3));
        assert_eq!(body("3", "9"), (3, 3, 3));
    }

    #[test]
    fn mistakes_are_named_and_answered_in_the_senders_form() {
        for (body, fault, shape, message) in [
            (
                "{",
                Fault::NotJson,
                Shape::Documents,
                "the body is not JSON: EOF while parsing an object",
            ),
            ("[]", Fault::Invalid, Shape::Documents, "query: is missing"),
            (
                r#"{"query":"","texts":["a"]}"#,
                Fault::Invalid,
                Shape::Texts,
                "query: must not be empty",
            ),
            (
                r#"{"query":3,"texts":["a"]}"#,
                Fault::Invalid,
                Shape::Texts,
                "query: text: must be a string, or an object with a `text`, not 3",
            ),
            (r#"{"query":"q","texts":[]}"#, Fault::Empty, Shape::Texts, "texts: must not be empty"),
            (r#"{"query":"q"}"#, Fault::Invalid, Shape::Documents, "documents: are missing"),
            (
                r#"{"query":"q","documents":"a"}"#,
                Fault::Invalid,
                Shape::Documents,
                "documents: must be an array of strings, not a string",
            ),
            (
                r#"{"query":"q","documents":["a"],"mode":"fast"}"#,
                Fault::Invalid,
                Shape::Documents,
                "mode: must be `rank` or `select`",
            ),
            (
                r#"{"query":"q","texts":["a"],"truncation_direction":"Left"}"#,
                Fault::Invalid,
                Shape::Texts,
                "truncation_direction: texts are cut at their end only; leave it out",
            ),
        ] {
            let error = parse(body).unwrap_err();
            assert_eq!((error.fault, error.shape, error.message.as_str()), (fault, shape, message));
        }
        assert_eq!(RerankBody::parse(b"\xff").unwrap_err().fault, Fault::NotJson);
    }
}
