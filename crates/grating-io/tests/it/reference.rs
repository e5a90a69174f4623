//! Our reader against the reference implementation, the `safetensors` crate.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize};

use crate::support::{open, read};

/// Everything we say of an image must be what the reference says of it.
fn same_as_reference(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(ours) = open(bytes) else { return Ok(()) };
    let theirs = SafeTensors::deserialize(bytes)
        .map_err(|e| TestCaseError::fail(format!("we accept what the reference refuses: {e}")))?;
    prop_assert_eq!(ours.tensors().count(), theirs.len());
    for tensor in ours.tensors() {
        let view = theirs.tensor(&tensor.name).expect("the reference knows our tensors");
        prop_assert_eq!(&tensor.dtype.to_string(), &view.dtype().to_string());
        prop_assert_eq!(&tensor.shape, view.shape());
        prop_assert_eq!(&read(&ours, &tensor.name)[..], view.data());
    }
    Ok(())
}

/// An image as the reference writes it.
fn written() -> impl Strategy<Value = Vec<u8>> {
    let dtype = prop::sample::select(vec![
        Dtype::F64,
        Dtype::F32,
        Dtype::F16,
        Dtype::BF16,
        Dtype::I64,
        Dtype::U8,
        Dtype::BOOL,
        Dtype::F8_E4M3,
    ]);
    let name = any::<String>().prop_filter("reserved", |name| name != "__metadata__");
    let tensors = btree_map(name, (dtype, vec(0_usize..4, 0..4)), 0..6);
    (tensors, any::<bool>()).prop_map(|(tensors, metadata)| {
        let data: BTreeMap<_, _> = tensors
            .into_iter()
            .map(|(name, (dtype, shape))| {
                let bytes = shape.iter().product::<usize>() * dtype.bitsize() / 8;
                (name, (dtype, shape, vec![42; bytes]))
            })
            .collect();
        let views = data.iter().map(|(name, (dtype, shape, data))| {
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        let metadata = metadata.then(|| [("format".to_string(), "pt".to_string())].into());
        serialize(views, metadata).unwrap()
    })
}

proptest! {
    #[test]
    fn what_the_reference_writes_we_read(bytes in written()) {
        prop_assert!(open(bytes.clone()).is_ok());
        same_as_reference(&bytes)?;
    }

    #[test]
    fn what_we_accept_of_damaged_files_the_reference_accepts(
        bytes in written(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = bytes;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        same_as_reference(&bytes)?;
    }
}

#[test]
fn both_know_the_same_data_types() {
    for dtype in grating_io::Dtype::all().filter(|dtype| !dtype.is_quantized()) {
        let theirs: Dtype = serde_json::from_str(&format!("\"{dtype}\"")).unwrap();
        let (elements, bytes) = dtype.block();
        assert_eq!(theirs.bitsize() * elements, 8 * bytes, "{dtype}");
    }
}

/// Where we are stricter on purpose; the crate's documentation gives the reasons.
#[test]
fn differences_are_these() {
    let entry = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    let deep = vec!["0"; 65].join(",");
    for header in [
        format!(" {{\"a\":{entry}}}"),
        format!(r#"{{"a":{entry},"a":{entry}}}"#),
        r#"{"a":["U8",[0],[0,0]]}"#.to_string(),
        format!(r#"{{"a":{{"dtype":"U8","shape":[{deep}],"data_offsets":[0,0]}}}}"#),
        format!(r#"{{"a":{{"dtype":"U8","shape":[0,{0},{0}],"data_offsets":[0,0]}}}}"#, usize::MAX),
    ] {
        let bytes = crate::support::image(&header, b"");
        assert!(SafeTensors::deserialize(&bytes).is_ok(), "the reference refuses {header}");
        assert!(open(bytes).is_err(), "we accept {header}");
    }
}
