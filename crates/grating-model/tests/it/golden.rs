//! Every family and form on the CPU against `transformers`, layer by layer.

use grating_model::{CpuOps, Encoding, Isa, LoadedModel, Precision};

use crate::goldens::{Pair, TOLERANCE, cases, check, load, pairs, trace};

/// [`TOLERANCE`] where inputs of bf16 matrices are rounded to bf16.
const ROUNDED: f32 = 1e-1;

/// Ids that all candidates begin with, leaving each at least one of its own.
fn common_prefix(texts: &[Encoding]) -> usize {
    let first = &texts[0].ids;
    let shared = |t: &Encoding| first.iter().zip(&t.ids).take_while(|(a, b)| a == b).count();
    let shortest = texts.iter().map(|t| t.ids.len()).min().unwrap();
    texts.iter().map(shared).min().unwrap().min(shortest - 1)
}

#[test]
fn ids_of_every_pair_are_the_reference_tokenizers() {
    for case in cases() {
        for pair in pairs(&case) {
            let (loaded, _) = load(&case, pair.max_tokens, pair.special);
            let encoding = encode(&loaded, &pair);
            let at = format!("{}: {:?} / {:?}", case.display(), pair.query, pair.document);
            assert_eq!(encoding.ids, pair.ids, "{at}");
            assert_eq!(encoding.truncated, pair.truncated, "{at}");
            let types = |types: &[u8]| types.iter().any(|t| *t > 0).then(|| types.to_vec());
            assert_eq!(types(&encoding.type_ids), types(&pair.type_ids), "{at}");
        }
    }
}

#[test]
fn cpu_logits_after_every_layer_are_the_references_on_every_instruction_set() {
    for isa in Isa::supported() {
        check(&CpuOps::new(isa, Precision::Full), |_| TOLERANCE);
    }
}

#[test]
fn exact_precision_stays_near_the_reference() {
    // The goldens are computed in f32 throughout, whatever the checkpoint's type; inputs of bf16 matrices are rounded
    // to 8 bits here, so a logit of these narrow models may move in its third digit.
    for isa in Isa::supported() {
        check(&CpuOps::new(isa, Precision::Exact), |case| match case.contains("bf16") {
            true => ROUNDED,
            false => TOLERANCE,
        });
    }
}

#[test]
fn a_candidate_scores_the_same_to_the_bit_alone_in_company_and_after_a_shared_prefix() {
    for (case, isa) in
        cases().iter().flat_map(|c| Isa::supported().into_iter().map(move |i| (c, i)))
    {
        let ops = CpuOps::new(isa, Precision::Exact);
        let pairs = pairs(case);
        let (loaded, checkpoint) = load(case, pairs[0].max_tokens, false);
        let texts: Vec<Encoding> = pairs.iter().map(Pair::encoding).collect();
        let together = trace(&ops, &loaded, &checkpoint, &texts, 0);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        for (candidate, text) in texts.iter().enumerate().take(4) {
            let text = std::slice::from_ref(text);
            let alone = pool.install(|| trace(&ops, &loaded, &checkpoint, text, 0));
            for (layer, scores) in alone.iter().enumerate() {
                assert_eq!(scores[0].0, together[layer][candidate].0, "{candidate} after {layer}");
            }
        }
        if loaded.model.can_share_prefix() {
            let prefix = common_prefix(&texts);
            let shared = trace(&ops, &loaded, &checkpoint, &texts, prefix);
            assert_eq!(format!("{shared:?}"), format!("{together:?}"), "prefix of {prefix}");
        }
    }
}

fn encode(loaded: &LoadedModel, pair: &Pair) -> Encoding {
    let query = loaded.encoder.encode_query(&pair.query, pair.instruction.as_deref()).unwrap();
    loaded.encoder.encode(&query, &pair.document).unwrap()
}
