//! Prompts as data: how a query and a text become one sequence. Templates belong to the model, users pass plain text.

use std::fmt;

use grating_io::shown;
use serde::{Deserialize, Deserializer, Serialize};

use crate::tokenize::TokenizeError;

/// How a model wants its query and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// Decoders that answer yes or no.
    YesNo(YesNoTemplate),
    /// Encoders that read a pair.
    Pair(PairTemplate),
}

/// A prompt of three parts that are tokenized separately and concatenated, as the reference does.
///
/// This is also the content of `template` in a `grating.json`, which lies beside the weights and makes a reranker of
/// any supported decoder (a name in its place, `"template": "qwen3-reranker"`, is a template of [`Template::named`]):
///
/// ```json
/// {
///   "template": {
///     "prefix": "<|im_start|>system\nAnswer yes or no.<|im_end|>\n<|im_start|>user\n",
///     "body": "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
///     "suffix": "<|im_end|>\n<|im_start|>assistant\n",
///     "default_instruction": "Does the document answer the query?",
///     "yes": "yes",
///     "no": "no"
///   },
///   "max_tokens": 2048
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a template: an object with `body`, `yes` and `no`, or the name of one"
)]
pub struct YesNoTemplate {
    /// Before the body; its control tokens are control tokens.
    #[serde(default)]
    pub prefix: String,
    /// With the places `{instruction}` (may be absent), `{query}` and, at its end, `{document}`.
    pub body: String,
    /// After the body.
    #[serde(default)]
    pub suffix: String,
    /// Used where neither the caller nor the request gives one.
    #[serde(default)]
    pub default_instruction: String,
    /// The answer that means relevant.
    pub yes: Answer,
    /// The answer that means not; `null` where the score is the logit of `yes` alone.
    #[serde(deserialize_with = "answer_or_null")]
    pub no: Option<Answer>,
}

/// An answer of a language model; one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "an answer is a word or the id of a token")]
pub enum Answer {
    /// By the token's id.
    Id(u32),
    /// As text, or by the token's name (`Ġyes`).
    Word(String),
}

impl From<&str> for Answer {
    fn from(word: &str) -> Self {
        Answer::Word(word.into())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Id(id) => id.fmt(f),
            Answer::Word(word) => word.fmt(f),
        }
    }
}

/// `null` has to be written: a forgotten `no` would be another score.
fn answer_or_null<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Answer>, D::Error> {
    Option::deserialize(from)
}

/// Control tokens around a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairTemplate {
    /// `[CLS] query [SEP] text [SEP]`, token types 0 and 1.
    Bert,
    /// `<s> query </s></s> text </s>`.
    XlmRoberta,
}

impl Template {
    /// The prompt of Qwen3-Reranker, to the byte (its model card's `transformers` example).
    pub fn qwen3_reranker() -> Self {
        Template::YesNo(YesNoTemplate {
            prefix: "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query \
                     and the Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n\
                     <|im_start|>user\n"
                .into(),
            body: "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}".into(),
            suffix: "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n".into(),
            default_instruction:
                "Given a web search query, retrieve relevant passages that answer the query".into(),
            yes: "yes".into(),
            no: Some("no".into()),
        })
    }

    /// Names of built-in templates, as a `grating.json` may give one.
    pub const NAMES: [&str; 1] = ["qwen3-reranker"];

    /// The built-in template of this name.
    pub fn named(name: &str) -> Option<Self> {
        (name == Template::NAMES[0]).then(Template::qwen3_reranker)
    }
}

/// The file `grating.json` beside a model's weights.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `template`")]
#[non_exhaustive]
pub struct GratingJson {
    /// The model's prompt: spelled, or the name of a built-in one.
    #[serde(deserialize_with = "spelled_or_named")]
    pub template: YesNoTemplate,
    /// Most tokens of a candidate where the caller sets none.
    #[serde(default)]
    pub max_tokens: Option<usize>,
}

impl GratingJson {
    /// Reads the file.
    ///
    /// # Errors
    /// [`TokenizeError::GratingJson`] with what is wrong.
    pub fn parse(json: &[u8]) -> Result<Self, TokenizeError> {
        let fail = |reason: String| TokenizeError::GratingJson { reason };
        let file: GratingJson =
            serde_json::from_slice(json).map_err(|e| fail(shown(&e.to_string())))?;
        file.template.body_parts()?;
        let YesNoTemplate { yes, no, .. } = &file.template;
        let empty = |answer: &Answer| *answer == Answer::from("");
        if empty(yes) || no.as_ref().is_some_and(|no| empty(no) || yes == no) {
            return Err(fail("`yes` and `no` must be two different words".into()));
        }
        if file.max_tokens == Some(0) {
            return Err(fail("`max_tokens` must be at least 1".into()));
        }
        Ok(file)
    }
}

fn spelled_or_named<'de, D: Deserializer<'de>>(from: D) -> Result<YesNoTemplate, D::Error> {
    use serde::de::Error;
    let name = match serde_json::Value::deserialize(from)? {
        serde_json::Value::String(name) => name,
        spelled => return serde_json::from_value(spelled).map_err(D::Error::custom),
    };
    match Template::named(&name) {
        Some(Template::YesNo(template)) => Ok(template),
        _ => {
            let names = Template::NAMES.join(", ");
            Err(D::Error::custom(format!(
                "no built-in template is called `{name}`; there is {names}"
            )))
        }
    }
}

/// A place in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyPart {
    /// The template's own words.
    Literal(String),
    Instruction,
    Query,
    Document,
}

impl YesNoTemplate {
    /// The body cut at its places.
    pub(crate) fn body_parts(&self) -> Result<Vec<BodyPart>, TokenizeError> {
        const PLACES: [(&str, BodyPart); 3] = [
            ("{instruction}", BodyPart::Instruction),
            ("{query}", BodyPart::Query),
            ("{document}", BodyPart::Document),
        ];
        let mut parts = Vec::new();
        let mut rest = self.body.as_str();
        while !rest.is_empty() {
            let next = PLACES
                .iter()
                .filter_map(|(text, part)| Some((rest.find(text)?, text, part)))
                .min_by_key(|p| p.0);
            let Some((at, text, part)) = next else {
                parts.push(BodyPart::Literal(rest.to_string()));
                break;
            };
            if at > 0 {
                parts.push(BodyPart::Literal(rest[..at].to_string()));
            }
            parts.push(part.clone());
            rest = &rest[at + text.len()..];
        }
        let count = |part: &BodyPart| parts.iter().filter(|p| *p == part).count();
        let reason = if count(&BodyPart::Query) != 1 || count(&BodyPart::Document) != 1 {
            "`body` must hold {query} and {document} once each"
        } else if parts.last() != Some(&BodyPart::Document) {
            "`body` must end with {document} (texts are cut at their end); put what follows into `suffix`"
        } else {
            return Ok(parts);
        };
        Err(TokenizeError::GratingJson { reason: reason.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_form_is_told_what_is_expected() {
        for (json, expected) in [
            ("3", "an object with `template`"),
            ("[]", "`template`"),
            (r#"{"template": 3}"#, "an object with `body`, `yes` and `no`, or the name of one"),
            (
                r#"{"template": {"body": "", "yes": [], "no": null}}"#,
                "an answer is a word or the id",
            ),
        ] {
            let error = GratingJson::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("struct"), "{json}: {error}");
        }
    }

    #[test]
    fn the_body_is_cut_at_its_places() {
        let Template::YesNo(template) = Template::qwen3_reranker() else { unreachable!() };
        let literal = |text: &str| BodyPart::Literal(text.into());
        assert_eq!(
            template.body_parts().unwrap(),
            [
                literal("<Instruct>: "),
                BodyPart::Instruction,
                literal("\n<Query>: "),
                BodyPart::Query,
                literal("\n<Document>: "),
                BodyPart::Document,
            ]
        );
    }

    #[test]
    fn a_bad_grating_json_says_what_is_wrong() {
        let with = |body: &str| format!(r#"{{"template":{{"body":"{body}","yes":"y","no":"n"}}}}"#);
        let error = |json: &str| GratingJson::parse(json.as_bytes()).unwrap_err().to_string();
        assert!(GratingJson::parse(with("{query} {document}").as_bytes()).is_ok());
        assert!(error(&with("{query}")).contains("once each"));
        assert!(error(&with("{query} {document} ?")).contains("suffix"));
        assert!(error("{").contains("grating.json"));
        assert!(error(r#"{"template":{"body":"{query}{document}","yes":"y"}}"#).contains("`no`"));
        let same = r#"{"template":{"body":"{query}{document}","yes":"y","no":"y"}}"#;
        assert!(error(same).contains("different"));
        assert!(error(&with("{query} {document}").replace("\"no\"", "\"No\"")).contains("`No`"));
        assert!(error(r#"{"template":"qwen4-reranker"}"#).contains("qwen3-reranker"));
    }

    #[test]
    fn a_template_is_spelled_or_named_and_answers_are_words_or_ids() {
        let parse = |json: &str| GratingJson::parse(json.as_bytes()).unwrap();
        let named = parse(r#"{"template":"qwen3-reranker","max_tokens":99}"#);
        assert_eq!(Template::YesNo(named.template), Template::qwen3_reranker());
        assert_eq!(named.max_tokens, Some(99));
        let lone = parse(r#"{"template":{"body":"{query}{document}","yes":9454,"no":null}}"#);
        assert_eq!((lone.template.yes, lone.template.no), (Answer::Id(9454), None));
    }
}
