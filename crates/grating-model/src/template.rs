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

/// A prompt of three parts that are tokenized separately and concatenated, as the reference does. Of a text that is too
/// long the end is cut; what stands behind its place is kept.
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
    /// With the places `{query}` and `{document}`, in any order, and `{instruction}`, which may be absent.
    pub body: Words,
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

/// Words of a template: one string, or several that are tokenized one by one, so that no token spans two of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a body is a string, or a list of strings that are tokenized one by one"
)]
pub enum Words {
    /// Tokenized as one.
    One(String),
    /// Tokenized one by one.
    Several(Vec<String>),
}

impl Words {
    /// The strings that are tokenized one by one.
    pub fn strings(&self) -> &[String] {
        match self {
            Words::One(words) => std::slice::from_ref(words),
            Words::Several(strings) => strings,
        }
    }
}

impl From<&str> for Words {
    fn from(words: &str) -> Self {
        Words::One(words.into())
    }
}

impl From<String> for Words {
    fn from(words: String) -> Self {
        Words::One(words)
    }
}

/// As one text.
impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.strings().iter().try_for_each(|words| f.write_str(words))
    }
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

    /// The prompt of bge-reranker-v2-gemma and bge-reranker-v2-minicpm-layerwise; `start` is the token that begins a text.
    pub fn bge_reranker_v2(start: &str) -> Self {
        Self::bge_reranker(
            start,
            "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing \
             a prediction of either 'Yes' or 'No'.",
        )
    }

    /// `compute_score` of FlagEmbedding, which tokenizes the parts one by one; what it calls the prompt is the instruction
    /// here.
    fn bge_reranker(start: &str, instruction: &str) -> Self {
        let body = ["A: {query}", "\n", "B: {document}", "\n", "{instruction}"];
        Template::YesNo(YesNoTemplate {
            prefix: start.into(),
            body: Words::Several(body.map(String::from).to_vec()),
            suffix: String::new(),
            default_instruction: instruction.into(),
            yes: "Yes".into(),
            no: None,
        })
    }

    /// Names of built-in templates, as a `grating.json` may give one.
    pub const NAMES: [&str; 4] = [
        "qwen3-reranker",
        "bge-reranker-v2-gemma",
        "bge-reranker-v2-minicpm-layerwise",
        "bge-reranker-v2.5-gemma2-lightweight",
    ];

    /// The built-in template of this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "qwen3-reranker" => Some(Template::qwen3_reranker()),
            "bge-reranker-v2-gemma" => Some(Template::bge_reranker_v2("<bos>")),
            "bge-reranker-v2-minicpm-layerwise" => Some(Template::bge_reranker_v2("<s>")),
            "bge-reranker-v2.5-gemma2-lightweight" => Some(Template::bge_reranker(
                "<bos>",
                "Predict whether passage B contains an answer to query A.",
            )),
            _ => None,
        }
    }
}

/// The file `grating.json` beside a model's weights.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `template`")]
#[non_exhaustive]
pub struct GratingJson {
    /// The model's prompt: spelled, or the name of a built-in one.
    #[serde(deserialize_with = "spelled_or_named")]
    pub template: YesNoTemplate,
    /// Most tokens of a candidate where the caller sets none.
    #[serde(default)]
    pub max_tokens: Option<usize>,
    /// What scores are divided by before they become probabilities; 1 where it is absent.
    #[serde(default)]
    pub temperature: Option<f32>,
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
        if file.temperature.is_some_and(|t| !(t.is_finite() && t > 0.0)) {
            return Err(fail("`temperature` must be a number above 0".into()));
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
    /// All of it as one text.
    pub(crate) fn spelled(&self) -> String {
        [self.prefix.as_str(), &self.body.to_string(), &self.suffix].concat()
    }

    /// The body cut at its places, string by string.
    pub(crate) fn body_parts(&self) -> Result<Vec<Vec<BodyPart>>, TokenizeError> {
        let strings: Vec<Vec<BodyPart>> =
            self.body.strings().iter().map(|words| cut_at_places(words)).collect();
        let count = |part: BodyPart| strings.iter().flatten().filter(|p| **p == part).count();
        let reason = if count(BodyPart::Query) != 1 || count(BodyPart::Document) != 1 {
            "`body` must hold {query} and {document} once each"
        } else if count(BodyPart::Instruction) > 1 {
            "`body` may hold {instruction} once"
        } else {
            return Ok(strings);
        };
        Err(TokenizeError::GratingJson { reason: reason.into() })
    }
}

/// Words and places in the order in which they stand.
fn cut_at_places(words: &str) -> Vec<BodyPart> {
    const PLACES: [(&str, BodyPart); 3] = [
        ("{instruction}", BodyPart::Instruction),
        ("{query}", BodyPart::Query),
        ("{document}", BodyPart::Document),
    ];
    let mut parts = Vec::new();
    let mut rest = words;
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
    parts
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
            [[
                literal("<Instruct>: "),
                BodyPart::Instruction,
                literal("\n<Query>: "),
                BodyPart::Query,
                literal("\n<Document>: "),
                BodyPart::Document,
            ]]
        );
        let several = r#"{"template":{"body":["{document}\n","{query}{x}"],"yes":"y","no":null}}"#;
        let template = GratingJson::parse(several.as_bytes()).unwrap().template;
        assert_eq!(template.body.to_string(), "{document}\n{query}{x}");
        let expected =
            [vec![BodyPart::Document, literal("\n")], vec![BodyPart::Query, literal("{x}")]];
        assert_eq!(template.body_parts().unwrap(), expected);
    }

    #[test]
    fn a_bad_grating_json_says_what_is_wrong() {
        let with = |body: &str| format!(r#"{{"template":{{"body":"{body}","yes":"y","no":"n"}}}}"#);
        let error = |json: &str| GratingJson::parse(json.as_bytes()).unwrap_err().to_string();
        assert!(GratingJson::parse(with("{query} {document}").as_bytes()).is_ok());
        assert!(error(&with("{query}")).contains("once each"));
        assert!(GratingJson::parse(with("{document} {query} ?").as_bytes()).is_ok());
        assert!(error(&with("{query}{document}{instruction}{instruction}")).contains("once"));
        assert!(
            error(&with("{query} {document}").replace("\"{query} {document}\"", "3"))
                .contains("a list of strings")
        );
        assert!(error("{").contains("grating.json"));
        assert!(error(r#"{"template":{"body":"{query}{document}","yes":"y"}}"#).contains("`no`"));
        let same = r#"{"template":{"body":"{query}{document}","yes":"y","no":"y"}}"#;
        assert!(error(same).contains("different"));
        assert!(error(&with("{query} {document}").replace("\"no\"", "\"No\"")).contains("`No`"));
        assert!(error(r#"{"template":"qwen4-reranker"}"#).contains("qwen3-reranker"));
        assert!(error(r#"{"template":"qwen3-reranker","temperature":0}"#).contains("temperature"));
    }

    #[test]
    fn a_template_is_spelled_or_named_and_answers_are_words_or_ids() {
        let parse = |json: &str| GratingJson::parse(json.as_bytes()).unwrap();
        let named = parse(r#"{"template":"qwen3-reranker","max_tokens":99}"#);
        assert_eq!(Template::YesNo(named.template), Template::qwen3_reranker());
        assert_eq!((named.max_tokens, named.temperature), (Some(99), None));
        let zerank = parse(r#"{"template":"qwen3-reranker","temperature":5}"#);
        assert_eq!(zerank.temperature, Some(5.0));
        for name in Template::NAMES {
            assert!(
                matches!(Template::named(name), Some(Template::YesNo(t)) if t.body_parts().is_ok())
            );
        }
        let lone = parse(r#"{"template":{"body":"{query}{document}","yes":9454,"no":null}}"#);
        assert_eq!((lone.template.yes, lone.template.no), (Answer::Id(9454), None));
    }
}
