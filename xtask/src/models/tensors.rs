//! The tensors of a shape, in the order of the model's own `state_dict`.

use super::shapes::{Family, START_LAYER, Shape};

/// Standard deviation of the random weights: `initializer_range` of every public config here.
const STD: f32 = 0.02;

/// How a tensor's elements are made.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Fill {
    /// Approximately normal around 0 with this standard deviation.
    Normal(f32),
    /// The same value everywhere.
    Constant(f32),
    /// 0, 1, 2, ... as I64: the `position_ids` buffer.
    Positions,
}

/// One tensor to write.
#[derive(Clone, Debug)]
pub(crate) struct TensorSpec {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) fill: Fill,
}

impl TensorSpec {
    /// Product of the dimensions.
    pub(crate) fn elements(&self) -> u64 {
        self.shape.iter().map(|&dim| dim as u64).product()
    }
}

/// All tensors of the model, in `state_dict` order.
pub(crate) fn tensors(shape: &Shape) -> Vec<TensorSpec> {
    let mut list = List(Vec::new());
    match shape.family {
        family if family.is_decoder() => decoder(&mut list, shape),
        Family::XlmRoberta => {
            encoder(&mut list, shape, "roberta", 1);
            list.linear("classifier.dense", shape.hidden, shape.hidden);
            list.linear("classifier.out_proj", 1, shape.hidden);
        }
        Family::Bert => {
            encoder(&mut list, shape, "bert", 2);
            list.linear("bert.pooler.dense", shape.hidden, shape.hidden);
            list.linear("classifier", 1, shape.hidden);
        }
        Family::Electra => {
            encoder(&mut list, shape, "electra", 2);
            list.linear("classifier.dense", shape.hidden, shape.hidden);
            list.linear("classifier.out_proj", 1, shape.hidden);
        }
        Family::DistilBert => distilbert(&mut list, shape),
        Family::ModernBert => modernbert(&mut list, shape),
        Family::Gte => gte(&mut list, shape),
        _ => deberta(&mut list, shape),
    }
    list.0
}

fn decoder(list: &mut List, shape: &Shape) {
    let (hidden, ff) = (shape.hidden, shape.feed_forward);
    let (q, kv) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    list.weight("model.embed_tokens", &[shape.vocab, hidden]);
    for layer in 0..shape.layers {
        let at = |part: &str| format!("model.layers.{layer}.{part}");
        for (part, rows) in [("q_proj", q), ("k_proj", kv), ("v_proj", kv)] {
            let name = at(&format!("self_attn.{part}"));
            list.weight(&name, &[rows, hidden]);
            if shape.family == Family::Qwen2 {
                list.push(format!("{name}.bias"), &[rows], Fill::Normal(STD));
            }
        }
        list.weight(&at("self_attn.o_proj"), &[hidden, q]);
        if shape.family == Family::Qwen3 {
            list.ones(&at("self_attn.q_norm"), shape.head_dim);
            list.ones(&at("self_attn.k_norm"), shape.head_dim);
        }
        list.weight(&at("mlp.gate_proj"), &[ff, hidden]);
        list.weight(&at("mlp.up_proj"), &[ff, hidden]);
        list.weight(&at("mlp.down_proj"), &[hidden, ff]);
        list.ones(&at("input_layernorm"), hidden);
        list.ones(&at("post_attention_layernorm"), hidden);
        if shape.family == Family::Gemma2 {
            list.ones(&at("pre_feedforward_layernorm"), hidden);
            list.ones(&at("post_feedforward_layernorm"), hidden);
        }
    }
    list.ones("model.norm", hidden);
    match shape.family {
        Family::MiniCpm | Family::Gemma2 => {
            // A checkpoint of fewer layers has its only head after the last of them.
            let heads = (shape.layers + 1).saturating_sub(START_LAYER).max(1);
            for head in 0..heads {
                list.weight(&format!("lm_head.{head}.linear_head"), &[1, hidden]);
            }
        }
        _ if shape.tied => {}
        _ => list.weight("lm_head", &[shape.vocab, hidden]),
    }
    if matches!(shape.family, Family::Gemma | Family::Gemma2) {
        let norms = list.0.iter_mut().filter(|spec| spec.fill == Fill::Constant(1.0));
        norms.for_each(|spec| spec.fill = Fill::Constant(0.0));
    }
}

fn encoder(list: &mut List, shape: &Shape, prefix: &str, token_types: usize) {
    let (hidden, ff) = (shape.hidden, shape.feed_forward);
    if shape.position_ids {
        let name = format!("{prefix}.embeddings.position_ids");
        list.push(name, &[1, shape.positions], Fill::Positions);
    }
    list.weight(&format!("{prefix}.embeddings.word_embeddings"), &[shape.vocab, hidden]);
    list.weight(&format!("{prefix}.embeddings.position_embeddings"), &[shape.positions, hidden]);
    list.weight(&format!("{prefix}.embeddings.token_type_embeddings"), &[token_types, hidden]);
    list.layer_norm(&format!("{prefix}.embeddings.LayerNorm"), hidden);
    for layer in 0..shape.layers {
        let at = |part: &str| format!("{prefix}.encoder.layer.{layer}.{part}");
        for part in ["query", "key", "value"] {
            list.linear(&at(&format!("attention.self.{part}")), hidden, hidden);
        }
        list.linear(&at("attention.output.dense"), hidden, hidden);
        list.layer_norm(&at("attention.output.LayerNorm"), hidden);
        list.linear(&at("intermediate.dense"), ff, hidden);
        list.linear(&at("output.dense"), hidden, ff);
        list.layer_norm(&at("output.LayerNorm"), hidden);
    }
}

fn distilbert(list: &mut List, shape: &Shape) {
    let (hidden, ff) = (shape.hidden, shape.feed_forward);
    let embedding = |table: &str| format!("distilbert.embeddings.{table}");
    list.weight(&embedding("word_embeddings"), &[shape.vocab, hidden]);
    list.weight(&embedding("position_embeddings"), &[shape.positions, hidden]);
    list.layer_norm(&embedding("LayerNorm"), hidden);
    for layer in 0..shape.layers {
        let at = |part: &str| format!("distilbert.transformer.layer.{layer}.{part}");
        for part in ["q_lin", "k_lin", "v_lin", "out_lin"] {
            list.linear(&at(&format!("attention.{part}")), hidden, hidden);
        }
        list.layer_norm(&at("sa_layer_norm"), hidden);
        list.linear(&at("ffn.lin1"), ff, hidden);
        list.linear(&at("ffn.lin2"), hidden, ff);
        list.layer_norm(&at("output_layer_norm"), hidden);
    }
    list.linear("pre_classifier", hidden, hidden);
    list.linear("classifier", 1, hidden);
}

fn modernbert(list: &mut List, shape: &Shape) {
    let (hidden, ff) = (shape.hidden, shape.feed_forward);
    list.weight("model.embeddings.tok_embeddings", &[shape.vocab, hidden]);
    list.ones("model.embeddings.norm", hidden);
    for layer in 0..shape.layers {
        let at = |part: &str| format!("model.layers.{layer}.{part}");
        if layer > 0 {
            list.ones(&at("attn_norm"), hidden);
        }
        list.weight(&at("attn.Wqkv"), &[3 * hidden, hidden]);
        list.weight(&at("attn.Wo"), &[hidden, hidden]);
        list.ones(&at("mlp_norm"), hidden);
        list.weight(&at("mlp.Wi"), &[2 * ff, hidden]);
        list.weight(&at("mlp.Wo"), &[hidden, ff]);
    }
    list.ones("model.final_norm", hidden);
    list.weight("head.dense", &[hidden, hidden]);
    list.ones("head.norm", hidden);
    list.linear("classifier", 1, hidden);
}

fn gte(list: &mut List, shape: &Shape) {
    let (hidden, ff) = (shape.hidden, shape.feed_forward);
    list.weight("new.embeddings.word_embeddings", &[shape.vocab, hidden]);
    list.weight("new.embeddings.token_type_embeddings", &[1, hidden]);
    list.layer_norm("new.embeddings.LayerNorm", hidden);
    for layer in 0..shape.layers {
        let at = |part: &str| format!("new.encoder.layer.{layer}.{part}");
        list.linear(&at("attention.qkv_proj"), 3 * hidden, hidden);
        list.linear(&at("attention.o_proj"), hidden, hidden);
        list.weight(&at("mlp.up_gate_proj"), &[2 * ff, hidden]);
        list.linear(&at("mlp.down_proj"), hidden, ff);
        list.layer_norm(&at("attn_ln"), hidden);
        list.layer_norm(&at("mlp_ln"), hidden);
    }
    list.linear("new.pooler.dense", hidden, hidden);
    list.linear("classifier", 1, hidden);
}

fn deberta(list: &mut List, shape: &Shape) {
    let (hidden, ff) = (shape.hidden, shape.feed_forward);
    list.weight("deberta.embeddings.word_embeddings", &[shape.vocab, hidden]);
    list.layer_norm("deberta.embeddings.LayerNorm", hidden);
    for layer in 0..shape.layers {
        let at = |part: &str| format!("deberta.encoder.layer.{layer}.{part}");
        for part in ["query_proj", "key_proj", "value_proj"] {
            list.linear(&at(&format!("attention.self.{part}")), hidden, hidden);
        }
        list.linear(&at("attention.output.dense"), hidden, hidden);
        list.layer_norm(&at("attention.output.LayerNorm"), hidden);
        list.linear(&at("intermediate.dense"), ff, hidden);
        list.linear(&at("output.dense"), hidden, ff);
        list.layer_norm(&at("output.LayerNorm"), hidden);
    }
    list.weight("deberta.encoder.rel_embeddings", &[512, hidden]);
    list.layer_norm("deberta.encoder.LayerNorm", hidden);
    list.linear("pooler.dense", hidden, hidden);
    list.linear("classifier", 1, hidden);
}

/// The list under construction; each method adds the tensors of one module.
struct List(Vec<TensorSpec>);

impl List {
    fn push(&mut self, name: String, shape: &[usize], fill: Fill) {
        self.0.push(TensorSpec { name, shape: shape.to_vec(), fill });
    }

    fn weight(&mut self, module: &str, shape: &[usize]) {
        self.push(format!("{module}.weight"), shape, Fill::Normal(STD));
    }

    fn ones(&mut self, module: &str, width: usize) {
        self.push(format!("{module}.weight"), &[width], Fill::Constant(1.0));
    }

    fn linear(&mut self, module: &str, rows: usize, columns: usize) {
        self.weight(module, &[rows, columns]);
        self.push(format!("{module}.bias"), &[rows], Fill::Normal(STD));
    }

    fn layer_norm(&mut self, module: &str, width: usize) {
        self.ones(module, width);
        self.push(format!("{module}.bias"), &[width], Fill::Normal(STD));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Parameter counts as the hub states them (Qwen3's base models have 267 rows more), of the last five as transformers'
    /// classes have them at these sizes.
    #[test]
    fn parameter_counts_are_the_public_ones() {
        for (name, expected) in [
            ("qwen3-0.6b", 596_049_920 - 267 * 1024),
            ("qwen3-4b", 4_022_468_096 - 267 * 2560),
            ("qwen3-8b", 8_190_735_360 - 2 * 267 * 4096),
            ("qwen2.5-0.5b", 494_032_768),
            ("smollm2-135m", 134_515_008),
            ("bge-v2-minicpm", 2_724_880_896 + 33 * 2304),
            ("bge-v2-gemma", 2_506_172_416),
            ("bge-v2.5-gemma2", 9_241_705_984 + 35 * 3584),
            ("bge-v2-m3", 567_755_777),
            ("bge-base", 278_044_417),
            ("bge-large", 559_891_457),
            ("minilm-l6", 22_713_601),
            ("minilm-l12", 33_360_385),
            ("tinybert-l2", 4_386_049),
            ("electra-base", 109_483_009),
            ("distilbert-base", 66_954_241),
            ("gte-modernbert", 149_605_633),
            ("gte-multilingual", 305_959_681),
            ("mxbai-base-v1", 184_422_913),
        ] {
            let shape = Shape::named(name).unwrap();
            let count: u64 = tensors(&shape)
                .iter()
                .filter(|t| t.fill != Fill::Positions)
                .map(TensorSpec::elements)
                .sum();
            assert_eq!(count, expected, "{name}");
        }
    }

    #[test]
    fn names_are_distinct() {
        for shape in &super::super::shapes::SHAPES {
            let list = tensors(shape);
            let names: HashSet<_> = list.iter().map(|t| &t.name).collect();
            assert_eq!(names.len(), list.len(), "{}", shape.name);
        }
    }
}
