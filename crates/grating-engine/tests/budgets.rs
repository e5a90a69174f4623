//! Scores do not depend on the budget: whole layers or halves of them, chunks on disk or in memory.
#![allow(clippy::unwrap_used)] // a failed test should panic

use std::path::Path;
use std::sync::Arc;

use grating_engine::{Engine, EngineError, EngineOptions, Job};
use grating_io::Checkpoint;
use grating_model::{CpuOps, Encoding, Isa, LoadOptions, LoadedModel, Precision, SideFiles};
use grating_sched::{BlockUnit, PlanError, PoolShape};

/// Bytes from one budget to the next.
const STEP: u64 = 16 << 10;

/// An engine on a golden checkpoint, and four candidates for it.
fn engine(case: &str, budget: Option<u64>) -> (Engine, Vec<Encoding>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../grating-model/tests/goldens");
    let folder = folder.join(case);
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let (config, tokenizer) = (read("config.json"), read("tokenizer.json"));
    let grating = std::fs::read(folder.join("grating.json")).ok();
    let options = LoadOptions::default();
    let LoadedModel { model, encoder, .. } = LoadedModel::load(
        &config,
        &tokenizer,
        grating.as_deref(),
        &SideFiles::default(),
        &checkpoint,
        options,
    )
    .unwrap();
    let query = encoder.encode_query("which window slides", None).unwrap();
    let texts = ["two layers of weights slide", "the cat sat", "glass", "a river by the window"];
    let encodings = texts.map(|text| encoder.encode(&query, text).unwrap()).to_vec();
    let threads = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap());
    let ops = CpuOps::new(Isa::detect(), Precision::Exact);
    let mut options = EngineOptions::new(1, std::env::temp_dir());
    options.machine.host.budget = budget;
    let engine = Engine::start(case.into(), model, checkpoint, ops, threads, options).unwrap();
    (engine, encodings)
}

/// The bits of all scores, and what the plan took for a block; or the least budget, where that one is too small.
fn scores(case: &str, budget: Option<u64>) -> Result<(Vec<u32>, BlockUnit), u64> {
    let (engine, encodings) = engine(case, budget);
    match engine.select(Job::new(encodings, 2), |_| ()) {
        Ok(scored) => {
            let bits = scored.logits.iter().map(|logit| logit.0.to_bits()).collect();
            Ok((bits, scored.plan.layout.weights.unit))
        }
        Err(EngineError::Plan(PlanError::BudgetTooSmall { minimum, .. })) => Err(minimum),
        Err(error) => panic!("{case}: {error}"),
    }
}

#[test]
fn scores_within_every_budget_are_those_without_one() {
    for case in ["qwen3-tied-f32", "qwen3-score-bf16", "bert-gelu-f32", "xlm-roberta-f32"] {
        let (expected, _) = scores(case, None).unwrap();
        let mut blocks = Vec::new();
        let mut budget = 1;
        // From the least budget to one for whole layers. The least one grows with what else is resident here.
        for _ in 0..200 {
            match scores(case, Some(budget)) {
                Ok((found, block)) => {
                    assert_eq!(found, expected, "{case} within {budget} bytes, {block:?}");
                    blocks.push(block);
                    budget += STEP;
                }
                Err(minimum) => budget = minimum,
            }
            if blocks.last() == Some(&BlockUnit::Layer) {
                break;
            }
        }
        for block in [BlockUnit::HalfLayer, BlockUnit::Layer] {
            assert!(blocks.contains(&block), "{case}: no budget made {block:?}s: {blocks:?}");
        }
    }
}

#[test]
fn a_plan_needs_no_job() {
    let (engine, _) = engine("bert-gelu-f32", None);
    assert_eq!(engine.plan(PoolShape::uniform(4, 32)).unwrap().layers, 4);
}
