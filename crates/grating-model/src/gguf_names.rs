//! The names that llama.cpp gives the tensors of the families here (`tensor_mapping.py` of its `gguf` package).

use grating_io::Checkpoint;

/// Whether tensors go by llama.cpp's names; checkpoints of our own making keep the original ones.
pub(crate) fn are_used(checkpoint: &Checkpoint) -> bool {
    checkpoint.get("token_embd.weight").is_some()
}

/// llama.cpp's name for a tensor, given in full as `transformers` names it.
pub(crate) fn of(name: &str) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.')?;
    // Before PyTorch's LayerNorm the same was called gamma and beta; llama.cpp never did.
    if !matches!(kind, "weight" | "bias") {
        return None;
    }
    if let Some((_, stem)) = OUTSIDE_LAYERS.iter().find(|(original, _)| *original == stem) {
        return Some(format!("{stem}.{kind}"));
    }
    let within = ["model.layers.", "bert.encoder.layer.", "roberta.encoder.layer."]
        .iter()
        .find_map(|prefix| stem.strip_prefix(prefix))?;
    let (layer, stem) = within.split_once('.')?;
    let (_, stem) = IN_A_LAYER.iter().find(|(original, _)| *original == stem)?;
    Some(format!("blk.{layer}.{stem}.{kind}"))
}

/// Tensors that llama.cpp adds to models that have none of them, or keeps beside a tied head.
pub(crate) fn is_harmless(name: &str) -> bool {
    ["rope_freqs.weight", "output.weight", "cls.output.weight"].contains(&name)
}

const OUTSIDE_LAYERS: [(&str, &str); 16] = [
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
    ("score", "cls.output"),
    ("bert.embeddings.word_embeddings", "token_embd"),
    ("bert.embeddings.position_embeddings", "position_embd"),
    ("bert.embeddings.token_type_embeddings", "token_types"),
    ("bert.embeddings.LayerNorm", "token_embd_norm"),
    ("bert.pooler.dense", "cls"),
    ("classifier", "cls.output"),
    ("roberta.embeddings.word_embeddings", "token_embd"),
    ("roberta.embeddings.position_embeddings", "position_embd"),
    ("roberta.embeddings.token_type_embeddings", "token_types"),
    ("roberta.embeddings.LayerNorm", "token_embd_norm"),
    ("classifier.dense", "cls"),
    ("classifier.out_proj", "cls.output"),
];

const IN_A_LAYER: [(&str, &str); 19] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("attention.self.query", "attn_q"),
    ("attention.self.key", "attn_k"),
    ("attention.self.value", "attn_v"),
    ("attention.output.dense", "attn_output"),
    ("attention.output.LayerNorm", "attn_output_norm"),
    ("intermediate.dense", "ffn_up"),
    ("output.dense", "ffn_down"),
    ("output.LayerNorm", "layer_output_norm"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_kinds_of_model() {
        for (original, expected) in [
            ("model.embed_tokens.weight", "token_embd.weight"),
            ("model.layers.17.self_attn.q_proj.bias", "blk.17.attn_q.bias"),
            ("bert.encoder.layer.0.attention.output.LayerNorm.bias", "blk.0.attn_output_norm.bias"),
            ("roberta.encoder.layer.23.output.dense.weight", "blk.23.ffn_down.weight"),
            ("classifier.out_proj.weight", "cls.output.weight"),
            ("classifier.weight", "cls.output.weight"),
        ] {
            assert_eq!(of(original).as_deref(), Some(expected));
        }
        for other in ["", "weight", "bert.embeddings.LayerNorm.gamma", "model.layers.0.mlp.weight"]
        {
            assert_eq!(of(other), None);
        }
    }
}
