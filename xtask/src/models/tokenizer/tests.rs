//! Each tokenizer is loaded by the `tokenizers` crate and used on awkward text.

use tokenizers::Tokenizer;

use super::*;

const ENGLISH: &str = "The capital of France is Paris, and the river that flows through the city \
    is the Seine. Scientists measure the temperature of the water every week of the year.";
const OTHERS: &str = "Größe, naïve café; Москва́, 東京 한국어 \u{1F980}\u{0} \t\r\n x=1.5e-3";

fn tokenizer(name: &str, vocab: Option<usize>) -> (Shape, Tokenizer) {
    let mut shape = Shape::named(name).unwrap();
    shape.vocab = vocab.unwrap_or(shape.vocab);
    let mut json = Vec::new();
    write(&shape, &mut json).unwrap();
    let tokenizer = Tokenizer::from_bytes(&json).unwrap_or_else(|e| panic!("{name}: {e}"));
    (shape, tokenizer)
}

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec()
}

#[test]
fn every_kind_has_its_size_and_takes_any_text() {
    for name in ["qwen3-tiny", "qwen2.5-0.5b", "smollm2-135m", "bge-base", "bert-tiny"] {
        let (shape, tokenizer) = tokenizer(name, Some(1500));
        assert_eq!(tokenizer.get_vocab_size(true), shape.tokenizer_entries(), "{name}");
        assert!(ids(&tokenizer, "").is_empty());
        let largest = ids(&tokenizer, OTHERS).into_iter().max().unwrap();
        assert!((largest as usize) < shape.vocab, "{name}");
    }
}

#[test]
fn qwen3_has_the_public_ids() {
    let (_, qwen) = tokenizer("qwen3-0.6b", None);
    assert_eq!(qwen.get_vocab_size(true), 151_669);
    assert_eq!(ids(&qwen, "yes"), [9693]);
    assert_eq!(ids(&qwen, "no"), [2152]);
    assert_eq!(
        ids(&qwen, "<|im_start|><|im_end|><think></think>"),
        [151_644, 151_645, 151_667, 151_668]
    );
    assert_eq!(ids(&qwen, "\n\n").len(), 1);
    // Lossless, and about as dense as the public vocabulary on plain English.
    for text in [ENGLISH, OTHERS] {
        let decoded = qwen.decode(&ids(&qwen, text), false).unwrap();
        assert_eq!(decoded, text, "byte-level text survives");
    }
    assert!(ENGLISH.len() as f64 / ids(&qwen, ENGLISH).len() as f64 > 3.5);
}

#[test]
fn llama_and_small_vocabularies_keep_the_answers() {
    let (_, smol) = tokenizer("smollm2-135m", None);
    assert_eq!(smol.get_vocab_size(true), 49_152);
    assert_eq!((ids(&smol, "no"), ids(&smol, "yes")), (vec![4607], vec![10407]));
    assert_eq!(ids(&smol, "<|im_start|><|im_end|>"), [1, 2]);
    for name in ["smollm2-135m", "qwen2.5-0.5b", "qwen3-tiny"] {
        let (_, small) = tokenizer(name, Some(300));
        for answer in ["yes", "no"] {
            assert_eq!(ids(&small, answer).len(), 1, "{name} {answer}");
        }
    }
}

#[test]
fn qwen2_leaves_the_padding_rows_unnamed() {
    let shape = Shape::named("qwen2.5-0.5b").unwrap();
    assert_eq!((shape.vocab, shape.tokenizer_entries()), (151_936, 151_665));
    assert_eq!(special_ids(&shape).end_of_turn, 151_645);
}

#[test]
fn pairs_are_framed_as_the_public_models_frame_them() {
    let (_, bert) = tokenizer("minilm-l6", None);
    let pair = bert.encode_fast(("the water", "the river"), true).unwrap();
    let tokens = pair.get_ids().iter().map(|&id| bert.id_to_token(id).unwrap()).collect::<Vec<_>>();
    assert_eq!(tokens, ["[CLS]", "the", "water", "[SEP]", "the", "river", "[SEP]"]);
    assert_eq!(pair.get_type_ids(), [0, 0, 0, 0, 1, 1, 1]);
    assert_eq!((pair.get_ids()[0], pair.get_ids()[3]), (101, 102));

    let (_, xlmr) = tokenizer("bge-v2-m3", None);
    assert_eq!(xlmr.get_vocab_size(true), 250_002);
    let pair = xlmr.encode_fast(("the water", "river"), true).unwrap();
    let tokens = pair.get_ids().iter().map(|&id| xlmr.id_to_token(id).unwrap()).collect::<Vec<_>>();
    assert_eq!(tokens, ["<s>", "▁the", "▁water", "</s>", "</s>", "▁river", "</s>"]);
    assert_eq!(xlmr.token_to_id("<mask>"), Some(250_001));
    assert!(!ids(&xlmr, "Größe 東京 한국어").contains(&3), "known characters");
}

#[test]
fn a_vocabulary_too_small_is_refused() {
    for (name, vocab) in [("qwen3-tiny", 284), ("bert-tiny", 255), ("bge-base", 255)] {
        let mut shape = Shape::named(name).unwrap();
        shape.vocab = vocab;
        let error = write(&shape, &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("at least"), "{error}");
    }
}
