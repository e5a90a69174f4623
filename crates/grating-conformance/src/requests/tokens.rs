//! Requests whose long candidates lose tokens on their way: the scores are those of a plain walk through the layers,
//! one candidate at a time.

use std::sync::Arc;

use grating_backend::{Ops, Source};
use grating_engine::{EngineError, Job, Savings};
use grating_io::Checkpoint;
use grating_model::{Encoding, LayerWeights, LoadedModel, Mass, Model, PaidBy, Part, PartBuffer};
use grating_prune::{
    Keep, Mode, OverHeads, Policy, PruneError, ScoreTrace, Signal, TokenMass, TokenPolicy,
    TokenStage, replay,
};
use grating_sched::{BlockUnit, PlanError, Spill, WindowSize};

use super::{Cases, Search, Subject, assert_near, logits, select};
use crate::golden::{folder, load};

/// The one that scores no single token.
const MEAN: &str = "modernbert-mean-f32";

/// Policies for candidates of at least so many tokens.
fn policies(min_tokens: usize) -> [TokenPolicy; 4] {
    let stages = |block, heads, by_value| {
        let stage = |depth| {
            let stage = TokenStage::new(depth, 0.6).with_block(block).with_heads(heads);
            stage.with_value_norms(by_value)
        };
        vec![stage(0.3), stage(0.6)]
    };
    let looks = TokenStage::new(0.3, 0.4).with_block(2).with_signal(Signal::Query);
    let above = TokenStage::new(0.3, 0.5).with_keep(Keep::Threshold(0.8));
    [
        TokenPolicy::new(stages(1, OverHeads::Mean, false)),
        TokenPolicy::new(stages(2, OverHeads::Maximum, true)).with_ends(1, 1),
        TokenPolicy::new(vec![above]),
        TokenPolicy::new(vec![looks.with_heads(OverHeads::Maximum)]),
    ]
    .map(|policy| policy.with_min_tokens(min_tokens))
}

/// The length that half of the candidates have at least.
fn middle(encodings: &[Encoding]) -> usize {
    let mut lengths: Vec<usize> = encodings.iter().map(|e| e.ids.len()).collect();
    lengths.sort_unstable();
    lengths[lengths.len() / 2]
}

/// A model that is walked through with all its rows, from which those leave after a layer that are said to.
struct Walk<'a, B: Ops> {
    ops: &'a B,
    model: &'a Model,
    checkpoint: &'a Checkpoint,
}

impl<B: Ops> Walk<'_, B> {
    fn read(&self, parts: &[Part]) -> Arc<PartBuffer> {
        Arc::new(PartBuffer::read(self.checkpoint, parts).unwrap())
    }

    /// A candidate's score, and the rows that enter each layer.
    fn score(&self, encoding: &Encoding, policy: &TokenPolicy) -> (f32, Vec<usize>) {
        let Walk { ops, model, checkpoint } = *self;
        let (stem_bytes, head_bytes) =
            (self.read(model.stem_parts()), self.read(model.head_parts()));
        let stem_slot = ops.admit(stem_bytes.clone(), None).unwrap();
        let head_slot = ops.admit(head_bytes, None).unwrap();
        let weights = LayerWeights::new(ops, &stem_slot, model.stem_parts());
        let stem = model.stem(&weights, &*stem_bytes).unwrap();
        let head = model.head(&LayerWeights::new(ops, &head_slot, model.head_parts())).unwrap();
        let layers = model.config().layers;
        let stages = policy.layers(layers, |layer| model.sees_all(layer));
        let pass = model.context(ops, &stem, encoding.ids.len()).unwrap();
        let mut hidden = model.embed(ops, &stem, &mut checkpoint.clone(), &[encoding]).unwrap();
        let mut positions: Vec<u32> = (0..encoding.ids.len() as u32).collect();
        let mut entered = Vec::new();
        for layer in 0..layers {
            entered.push(positions.len());
            let slot = ops.admit(self.read(model.layer_parts(layer)), None).unwrap();
            let weights = LayerWeights::new(ops, &slot, model.layer_parts(layer));
            let attention = model.attention(layer, &weights).unwrap();
            let feed_forward = model.feed_forward(layer, &weights).unwrap();
            let rows = model.ragged([positions.len()], 0).at_positions(positions.clone());
            let layout = pass.layout(ops, &rows).unwrap();
            let chunk = pass.chunk(&layout, None);
            let stage = stages.iter().find(|at| at.layer == layer);
            let stage = stage.filter(|_| policy.acts_on(encoding.ids.len()));
            let Some(stage) = stage.map(|at| policy.stages[at.stage]) else {
                hidden = model.attend(ops, &attention, hidden, &chunk).unwrap();
                hidden = model.feed(ops, &feed_forward, hidden).unwrap();
                continue;
            };
            let over = match stage.heads {
                OverHeads::Maximum => grating_backend::OverHeads::Maximum,
                _ => grating_backend::OverHeads::Mean,
            };
            let query: Vec<bool> = positions.iter().map(|p| encoding.query.contains(p)).collect();
            let paid = match stage.signal {
                Signal::Query => PaidBy::Row { prefix: &[], own: &query },
                _ => PaidBy::Scored { by_value: stage.by_value },
            };
            let mass = Mass { over, paid };
            let (attended, mass) =
                model.attend_with_mass(ops, &attention, hidden, &chunk, mass).unwrap();
            hidden = model.feed(ops, &feed_forward, attended).unwrap();
            let mass = mass.wait(ops).unwrap();
            let text = &encoding.text;
            let text = text.start..text.end.min(encoding.ids.len() as u32 - 1);
            let tokens = TokenMass { mass: &mass, positions: &positions, text };
            let mut stays = policy.stays(&stage, &tokens);
            stays[rows.scored_rows()[0]] = true;
            let kept: Vec<usize> = (0..stays.len()).filter(|&row| stays[row]).collect();
            let mut left = ops.empty(kept.len(), model.config().hidden).unwrap();
            for (at, &row) in kept.iter().enumerate() {
                ops.copy_rows(&mut left, at, Source::Tensor(&hidden), row..row + 1).unwrap();
            }
            hidden = left;
            positions = kept.iter().map(|&row| positions[row]).collect();
        }
        let rows = model.ragged([positions.len()], 0).at_positions(positions);
        let layout = pass.layout(ops, &rows).unwrap();
        let pooled = model.pooled(ops, &head, &hidden, &layout).unwrap();
        (model.scores(ops, &head, layers - 1, &pooled).unwrap().unwrap()[0].0, entered)
    }
}

fn with_tokens(encodings: &[Encoding], policy: &TokenPolicy) -> Job {
    let mut job = Job::new(encodings.to_vec(), 2);
    job.tokens = Some(policy.clone());
    job
}

/// Whatever the chunks, the window, the disk and the savings; short candidates keep their scores to the bit.
pub(super) fn tokens_leave_as_in_a_plain_walk<B: Ops>(
    cases: &Cases,
    backend: &(dyn Fn() -> B + Sync),
    bound: f32,
) {
    let runs = [
        (WindowSize::All, Spill::Never, 70, Savings::default()),
        (WindowSize::Slots(1), Spill::Always, 1, Savings::NONE),
        (WindowSize::Slots(2), Spill::Always, 45, Savings::default()),
        (WindowSize::Slots(3), Spill::Never, 1000, Savings::NONE),
    ];
    for (number, &case) in cases.names.iter().filter(|case| **case != MEAN).enumerate() {
        let subject = Subject::new(case, backend);
        let [full, _] = subject.scores(|_| ());
        let (LoadedModel { model, .. }, checkpoint) = load(&folder(case), Some(120), false);
        let ops = backend();
        let walk = Walk { ops: &ops, model: &model, checkpoint: &checkpoint };
        let (_, encodings) = subject.engine(|_| ());
        let min_tokens = middle(&encodings);
        for (at, policy) in policies(min_tokens).into_iter().enumerate() {
            let walked: Vec<_> = encodings.iter().map(|e| walk.score(e, &policy)).collect();
            let (expected, entered): (Vec<f32>, Vec<Vec<usize>>) = walked.into_iter().unzip();
            let what = format!("{case}, {policy}");
            let tried = |run: &usize| cases.tried(2, [number, at, *run]);
            for (window, spill, chunk, savings) in
                (0..runs.len()).filter(tried).map(|run| runs[run])
            {
                let (engine, encodings) = subject.engine(|options| {
                    options.settings.window = window;
                    options.settings.spill = spill;
                    options.settings.chunk_tokens = Some(chunk);
                    options.savings = savings;
                });
                let scored = select(&engine, with_tokens(&encodings, &policy)).unwrap();
                let what = format!("{what}: {window:?} {spill:?} {chunk} {savings:?}");
                assert_near(&logits(&scored), &expected, bound, &what);
                let shared = scored.prefix_tokens * encodings.len();
                for layer in &scored.costs.layers {
                    let rows: usize = entered.iter().map(|entered| entered[layer.layer]).sum();
                    assert_eq!(layer.tokens + shared, rows, "{what}, layer {}", layer.layer);
                }
                let left: usize = scored.costs.layers.iter().map(|layer| layer.tokens_left).sum();
                assert!(left > 0, "{what}: nobody left");
            }
            for (at, encoding) in encodings.iter().enumerate() {
                let (found, full) = (expected[at].to_bits(), full[at].to_bits());
                assert!(encoding.ids.len() >= min_tokens || bound > 0.0 || found == full, "{what}");
            }
        }
    }
}

/// In the least memory, where layers come in halves and chunks go to the disk.
pub(super) fn tokens_leave_within_the_least_budget<B: Ops>(
    backend: &(dyn Fn() -> B + Sync),
    bound: f32,
) {
    for case in ["qwen3-tied-f32", "modernbert-f32"] {
        let subject = Subject::new(case, backend);
        let (engine, encodings) = subject.engine(|_| ());
        let [.., policy] = policies(middle(&encodings));
        let expected = logits(&select(&engine, with_tokens(&encodings, &policy)).unwrap());
        drop(engine);
        let (mut search, mut halves) = (Search::new(), false);
        for _ in 0..Search::TRIES {
            let budget = search.budget;
            let (engine, encodings) =
                subject.engine(|options| options.machine.host.budget = Some(budget));
            match select(&engine, with_tokens(&encodings, &policy)) {
                Ok(scored) => {
                    assert_near(&logits(&scored), &expected, bound, &format!("{case} in {budget}"));
                    halves = scored.plan.layout.weights.unit == BlockUnit::HalfLayer;
                    search.roomy();
                }
                Err(EngineError::Plan(PlanError::BudgetTooSmall { minimum, .. })) => {
                    search.refused(minimum);
                }
                Err(error) => panic!("{case}: {error}"),
            }
            if halves {
                break;
            }
        }
        assert!(halves, "{case}: no run was in halves of layers");
    }
}

/// Candidates are dropped as a replay on the scores says that they have while tokens leave them.
pub(super) fn tokens_leave_beside_candidates<B: Ops>(backend: &(dyn Fn() -> B + Sync), bound: f32) {
    for case in ["qwen3-tied-f32", "bert-gelu-f32", "gemma2-f32"] {
        let subject = Subject::new(case, backend);
        let (engine, encodings) = subject.engine(|options| {
            options.settings.chunk_tokens = Some(60);
            options.settings.spill = Spill::Always;
        });
        let [policy, ..] = policies(middle(&encodings));
        let mut job = with_tokens(&encodings, &policy);
        job.trace = true;
        let full = select(&engine, job).unwrap();
        let trace = full.trace.clone().unwrap();
        let rows: Vec<f32> = trace.iter().flatten().copied().collect();
        let trace = ScoreTrace::from_vec(trace.len(), encodings.len(), rows).unwrap();
        for threshold in [0.0, 0.1] {
            let dropping = Policy::paper(threshold).with_mode(Mode::Rank);
            let expected = replay(&dropping, &trace, 2).unwrap();
            let mut job = with_tokens(&encodings, &policy);
            job.policy = Some(dropping);
            let pruned = select(&engine, job).unwrap();
            let mut selected = pruned.selected.clone().unwrap();
            let of = |scores: &[f32]| selected.iter().map(|&c| scores[c]).collect::<Vec<_>>();
            assert_near(&of(&logits(&pruned)), &of(&logits(&full)), bound, case);
            let mut wanted = expected.selected;
            selected.sort_unstable();
            wanted.sort_unstable();
            assert_eq!(selected, wanted, "{case} {threshold}");
        }
    }
}

/// A mean is of all tokens: there is none whose attention tells who matters.
pub(super) fn models_of_means_refuse_that_tokens_leave<B: Ops>(backend: &(dyn Fn() -> B + Sync)) {
    let (engine, encodings) = Subject::new(MEAN, backend).engine(|_| ());
    let refused = select(&engine, with_tokens(&encodings, &TokenPolicy::lazy_llm()));
    assert!(matches!(refused, Err(EngineError::Prune(PruneError::NoScoredToken))), "{refused:?}");
    select(&engine, Job::new(encodings, 2)).unwrap();
}
