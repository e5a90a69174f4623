//! Prompts as data: how a query and a text become one sequence. Templates belong to the model, users pass plain text.

use grating_io::shown;
use serde::Deserialize;

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
/// any supported decoder:
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
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// The answer that means relevant; one token.
    pub yes: String,
    /// The answer that means not; one token.
    pub no: String,
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
            no: "no".into(),
        })
    }
}

/// The file `grating.json` beside a model's weights.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GratingJson {
    /// The model's prompt.
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
        if yes.is_empty() || no.is_empty() || yes == no {
            return Err(fail("`yes` and `no` must be two different words".into()));
        }
        if file.max_tokens == Some(0) {
            return Err(fail("`max_tokens` must be at least 1".into()));
        }
        Ok(file)
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
    }
}
