//! Written checkpoints are opened by `grating-io`, as any model would be.

use std::fs;

use grating_io::{Checkpoint, Dtype as IoDtype};

use super::*;

fn args(shape: &str, out: &Path) -> RandomArgs {
    RandomArgs {
        shape: shape.to_owned(),
        out: out.to_owned(),
        dtype: None,
        seed: 1,
        layers: Some(1),
        vocab: Some(400),
        max_shard_bytes: MAX_SHARD_BYTES,
        empty: false,
        force: false,
    }
}

fn write(args: &RandomArgs) -> Checkpoint {
    random(args, &AtomicBool::new(false)).unwrap();
    Checkpoint::open(&args.out).unwrap()
}

fn bytes_of(checkpoint: &Checkpoint, name: &str) -> Vec<u8> {
    let tensor = checkpoint.tensor(name).unwrap();
    let mut bytes = vec![0; tensor.byte_len() as usize];
    checkpoint.read(tensor, &mut bytes).unwrap();
    bytes
}

#[test]
fn every_family_opens_with_all_its_tensors() {
    let root = tempfile::tempdir().unwrap();
    let names = [
        "qwen3-tiny",
        "smollm2-135m",
        "qwen2.5-0.5b",
        "tinybert-l2",
        "minilm-l6",
        "bge-v2-minicpm",
        "bge-v2-gemma",
        "bge-v2.5-gemma2",
        "electra-base",
        "distilbert-base",
        "gte-modernbert",
        "gte-multilingual",
        "mxbai-base-v1",
    ];
    for name in names {
        let args = args(name, &root.path().join(name));
        let checkpoint = write(&args);
        let mut shape = Shape::named(name).unwrap();
        (shape.layers, shape.vocab) = (1, 400);
        let expected = tensors::tensors(&shape);
        assert_eq!(checkpoint.tensors().count(), expected.len(), "{name}");
        for spec in &expected {
            assert_eq!(checkpoint.tensor(&spec.name).unwrap().shape, spec.shape, "{}", spec.name);
        }
        let config: Value =
            serde_json::from_slice(&fs::read(args.out.join("config.json")).unwrap()).unwrap();
        assert_eq!((&config["num_hidden_layers"], &config["vocab_size"]), (&1.into(), &400.into()));
        let is_layerwise = matches!(shape.family, shapes::Family::MiniCpm | shapes::Family::Gemma2);
        let says_its_prompt = shape.family.is_decoder() && !is_layerwise;
        assert_eq!(args.out.join("grating.json").exists(), says_its_prompt, "{name}");
    }
    let left = fs::read_dir(root.path()).unwrap().count();
    assert_eq!(left, names.len(), "no partial folders");
}

/// Encoders whose tensors and configuration the library must agree with.
#[test]
fn encoders_of_every_family_rank() {
    let root = tempfile::tempdir().unwrap();
    for name in
        ["electra-base", "distilbert-base", "gte-modernbert", "gte-multilingual", "mxbai-base-v1"]
    {
        let args = RandomArgs { vocab: Some(1500), ..args(name, &root.path().join(name)) };
        write(&args);
        let model = grating::Reranker::builder().model(args.out.to_str().unwrap());
        let texts = ["a window of glass", "the cat sat on the mat"];
        let answer = model.build().unwrap().run(grating::Request::new("what", &texts, 2)).unwrap();
        assert_eq!(answer.results.len(), 2, "{name}");
    }
}

#[test]
fn empty_models_have_the_same_tensors_and_are_planned_for() {
    let root = tempfile::tempdir().unwrap();
    let full = write(&args("qwen3-0.6b", &root.path().join("full")));
    let empty = RandomArgs { empty: true, ..args("qwen3-0.6b", &root.path().join("empty")) };
    let places = |checkpoint: &Checkpoint| -> Vec<_> {
        checkpoint.tensors().map(|t| (t.name.clone(), t.shape.clone(), t.range.clone())).collect()
    };
    assert_eq!(places(&write(&empty)), places(&full));
    let device = grating::PlannedDevice::new(1 << 30);
    let plan = grating::Reranker::builder().model(empty.out.to_str().unwrap());
    assert_eq!(plan.plan_for(&device, 4, 64).unwrap().layers, 1);
}

#[test]
fn shards_and_dtypes_do_not_change_the_values() {
    let root = tempfile::tempdir().unwrap();
    let whole = write(&RandomArgs {
        dtype: Some(Dtype::F32),
        ..args("qwen3-tiny", &root.path().join("whole"))
    });
    let cut = RandomArgs {
        dtype: Some(Dtype::F32),
        max_shard_bytes: 60_000,
        ..args("qwen3-tiny", &root.path().join("cut"))
    };
    let sharded = write(&cut);
    assert!(sharded.shards().len() > 2);
    assert!(cut.out.join("model.safetensors.index.json").exists());
    for tensor in whole.tensors() {
        assert_eq!(bytes_of(&whole, &tensor.name), bytes_of(&sharded, &tensor.name));
    }
    let half = write(&RandomArgs {
        dtype: Some(Dtype::F16),
        ..args("qwen3-tiny", &root.path().join("half"))
    });
    let name = "model.layers.0.mlp.up_proj.weight";
    assert_eq!(half.tensor(name).unwrap().dtype, IoDtype::F16);
    let wide = bytes_of(&whole, name);
    let wide = wide.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    for (wide, narrow) in wide.zip(bytes_of(&half, name).chunks_exact(2)) {
        assert_eq!(half::f16::from_f32(wide).to_le_bytes(), narrow);
    }
}

#[test]
fn the_seed_decides_the_bytes() {
    let root = tempfile::tempdir().unwrap();
    let file = |dir: &str, seed| {
        let args = RandomArgs { seed, ..args("bert-tiny", &root.path().join(dir)) };
        write(&args);
        fs::read(args.out.join("model.safetensors")).unwrap()
    };
    let first = file("a", 5);
    assert_eq!(first, file("b", 5));
    assert_ne!(first, file("c", 6));
}

#[test]
fn failure_and_interruption_leave_nothing() {
    let root = tempfile::tempdir().unwrap();
    let target = root.path().join("model");
    let error = random(&args("bert-tiny", &target), &AtomicBool::new(true)).unwrap_err();
    assert!(error.to_string().contains("interrupted"), "{error}");
    let too_small = RandomArgs { vocab: Some(10), ..args("bert-tiny", &target) };
    let error = random(&too_small, &AtomicBool::new(false)).unwrap_err().to_string();
    assert!(error.contains("256"), "{error}");
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
}
