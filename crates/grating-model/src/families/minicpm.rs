//! MiniCPM with a head for each of its later layers (`LayerWiseMiniCPMForCausalLM` of bge-reranker-v2-minicpm-layerwise): as
//! Llama, but rows of the embedding are multiplied by `scale_emb`, and what each block adds by
//! `scale_depth / sqrt(layers)`. The head of the state after `l` layers is row `l - start_layer`, behind the final norm.

use super::llama_layers::{self, Variant};
use super::{Definition, Input, Known, Unnamed};
use crate::config::{Form, ModelConfig, Raw, field};
use crate::error::Result;
use crate::spec::{ModelSpec, Names, OutputSpec};
use crate::tokenize::TokenizerClass;

const BGE_LAYERWISE: Known = Known {
    template: "bge-reranker-v2-minicpm-layerwise",
    title: "bge-reranker-v2-minicpm-layerwise",
    unnamed: Unnamed::Certain,
};

pub(super) const FAMILY: Definition = Definition {
    name: "MiniCPM",
    architectures: &[("LayerWiseMiniCPMForCausalLM", Form::LayerHeads)],
    input: Input::Prompt { known: Some(BGE_LAYERWISE) },
    tokenizer: TokenizerClass::Llama,
    always_that_tokenizer: false,
    free_heads: true,
    size_names: &[],
    tied: false,
    neighbours_in_llama_cpp: false,
    spec,
    is_unused: |_| false,
};

/// Fields of the family's own, with the defaults of `LayerWiseMiniCPMConfig`.
struct Own {
    scale_emb: f32,
    /// Factor of what each block adds.
    residual: f32,
    /// Layers before the first head's.
    start: usize,
}

impl Own {
    fn read(raw: &Raw, config: &ModelConfig) -> Result<Self> {
        if let Some(kind) = raw.own::<String>("head_type")?.filter(|kind| kind != "simple") {
            return Err(field("head_type", "simple (a row for each layer)", kind));
        }
        if raw.own("head_multi")? == Some(false) {
            return Err(field("head_multi", "true (a head for each layer)", false));
        }
        let start = raw.own::<usize>("start_layer")?.unwrap_or(8);
        if start > config.layers {
            return Err(field("start_layer", format!("at most {} layers", config.layers), start));
        }
        let residual = raw.positive("scale_depth", 1.0)? / (config.layers as f64).sqrt();
        Ok(Own {
            scale_emb: raw.positive("scale_emb", 1.0)? as f32,
            residual: residual as f32,
            start,
        })
    }
}

fn spec(raw: &Raw, config: &ModelConfig) -> Result<ModelSpec> {
    let own = Own::read(raw, config)?;
    let bias = raw.attention_bias.unwrap_or(false);
    if bias {
        return Err(field("attention_bias", "false", bias));
    }
    let variant = Variant {
        head_norms: false,
        qkv_bias: false,
        output_bias: false,
        feed_forward_bias: false,
    };
    let mut spec = llama_layers::spec(raw, config, variant)?;
    spec.embedding.factor = Some(own.scale_emb);
    for layer in &mut spec.layers {
        layer.attention.output.factor = Some(own.residual);
        layer.feed_forward.down.factor = Some(own.residual);
    }
    let names = Names::of_model("");
    // The first head may be that of the embeddings, which nothing here scores.
    let label = |layer: usize| {
        let head = (layer + 1).checked_sub(own.start)?;
        Some(names.linear(&format!("lm_head.{head}.linear_head"), "", [1, config.hidden], false))
    };
    spec.head.output = OutputSpec::LayerLabels((0..config.layers).map(label).collect());
    spec.never_last = None;
    Ok(spec)
}
