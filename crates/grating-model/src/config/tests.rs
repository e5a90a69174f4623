//! What is read of a `config.json`, and what is refused by the name of its field.

use super::*;
use crate::rope::{RopeScaling, RopeSpec};
use grating_backend::Scored;

fn with(changes: &str) -> Result<ModelConfig> {
    Ok(with_spec(changes)?.0)
}

fn with_spec(changes: &str) -> Result<(ModelConfig, ModelSpec)> {
    let mut base: serde_json::Value = serde_json::from_str(
        r#"{"architectures":["Qwen3ForCausalLM"],"num_hidden_layers":2,"hidden_size":24,
        "num_attention_heads":3,"num_key_value_heads":1,"head_dim":10,"intermediate_size":40,
        "vocab_size":100,"max_position_embeddings":128,"rope_theta":1e6}"#,
    )
    .unwrap();
    let changes: serde_json::Value = serde_json::from_str(changes).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        base[key] = value.clone();
    }
    ModelConfig::with_spec(base.to_string().as_bytes())
}

#[test]
fn reads_sizes_that_do_not_multiply_up() {
    let config = with("{}").unwrap();
    assert_eq!((config.heads, config.kv_heads, config.head_dim), (3, 1, 10));
    let rope = RopeSpec { theta: 1e6, scaling: RopeScaling::None, width: 10 };
    assert_eq!(with_spec("{}").unwrap().1.ropes, [rope]);
    assert!(!config.tied);
}

#[test]
fn both_spellings_of_rope_agree() {
    let new = with_spec(
        r#"{"rope_theta":null,"rope_parameters":{"rope_theta":5e5,"rope_type":"default"}}"#,
    );
    assert_eq!(new.unwrap().1, with_spec(r#"{"rope_theta":5e5}"#).unwrap().1);
}

#[test]
fn each_bad_field_is_named() {
    for (change, name) in [
        (r#"{"hidden_size":0}"#, "hidden_size"),
        (r#"{"num_hidden_layers":null}"#, "num_hidden_layers"),
        (r#"{"num_key_value_heads":2}"#, "num_key_value_heads"),
        (r#"{"head_dim":9}"#, "head_dim"),
        (r#"{"hidden_act":"tanhshrink"}"#, "hidden_act"),
        (r#"{"rope_scaling":{"rope_type":"yarn","factor":4.0}}"#, "rope_scaling.rope_type"),
        (r#"{"use_sliding_window":true}"#, "use_sliding_window"),
        (r#"{"quantization_config":{"quant_method":"gptq"}}"#, "quantization_config"),
        (r#"{"vocab_size":18446744073709551615}"#, "vocab_size"),
        (r#"{"rms_norm_eps":-1}"#, "rms_norm_eps"),
    ] {
        match with(change) {
            Err(ModelError::Config { field, .. }) => assert_eq!(field, name),
            other => panic!("{change}: {other:?}"),
        }
    }
}

#[test]
fn a_classifier_with_two_labels_is_no_reranker() {
    let two = r#"{"architectures":["BertForSequenceClassification"],"id2label":{"0":"a","1":"b"}}"#;
    assert!(matches!(with(two), Err(ModelError::Config { field: "id2label / num_labels", .. })));
    let error = with(two).unwrap_err().to_string();
    assert!(
        error.contains("CrossEncoder.rank") && error.contains("the relevant row less"),
        "{error}"
    );
}

#[test]
fn a_config_without_an_architecture_is_told_what_to_add() {
    for change in [r#"{"architectures":null}"#, r#"{"architectures":[]}"#] {
        let error = with(change).unwrap_err();
        assert!(matches!(error, ModelError::NoArchitecture { .. }), "{error}");
        assert!(error.to_string().contains(r#"["Qwen3ForCausalLM"]"#), "{error}");
    }
}

#[test]
fn unknown_architectures_are_refused_with_the_list() {
    let error = with(r#"{"architectures":["MambaForCausalLM"]}"#).unwrap_err().to_string();
    assert!(error.contains("MambaForCausalLM") && error.contains("Qwen3ForCausalLM"), "{error}");
}

#[test]
fn gte_is_read_as_its_own_code_has_it_and_other_variants_are_named() {
    let gte = |changes: &str| {
        let base = r#"{"architectures":["NewForSequenceClassification"],"num_labels":1,"num_attention_heads":4,
            "num_key_value_heads":null,"head_dim":null,"rope_theta":null,"position_embedding_type":"rope""#;
        with_spec(&format!("{base}{changes}}}"))
    };
    let ntk = r#","rope_theta":2e4,"rope_scaling":{"type":"ntk","factor":8.0}"#;
    let rope = RopeSpec { theta: 2e4, scaling: RopeScaling::Ntk { factor: 8.0 }, width: 6 };
    assert_eq!(gte(ntk).unwrap().1.ropes, [rope]);
    assert_eq!(gte("").unwrap().1.ropes[0].theta, 1e4);
    for (change, name) in [
        (r#","pack_qkv":false"#, "pack_qkv"),
        (r#","logn_attention_scale":true"#, "logn_attention_scale"),
        (r#","layer_norm_type":"rms_norm""#, "layer_norm_type"),
        (r#","position_embedding_type":"absolute""#, "position_embedding_type"),
        (r#","rope_scaling":{"type":"ntk","factor":8.0,"mixed_b":0.2}"#, "rope_scaling.mixed_b"),
    ] {
        match gte(change) {
            Err(ModelError::Config { field, .. }) => assert_eq!(field, name),
            other => panic!("{change}: {other:?}"),
        }
    }
    let other = with(r#"{"rope_scaling":{"rope_type":"ntk","factor":4.0}}"#);
    assert!(matches!(other, Err(ModelError::Config { field: "rope_scaling.rope_type", .. })));
}

#[test]
fn sizes_are_read_under_a_familys_own_names() {
    let json = r#"{"architectures":["DistilBertForSequenceClassification"],"num_labels":1,"n_layers":3,"dim":24,
        "n_heads":2,"hidden_dim":50,"vocab_size":9,"max_position_embeddings":16}"#;
    let config = ModelConfig::from_json(json.as_bytes()).unwrap();
    let ModelConfig { layers, hidden, heads, intermediate, .. } = config;
    assert_eq!((layers, hidden, heads, intermediate), (3, 24, 2, 50));
}

#[test]
fn other_kinds_of_models_are_refused_with_a_reranker_to_take_instead() {
    for (architecture, what, instead) in [
        ("BertModel", "embedding models", "cross-encoder/ms-marco-MiniLM-L6-v2"),
        ("XLMRobertaModel", "embedding models", "BAAI/bge-reranker-v2-m3"),
        ("BertForMaskedLM", "fills in words", "cross-encoder/ms-marco-MiniLM-L6-v2"),
        ("ModernBertForMaskedLM", "fills in words", "Alibaba-NLP/gte-reranker-modernbert-base"),
        ("NewModel", "embedding models", "Alibaba-NLP/gte-multilingual-reranker-base"),
        ("Qwen3Model", "embedding models", "Qwen/Qwen3-Reranker-0.6B"),
        ("DebertaV2ForTokenClassification", "labels words", "mixedbread-ai/mxbai-rerank-base-v1"),
        ("T5ForConditionalGeneration", "writes text", "cross-encoder/ms-marco-MiniLM-L6-v2"),
    ] {
        let error = with(&format!(r#"{{"architectures":["{architecture}"]}}"#)).unwrap_err();
        assert!(matches!(error, ModelError::NoReranker { .. }), "{architecture}: {error}");
        let words = error.to_string();
        assert!([architecture, what, instead].iter().all(|part| words.contains(part)), "{words}");
    }
}

#[test]
fn a_family_reads_fields_of_its_own_and_refuses_what_it_cannot_run() {
    let modern = |changes: &str| {
        let base = r#"{"architectures":["ModernBertForSequenceClassification"],"num_labels":1,"num_attention_heads":4,
            "num_key_value_heads":null,"head_dim":null,"rope_theta":null"#;
        with_spec(&format!("{base}{changes}}}"))
    };
    let (_, spec) = modern(r#","num_hidden_layers":4,"local_attention":10"#).unwrap();
    let windows = spec.layers.iter().map(|layer| layer.attention.attention.window);
    assert_eq!(windows.collect::<Vec<_>>(), [None, Some(5), Some(5), None]);
    assert_eq!(spec.ropes.iter().map(|rope| rope.theta).collect::<Vec<_>>(), [160_000.0, 10_000.0]);
    assert!(spec.layers[0].attention.before.is_none() && spec.layers[1].attention.before.is_some());
    assert_eq!(spec.scored, Scored::First);
    let (_, spec) = modern(r#","classifier_pooling":"mean""#).unwrap();
    assert_eq!(spec.scored, Scored::Mean);
    for (change, name) in [
        (r#","classifier_pooling":"max""#, "classifier_pooling"),
        (r#","layer_types":["full_attention"]"#, "layer_types"),
        (r#","layer_types":["linear_attention","full_attention"]"#, "layer_types"),
        (r#","hidden_activation":"mish""#, "hidden_activation"),
        (r#","norm_bias":"yes""#, "norm_bias"),
        (r#","local_rope_theta":-3"#, "rope_theta"),
        (r#","rope_scaling":{"rope_type":"linear","factor":2.0}"#, "rope_scaling"),
        (
            r#","rope_parameters":{"full_attention":{"rope_type":"yarn"}}"#,
            "rope_parameters.rope_type",
        ),
        (r#","num_attention_heads":8"#, "num_attention_heads"),
    ] {
        match modern(change) {
            Err(ModelError::Config { field, .. }) => assert_eq!(field, name),
            other => panic!("{change}: {other:?}"),
        }
    }
}
