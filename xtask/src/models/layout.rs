//! Where each tensor lies: shards and safetensors headers as Hugging Face writes them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::shapes::Dtype;
use super::tensors::{Fill, TensorSpec};
use super::values::element_bytes;

/// Largest shard, the default of `save_pretrained` (5 GB, decimal).
pub(crate) const MAX_SHARD_BYTES: u64 = 5_000_000_000;

/// One tensor in its file.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) spec: TensorSpec,
    /// First byte within the file.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

/// One safetensors file.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) file_name: String,
    /// The length word and the JSON header.
    pub(crate) header: Vec<u8>,
    /// In the order of their offsets.
    pub(crate) tensors: Vec<Placed>,
    /// Size of the whole file.
    pub(crate) file_bytes: u64,
}

/// Cuts the list, in its order, into shards of at most `max_bytes` of data (a larger tensor has a
/// shard of its own) and places each shard's tensors.
pub(crate) fn shards(tensors: Vec<TensorSpec>, dtype: Dtype, max_bytes: u64) -> Vec<Shard> {
    let mut groups: Vec<Vec<TensorSpec>> = vec![Vec::new()];
    let mut filled = 0;
    for spec in tensors {
        let bytes = spec.elements() * element_bytes(&spec, dtype);
        if filled > 0 && filled + bytes > max_bytes {
            groups.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        groups.last_mut().expect("starts with one group").push(spec);
    }
    let count = groups.len();
    let file_name = |i: usize| match count {
        1 => "model.safetensors".to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", i + 1),
    };
    groups.into_iter().enumerate().map(|(i, group)| shard(file_name(i), group, dtype)).collect()
}

/// Places the tensors of one file: wider elements first, then by name, as the safetensors library
/// does, so that every tensor is aligned to its elements.
fn shard(file_name: String, mut specs: Vec<TensorSpec>, dtype: Dtype) -> Shard {
    specs.sort_by(|a, b| {
        let width = |spec| std::cmp::Reverse(element_bytes(spec, dtype));
        width(a).cmp(&width(b)).then_with(|| a.name.cmp(&b.name))
    });
    let mut json = String::from(r#"{"__metadata__":{"format":"pt"}"#);
    let mut end = 0;
    let mut tensors = Vec::with_capacity(specs.len());
    for spec in specs {
        let bytes = spec.elements() * element_bytes(&spec, dtype);
        let (start, name) = (end, &spec.name);
        end += bytes;
        let dtype = if spec.fill == Fill::Positions { "I64" } else { dtype.safetensors() };
        // Writing to a String cannot fail, and the names need no escapes.
        let _ = write!(
            json,
            r#","{name}":{{"dtype":"{dtype}","shape":{},"data_offsets":[{start},{end}]}}"#,
            json!(spec.shape)
        );
        tensors.push(Placed { spec, offset: start, bytes });
    }
    json.push('}');
    while json.len() % 8 != 0 {
        json.push(' ');
    }
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend_from_slice(json.as_bytes());
    for tensor in &mut tensors {
        tensor.offset += header.len() as u64;
    }
    let file_bytes = header.len() as u64 + end;
    Shard { file_name, header, tensors, file_bytes }
}

/// model.safetensors.index.json, where there are several shards.
pub(crate) fn index(shards: &[Shard]) -> Option<Value> {
    if shards.len() < 2 {
        return None;
    }
    let tensors = || shards.iter().flat_map(|s| s.tensors.iter().map(|t| (&s.file_name, t)));
    let total: u64 = tensors().map(|(_, t)| t.bytes).sum();
    let weight_map: serde_json::Map<String, Value> =
        tensors().map(|(file, t)| (t.spec.name.clone(), json!(file))).collect();
    Some(json!({"metadata": {"total_size": total}, "weight_map": weight_map}))
}

#[cfg(test)]
mod tests {
    use super::super::shapes::Shape;
    use super::super::tensors::tensors;
    use super::*;

    #[test]
    fn large_models_are_cut_below_the_limit() {
        for (name, files) in [("qwen3-0.6b", 1), ("qwen3-4b", 2), ("qwen3-8b", 4), ("bge-v2-m3", 1)]
        {
            let shape = Shape::named(name).unwrap();
            let all = tensors(&shape);
            let count = all.len();
            let shards = shards(all, shape.dtype, MAX_SHARD_BYTES);
            assert_eq!(shards.len(), files, "{name}");
            assert_eq!(shards.iter().map(|s| s.tensors.len()).sum::<usize>(), count);
            for shard in &shards {
                let data: u64 = shard.tensors.iter().map(|t| t.bytes).sum();
                assert!(data <= MAX_SHARD_BYTES);
                assert_eq!(shard.file_bytes, shard.header.len() as u64 + data);
            }
            assert_eq!(index(&shards).is_some(), files > 1);
        }
    }

    #[test]
    fn offsets_follow_each_other_and_wide_elements_come_first() {
        let shape = Shape::named("bert-tiny").unwrap();
        let shards = shards(tensors(&shape), Dtype::F16, MAX_SHARD_BYTES);
        let mut next = shards[0].header.len() as u64;
        assert_eq!(next % 8, 0);
        assert_eq!(shards[0].tensors[0].spec.name, "bert.embeddings.position_ids");
        for tensor in &shards[0].tensors {
            assert_eq!(tensor.offset, next, "{}", tensor.spec.name);
            next += tensor.bytes;
        }
    }

    #[test]
    fn a_tensor_beyond_the_limit_has_a_shard_of_its_own() {
        let spec = |name: &str, n| TensorSpec {
            name: name.to_owned(),
            shape: vec![n],
            fill: Fill::Constant(1.0),
        };
        let list = vec![spec("a", 10), spec("b", 100), spec("c", 10), spec("d", 10)];
        let shards = shards(list, Dtype::F32, 80);
        let names: Vec<Vec<&str>> = shards
            .iter()
            .map(|s| s.tensors.iter().map(|t| t.spec.name.as_str()).collect())
            .collect();
        assert_eq!(names, [vec!["a"], vec!["b"], vec!["c", "d"]]);
        assert_eq!(shards[2].file_name, "model-00003-of-00003.safetensors");
    }
}
