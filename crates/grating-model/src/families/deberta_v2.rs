//! DeBERTa-v2 and v3 (`modeling_deberta_v2.py`): BERT's layers, in which distances between tokens have keys and queries
//! beside those of the tokens, and a pooler of its own.

use grating_backend::Distances;
use serde::Deserialize;

use super::bert_layers::{self, Head, Line, PARTS, Parts, Positions};
use super::{Definition, Input};
use crate::config::{Form, ModelConfig, Raw, field};
use crate::error::Result;
use crate::spec::{DistanceMap, DistanceSpec, DistanceTableSpec, ModelSpec, Names};
use crate::template::PairTemplate;
use crate::tokenize::TokenizerClass;

pub(super) const FAMILY: Definition = Definition {
    name: "DeBERTa-v2",
    architectures: &[("DebertaV2ForSequenceClassification", Form::SequenceClassification)],
    input: Input::Pair(PairTemplate::Bert),
    tokenizer: TokenizerClass::DebertaV2,
    always_that_tokenizer: false,
    free_heads: false,
    tied: false,
    size_names: &[],
    neighbours_in_llama_cpp: false,
    spec,
    // Positions are stored by some that do not add them.
    is_unused: |name| {
        let heads = ["cls.", "lm_predictions.", "mask_predictions."];
        heads.iter().any(|head| name.starts_with(head)) || name.contains("position_embeddings")
    },
};

const DEBERTA: Parts = Parts {
    query: "attention.self.query_proj",
    key: "attention.self.key_proj",
    value: "attention.self.value_proj",
    ..PARTS
};

/// A list, or one string with bars between.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kinds {
    List(Vec<String>),
    Joined(String),
}

/// Fields of the family's own, with the defaults of `DebertaV2Config`.
struct Own {
    /// Whether queries of tokens meet keys of distances.
    to_keys: bool,
    /// Whether keys of tokens meet queries of distances.
    to_queries: bool,
    /// Where distances count at all.
    distances: Option<Distances>,
    /// Whether the maps of tokens make keys and queries of distances, too.
    shared: bool,
    normalised: bool,
}

impl Own {
    fn read(raw: &Raw, config: &ModelConfig) -> Result<Self> {
        let flag = |name| raw.own::<bool>(name).map(|flag| flag.unwrap_or(false));
        let kinds = match raw.own("pos_att_type")? {
            None => Vec::new(),
            Some(Kinds::List(kinds)) => kinds,
            Some(Kinds::Joined(kinds)) => {
                kinds.to_lowercase().split('|').map(|kind| kind.trim().to_owned()).collect()
            }
        };
        let has = |kind: &str| kinds.iter().any(|k| k == kind);
        let norm: Option<String> = raw.own("norm_rel_ebd")?;
        let norm = norm.unwrap_or_default().to_lowercase();
        Ok(Own {
            to_keys: has("c2p"),
            to_queries: has("p2c"),
            distances: flag("relative_attention")?.then(|| distances(raw, config)).transpose()?,
            shared: flag("share_att_key")?,
            normalised: norm.split('|').any(|kind| kind.trim() == "layer_norm"),
        })
    }

    /// Products are scaled down as if heads were wider by each kind of product.
    fn scale(&self, head_dim: usize) -> f32 {
        let kinds = 1 + usize::from(self.to_keys) + usize::from(self.to_queries);
        ((head_dim * kinds) as f32).sqrt().recip()
    }

    fn distance(&self, names: &Names, h: usize) -> Option<DistanceSpec> {
        let map = |name| match self.shared {
            true => DistanceMap::Shared,
            false => DistanceMap::Own(names.linear(name, "", [h, h], true)),
        };
        Some(DistanceSpec {
            distances: self.distances?,
            keys: self.to_keys.then(|| map("attention.self.pos_key_proj")),
            queries: self.to_queries.then(|| map("attention.self.pos_query_proj")),
        })
    }
}

/// Past which a number is taken for damaged.
const MOST_TOKENS: usize = 1 << 20;

/// Below 1 a number says nothing.
fn distances(raw: &Raw, config: &ModelConfig) -> Result<Distances> {
    let number = |name| -> Result<Option<usize>> {
        let found: Option<i64> = raw.own(name)?;
        Ok(found.filter(|&n| n >= 1).map(|n| usize::try_from(n).unwrap_or(usize::MAX)))
    };
    let farthest = number("max_relative_positions")?.unwrap_or(config.max_positions);
    let span = number("position_buckets")?;
    match span {
        _ if farthest > MOST_TOKENS || span.is_some_and(|span| span > MOST_TOKENS) => {
            Err(field("max_relative_positions", "a number of tokens", farthest))
        }
        None => Ok(Distances::single(farthest)),
        Some(span) if span >= 4 && farthest > span / 2 + 1 => {
            Ok(Distances::logarithmic(span, farthest))
        }
        Some(span) => Err(field(
            "position_buckets",
            format!("at least 4, and half of it below max_relative_positions {farthest}"),
            span,
        )),
    }
}

/// What no published cross-encoder has.
fn refuse_variants(raw: &Raw, config: &ModelConfig) -> Result<()> {
    for (name, expected) in [
        ("conv_kernel_size", 0),
        ("pooler_hidden_size", config.hidden),
        ("attention_head_size", config.head_dim),
    ] {
        match raw.own::<usize>(name)? {
            Some(found) if found != expected => {
                return Err(field(name, expected.to_string(), found));
            }
            _ => {}
        }
    }
    Ok(())
}

fn spec(raw: &Raw, config: &ModelConfig) -> Result<ModelSpec> {
    refuse_variants(raw, config)?;
    let own = Own::read(raw, config)?;
    let (h, eps) = (config.hidden, raw.layer_norm_eps_or(1e-7)?);
    let width = raw.width("embedding_size", h)?;
    let has_positions = raw.own("position_biased_input")?.unwrap_or(true);
    let line = Line {
        prefix: "deberta.",
        parts: &DEBERTA,
        width,
        positions: has_positions.then_some(Positions { first: 0, padding: None }),
        types: raw.type_vocab_or_none(0)?.unwrap_or(0),
        eps,
        activation: raw.activation("gelu")?,
        head: Head {
            dense: "pooler.dense",
            activation: raw.activation_of("pooler_hidden_act", "gelu")?,
            label: "classifier",
        },
    };
    let names = Names::of_model(line.prefix);
    let mut spec = bert_layers::spec(raw, config, &line)?;
    if width != h {
        spec.embedding.norm = None;
        spec.embedding.project = Some(names.linear("embeddings.embed_proj", "", [h, width], false));
        spec.embedding.after = Some(names.layer_norm("embeddings.LayerNorm", "", h, eps));
    }
    let table = |distances: Distances| DistanceTableSpec {
        table: names.tensor("encoder.rel_embeddings.weight", "", [distances.rows(), h]),
        norm: own.normalised.then(|| names.layer_norm("encoder.LayerNorm", "", h, eps)),
    };
    spec.embedding.distances = own.distances.map(table);
    for (number, layer) in spec.layers.iter_mut().enumerate() {
        let names = Names::of_layer("deberta.encoder.layer.", number);
        let attention = &mut layer.attention;
        attention.distance = own.distance(&names, h);
        attention.attention.scale = own.scale(config.head_dim);
    }
    Ok(spec)
}
