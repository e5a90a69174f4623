//! Properties of random headers, good and bad.

use grating_io::{Dtype, TensorInfo};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;

use crate::invariants;
use crate::support::{image, open, read};

/// A tensor to be: whole bytes for every type, the packed ones included.
fn description() -> impl Strategy<Value = (Dtype, Vec<usize>)> {
    let dtypes: Vec<Dtype> = Dtype::all().filter(|dtype| !dtype.is_quantized()).collect();
    (select(dtypes), vec(0_usize..5, 0..4)).prop_map(|(dtype, mut shape)| {
        if dtype.block().0 != 1 {
            shape.push(4);
        }
        (dtype, shape)
    })
}

/// Tensors by name with distinct data; names are any text.
type Contents = Vec<(String, Dtype, Vec<usize>, Vec<u8>)>;

fn contents() -> impl Strategy<Value = Contents> {
    let name = any::<String>().prop_filter("reserved", |name| name != "__metadata__");
    let tensors = btree_map(name, description(), 0..8).prop_map(|map| {
        let mut next = 0_u8;
        let tensor = |(name, (dtype, shape)): (String, (Dtype, Vec<usize>))| {
            let bytes = dtype.byte_len(&shape).unwrap();
            let data = (0..bytes)
                .map(|_| {
                    next = next.wrapping_add(1);
                    next
                })
                .collect();
            (name, dtype, shape, data)
        };
        map.into_iter().map(tensor).collect::<Contents>()
    });
    tensors.prop_shuffle()
}

/// The header's text and the data, in the order of `contents`, then a permutation for the text.
fn encode(contents: &Contents, order: &[usize], metadata: bool, padding: usize) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, dtype, shape, bytes) in contents {
        let begin = data.len();
        data.extend_from_slice(bytes);
        let value = serde_json::json!({
            "dtype": dtype.name(), "shape": shape, "data_offsets": [begin, data.len()],
        });
        entries.push(format!("{}:{value}", serde_json::Value::from(name.as_str())));
    }
    let mut text: Vec<String> = order.iter().map(|&at| entries[at].clone()).collect();
    if metadata {
        text.push(r#""__metadata__":{"format":"pt"}"#.into());
    }
    image(&format!("{{{}}}{}", text.join(","), " ".repeat(padding)), &data)
}

proptest! {
    #[test]
    fn a_valid_header_round_trips(
        (contents, order) in contents().prop_flat_map(|contents| {
            let order = Just((0..contents.len()).collect::<Vec<_>>()).prop_shuffle();
            (Just(contents), order)
        }),
        metadata: bool,
        padding in 0_usize..16,
    ) {
        let checkpoint = open(encode(&contents, &order, metadata, padding)).unwrap();
        invariants::check(&checkpoint);
        prop_assert_eq!(checkpoint.tensors().count(), contents.len());
        for (name, dtype, shape, data) in &contents {
            let TensorInfo { dtype: found_dtype, shape: found_shape, .. } =
                checkpoint.tensor(name).unwrap();
            prop_assert_eq!((found_dtype, found_shape), (dtype, shape));
            prop_assert_eq!(&read(&checkpoint, name), data);
        }
    }

    #[test]
    fn a_part_of_a_tensor_is_that_part(
        length in 1_usize..200, cut in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let checkpoint = open(crate::support::vectors(&[("before", 3), ("t", length)])).unwrap();
        let (a, b) = (cut.0.index(length + 1), cut.1.index(length + 1));
        let (start, end) = (a.min(b), a.max(b));
        let whole = read(&checkpoint, "t");
        let mut part = vec![0; end - start];
        checkpoint.read_range(checkpoint.tensor("t").unwrap(), start as u64, &mut part).unwrap();
        prop_assert_eq!(&part, &whole[start..end]);
    }

    #[test]
    fn flipped_bytes_never_yield_a_range_outside(
        contents in contents(), flips in vec((any::<prop::sample::Index>(), 1_u8..), 1..6),
    ) {
        let order: Vec<_> = (0..contents.len()).collect();
        let mut bytes = encode(&contents, &order, true, 3);
        for (at, mask) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= mask;
        }
        invariants::header(&bytes);
    }

    #[test]
    fn random_entries_are_judged_without_a_panic(
        entries in vec((".{0,3}", "[A-Z0-9_]{0,6}|F32|U8", vec(any::<u64>(), 0..4), any::<[u64; 2]>()), 0..4),
        data in 0_usize..64,
    ) {
        let text: Vec<String> = entries
            .iter()
            .map(|(name, dtype, shape, offsets)| {
                let value = serde_json::json!({
                    "dtype": dtype, "shape": shape, "data_offsets": offsets,
                });
                format!("{}:{value}", serde_json::Value::from(name.as_str()))
            })
            .collect();
        invariants::header(&image(&format!("{{{}}}", text.join(",")), &vec![0; data]));
    }

    /// Small numbers hit the borders between overlap, hole and truncation.
    #[test]
    fn random_layouts_are_accepted_only_when_they_cover_the_data(
        ranges in vec((0_u64..12, 0_u64..12), 0..5), data in 0_usize..12,
    ) {
        let text: Vec<String> = ranges
            .iter()
            .enumerate()
            .map(|(n, (a, b))| {
                let (begin, end) = (a.min(b), a.max(b));
                let length = end - begin;
                format!(r#""{n}":{{"dtype":"U8","shape":[{length}],"data_offsets":[{begin},{end}]}}"#)
            })
            .collect();
        let bytes = image(&format!("{{{}}}", text.join(",")), &vec![0; data]);
        let owners = |byte: u64| ranges.iter().filter(|(a, b)| (*a.min(b)..*a.max(b)).contains(&byte)).count();
        let covered = (0..data as u64).all(|byte| owners(byte) == 1)
            && (data as u64..12).all(|byte| owners(byte) == 0);
        match open(bytes.clone()) {
            Ok(_) => prop_assert!(covered, "{ranges:?} over {data} bytes"),
            // An empty tensor within another, or after the end, is refused as well.
            Err(_) => prop_assert!(!covered || ranges.iter().any(|(a, b)| a == b)),
        }
        invariants::header(&bytes);
    }

    #[test]
    fn garbage_never_panics(bytes in vec(any::<u8>(), 0..200)) {
        invariants::header(&bytes);
        invariants::index(&bytes);
        invariants::header(&image(&format!("{{{}", bytes.escape_ascii()), b""));
    }

    #[test]
    fn random_indexes_never_panic(
        map in vec(("[a-d]|.{0,3}", "1|2|3|\\PC{0,4}|\\.\\./1"), 0..6),
    ) {
        let entries: Vec<String> = map
            .iter()
            .map(|(t, s)| format!("{}:{}", serde_json::json!(t), serde_json::json!(s)))
            .collect();
        invariants::index(format!(r#"{{"weight_map":{{{}}}}}"#, entries.join(",")).as_bytes());
    }
}
