//! Ids of every pair of the golden checkpoints against the reference tokenizers.
#![allow(clippy::unwrap_used)] // helpers of tests; the exemption of clippy.toml covers the tests alone

use grating_conformance::golden::{cases, load};
use grating_conformance::layers::{Pair, pairs};
use grating_model::{Encoding, LoadedModel};

#[test]
fn ids_of_every_pair_are_the_reference_tokenizers() {
    for case in cases() {
        for pair in pairs(&case) {
            let (loaded, _) = load(&case, Some(pair.max_tokens), pair.special);
            let encoding = encode(&loaded, &pair);
            let at = format!("{}: {:?} / {:?}", case.display(), pair.query, pair.document);
            assert_eq!(encoding.ids, pair.ids, "{at}");
            assert_eq!(encoding.truncated, pair.truncated, "{at}");
            let types = |types: &[u8]| types.iter().any(|t| *t > 0).then(|| types.to_vec());
            assert_eq!(types(&encoding.type_ids), types(&pair.type_ids), "{at}");
        }
    }
}

fn encode(loaded: &LoadedModel, pair: &Pair) -> Encoding {
    let query = loaded.encoder.encode_query(&pair.query, pair.instruction.as_deref()).unwrap();
    loaded.encoder.encode(&query, &pair.document).unwrap()
}
