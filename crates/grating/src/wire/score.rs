//! Pairs to be scored, as clients of vLLM send them: no order, one score a pair.

use serde::Deserialize;
use serde_json::Value;

use super::body::{from_json, utf8};
use super::error::{Fault, WireError};
use super::long::{LongFields, Written};
use super::{Shape, value};

/// Pairs of a query and a text, by their query.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ScoreBody {
    /// Which model is to judge.
    pub model: Option<String>,
    /// One for all texts, or one for each.
    pub queries: Vec<String>,
    /// At least one.
    pub texts: Vec<String>,
    /// Whether scores are the model's own outputs.
    pub raw_scores: bool,
    /// What the queries are for.
    pub instruction: Option<String>,
    /// Most tokens of a text with its query: `truncate_prompt_tokens`.
    pub max_tokens: Option<usize>,
    /// Most tokens of a text by itself: `max_tokens_per_doc`.
    pub max_text_tokens: Option<usize>,
    /// What becomes of longer ones.
    pub long: LongFields,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Raw {
    model: Option<Value>,
    queries: Option<Value>,
    query: Option<Value>,
    data_1: Option<Value>,
    text_1: Option<Value>,
    documents: Option<Value>,
    items: Option<Value>,
    data_2: Option<Value>,
    text_2: Option<Value>,
    use_activation: Option<Value>,
    raw_scores: Option<Value>,
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
}

impl ScoreBody {
    /// Reads a body.
    ///
    /// # Errors
    /// As [`RerankBody::parse`](super::RerankBody::parse), and where there are neither one query nor one for each text.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let text = utf8(bytes)?;
        let raw: Raw = from_json(&text)?;
        let invalid = |message: String| WireError::invalid(Shape::Documents, message);
        let left = [
            ("queries", raw.queries),
            ("query", raw.query),
            ("data_1", raw.data_1),
            ("text_1", raw.text_1),
        ];
        let right = [
            ("documents", raw.documents),
            ("items", raw.items),
            ("data_2", raw.data_2),
            ("text_2", raw.text_2),
        ];
        let (_, queries) = first(left).map_err(invalid)?;
        let (name, texts) = first(right).map_err(invalid)?;
        if texts.is_empty() || queries.is_empty() {
            let message = format!("{name}: must not be empty, nor the queries");
            return Err(WireError::new(Fault::Empty, Shape::Documents, message));
        }
        if queries.len() != 1 && queries.len() != texts.len() {
            let (q, n) = (queries.len(), texts.len());
            return Err(invalid(format!(
                "{name}: {n} for {q} queries; give one query, or one for each"
            )));
        }
        let activation = value::truth("use_activation", raw.use_activation).map_err(invalid)?;
        let raw_scores = value::truth("raw_scores", raw.raw_scores).map_err(invalid)?;
        let long = Written {
            long: raw.long,
            passage_tokens: raw.passage_tokens,
            passage_overlap: raw.passage_overlap,
            passage_score: raw.passage_score,
            max_passages: raw.max_passages,
            max_chunks_per_doc: raw.max_chunks_per_doc,
            token_policy: raw.token_policy,
        };
        Ok(ScoreBody {
            model: value::string("model", raw.model).map_err(invalid)?,
            queries,
            texts,
            raw_scores: raw_scores.or(activation.map(|on| !on)).unwrap_or(false),
            instruction: value::string("instruction", raw.instruction).map_err(invalid)?,
            max_tokens: value::limit("truncate_prompt_tokens", raw.truncate_prompt_tokens)
                .map_err(invalid)?,
            max_text_tokens: value::limit("max_tokens_per_doc", raw.max_tokens_per_doc)
                .map_err(invalid)?,
            long: long.read().map_err(invalid)?,
        })
    }

    /// The pairs of so many texts by their query, in the order in which each query comes first: the query, and the places of its texts.
    pub fn groups(&self, texts: usize) -> Vec<(&str, Vec<usize>)> {
        let [query] = self.queries.as_slice() else {
            let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
            let mut place_of = std::collections::HashMap::new();
            for (index, query) in self.queries.iter().enumerate() {
                let place = *place_of.entry(query.as_str()).or_insert(groups.len());
                match groups.get_mut(place) {
                    Some((_, places)) => places.push(index),
                    None => groups.push((query, vec![index])),
                }
            }
            return groups;
        };
        vec![(query, (0..texts).collect())]
    }
}

/// The first list that is there; one text stands for a list of one.
fn first<const N: usize>(
    fields: [(&'static str, Option<Value>); N],
) -> Result<(&'static str, Vec<String>), String> {
    let first_name = fields[0].0;
    let given = |(name, value)| Some((name, value::given(value)?));
    let Some((name, value)) = fields.into_iter().find_map(given) else {
        return Err(format!("{first_name}: are missing"));
    };
    let list = if value.is_array() { value } else { Value::Array(vec![value]) };
    Ok((name, value::texts(name, list, &[])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_query_or_one_for_each() {
        let parse = |body: &str| ScoreBody::parse(body.as_bytes());
        for names in [
            ("queries", "documents"),
            ("queries", "items"),
            ("data_1", "data_2"),
            ("text_1", "text_2"),
        ] {
            let body = format!(r#"{{"{}":"q","{}":["a","b"]}}"#, names.0, names.1);
            assert_eq!(parse(&body).unwrap().groups(2), [("q", vec![0, 1])]);
        }
        let pairs = parse(r#"{"queries":["q","p","q"],"documents":["a","b","c"]}"#).unwrap();
        assert_eq!(pairs.groups(3), [("q", vec![0, 2]), ("p", vec![1])]);
        let error = parse(r#"{"queries":["q","p"],"documents":["a","b","c"]}"#).unwrap_err();
        assert_eq!(error.message, "documents: 3 for 2 queries; give one query, or one for each");
        assert_eq!(parse(r#"{"queries":["q"]}"#).unwrap_err().message, "documents: are missing");
        assert_eq!(parse(r#"{"queries":["q"],"items":[]}"#).unwrap_err().fault, Fault::Empty);
    }
}
