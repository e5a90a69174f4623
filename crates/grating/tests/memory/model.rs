//! A checkpoint that is large enough for memory to tell: a golden one with wider layers and arbitrary weights.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// Sizes of the golden checkpoint, and what they become: hidden width, feed-forward width, positions.
const WIDER: [(u64, u64); 3] = [(42, 336), (60, 1344), (160, 512)];

/// Golden checkpoints of `grating-model`.
pub(crate) fn goldens() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../grating-model/tests/goldens")
}

/// 23 MB in four layers; removed with what is returned.
pub(crate) fn generated() -> tempfile::TempDir {
    let golden = goldens().join("bert-gelu-f32");
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read(golden.join(name)).unwrap();
    let mut config: Value = serde_json::from_slice(&read("config.json")).unwrap();
    for name in ["hidden_size", "intermediate_size", "max_position_embeddings"] {
        config[name] = json!(wider(config[name].as_u64().unwrap()));
    }
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), read("tokenizer.json")).unwrap();

    let image = read("model.safetensors");
    let header_len = u64::from_le_bytes(image[..8].try_into().unwrap()) as usize;
    let header: Map<String, Value> = serde_json::from_slice(&image[8..8 + header_len]).unwrap();
    let mut tensors = Map::new();
    let mut end = 0;
    for (name, tensor) in header.into_iter().filter(|(name, _)| name != "__metadata__") {
        let shape = tensor["shape"].as_array().unwrap().iter();
        let shape: Vec<u64> = shape.map(|n| wider(n.as_u64().unwrap())).collect();
        let bytes = 4 * shape.iter().product::<u64>();
        tensors.insert(
            name,
            json!({"dtype": "F32", "shape": shape, "data_offsets": [end, end + bytes]}),
        );
        end += bytes;
    }
    let header = Value::Object(tensors).to_string();
    let mut file = Vec::with_capacity(end as usize + header.len() + 8);
    file.extend((header.len() as u64).to_le_bytes());
    file.extend(header.as_bytes());
    let mut state = 1u32;
    for _ in 0..end / 4 {
        // Numerical Recipes' generator: any weights do, as long as nothing overflows.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let weight = (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
        file.extend((0.1 * weight).to_le_bytes());
    }
    std::fs::write(folder.path().join("model.safetensors"), file).unwrap();
    folder
}

fn wider(size: u64) -> u64 {
    WIDER.iter().find(|(golden, _)| *golden == size).map_or(size, |(_, wider)| *wider)
}
