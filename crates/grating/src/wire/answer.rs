//! What came of a request, in the form that its sender reads.

use serde::Serialize;
use serde_json::Value;

use super::{RerankBody, Shape};
use crate::long::BestPassage;
use crate::scores::LastScore;
use crate::selection::Selection;
use crate::stats::Stats;

/// What an answer says beside the scores.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Of the request.
    pub id: &'a str,
    /// The model that judged.
    pub model: &'a str,
    /// Whether scores are the model's own outputs and not probabilities.
    pub raw_scores: bool,
    /// How many texts the answer has.
    pub answered: usize,
}

/// A result that every client reads, with keys of our own beside.
#[derive(Serialize)]
struct Item<'a> {
    index: usize,
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Document<'a>>,
    raw_score: f32,
    #[serde(flatten)]
    decided: Decided,
}

#[derive(Serialize)]
struct Document<'a> {
    text: &'a str,
}

/// How a text's place was decided.
#[derive(Serialize)]
struct Decided {
    decided_after_layer: usize,
    truncated: bool,
    /// Of a text that was cut into several.
    #[serde(skip_serializing_if = "Option::is_none")]
    passage: Option<BestPassage>,
    /// Where some may have been dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    selected: Option<bool>,
    /// Where the score is not as it was read, so that the list falls.
    #[serde(skip_serializing_if = "Option::is_none")]
    altered: Option<bool>,
}

#[derive(Serialize)]
struct TextItem<'a> {
    index: usize,
    score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(flatten)]
    decided: Decided,
}

#[derive(Serialize)]
struct DataItem<'a> {
    index: usize,
    relevance_score: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<&'a str>,
}

#[derive(Serialize)]
struct Answer<'a> {
    id: &'a str,
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    object: Option<&'a str>,
    results: Vec<Item<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Vec<DataItem<'a>>>,
    usage: Usage,
    meta: Meta,
    grating: Own<'a>,
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

/// As Cohere bills: its clients want the key.
#[derive(Serialize)]
struct Meta {
    api_version: ApiVersion,
    billed_units: BilledUnits,
    tokens: Tokens,
}

#[derive(Serialize)]
struct ApiVersion {
    version: &'static str,
}

#[derive(Serialize)]
struct BilledUnits {
    search_units: usize,
}

#[derive(Serialize)]
struct Tokens {
    input_tokens: usize,
    output_tokens: usize,
}

#[derive(Serialize)]
struct Own<'a> {
    stats: Figures<'a>,
}

/// All figures of a request, or those of all layers together.
#[derive(Serialize)]
#[serde(untagged)]
enum Figures<'a> {
    All(&'a Stats),
    Few(Summary),
}

#[derive(Serialize)]
struct Summary {
    candidates: usize,
    distinct_candidates: usize,
    passages: usize,
    in_passages: usize,
    truncated: usize,
    query_truncated: usize,
    tokens: usize,
    layers: usize,
    candidate_layers: u64,
    requests_in_pass: usize,
    queued_ms: f64,
    tokenize_ms: f64,
    stall_ms: f64,
    compute_ms: f64,
    total_ms: f64,
}

impl From<&Stats> for Summary {
    fn from(stats: &Stats) -> Self {
        let ms = |time: std::time::Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        Summary {
            candidates: stats.candidates,
            distinct_candidates: stats.distinct_candidates,
            passages: stats.passages,
            in_passages: stats.in_passages,
            truncated: stats.truncated,
            query_truncated: stats.query_truncated,
            tokens: stats.tokens,
            layers: stats.layers,
            candidate_layers: stats.candidate_layers,
            requests_in_pass: stats.requests_in_pass,
            queued_ms: ms(stats.queued),
            tokenize_ms: ms(stats.tokenize),
            stall_ms: ms(stats.stall),
            compute_ms: ms(stats.compute),
            total_ms: ms(stats.total),
        }
    }
}

/// The answer to a rerank request as JSON: by falling score, as many texts as the request wants.
pub fn rerank_answer(body: &RerankBody, selection: &Selection, wanted: &Wanted<'_>) -> Vec<u8> {
    let mut ranking = selection.ranking();
    let some_dropped = selection.results.len() < ranking.len();
    ranking.truncate(wanted.answered);
    let score = |r: &LastScore| if wanted.raw_scores { r.raw_score.0 } else { r.score.0 };
    let text = |r: &LastScore| body.return_texts.then(|| body.texts[r.index].as_str());
    let decided = |r: &LastScore| Decided {
        decided_after_layer: r.decided_after_layer,
        truncated: r.truncated,
        passage: r.passage,
        selected: some_dropped.then_some(r.selected),
        altered: r.altered.then_some(true),
    };
    if body.shape == Shape::Texts {
        let item = |r: &LastScore| TextItem {
            index: r.index,
            score: score(r),
            text: text(r),
            decided: decided(r),
        };
        return json(&ranking.iter().map(item).collect::<Vec<_>>());
    }
    let item = |r: &LastScore| Item {
        index: r.index,
        relevance_score: score(r),
        document: text(r).map(|text| Document { text }),
        raw_score: r.raw_score.0,
        decided: decided(r),
    };
    let data_item =
        |r: &LastScore| DataItem { index: r.index, relevance_score: score(r), document: text(r) };
    let has_data = body.shape == Shape::Data;
    let tokens = selection.stats.tokens;
    json(&Answer {
        id: wanted.id,
        model: wanted.model,
        // Others take `list` for another service's answer.
        object: has_data.then_some("list"),
        results: ranking.iter().map(item).collect(),
        data: has_data.then(|| ranking.iter().map(data_item).collect()),
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
        meta: Meta {
            api_version: ApiVersion { version: "2" },
            billed_units: BilledUnits { search_units: 1 },
            tokens: Tokens { input_tokens: tokens, output_tokens: 0 },
        },
        grating: Own {
            stats: match body.explain {
                true => Figures::All(&selection.stats),
                false => Figures::Few(Summary::from(&selection.stats)),
            },
        },
    })
}

/// The scores of pairs in the order of their texts, as vLLM answers; `created` in seconds since 1970.
pub fn score_answer(scores: &[f32], tokens: usize, created: u64, wanted: &Wanted<'_>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Scored<'a> {
        id: &'a str,
        object: &'a str,
        created: u64,
        model: &'a str,
        data: Vec<Pair>,
        usage: Usage,
    }
    #[derive(Serialize)]
    struct Pair {
        index: usize,
        object: &'static str,
        score: f32,
    }
    let pair = |(index, &score)| Pair { index, object: "score", score };
    json(&Scored {
        id: wanted.id,
        object: "list",
        created,
        model: wanted.model,
        data: scores.iter().enumerate().map(pair).collect(),
        usage: Usage { prompt_tokens: tokens, total_tokens: tokens },
    })
}

/// Numbers, strings and lists of them can always be written.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value)
        .unwrap_or_else(|error| Value::from(error.to_string()).to_string().into())
}
