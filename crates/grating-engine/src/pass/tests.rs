//! Passes of a worker without its thread: in which order chunks go, and what ends one job and no other.

use std::sync::Arc;

use grating_cpu::CpuOps;
use grating_prune::{Mode, PassageScore, Policy, Readout};
use grating_sched::{BlockUnit, Spill, WindowSize};

use super::*;
use crate::cancel::CancelToken;
use crate::job::{Job, JobOutput};
use crate::passages::TextPassages;
use crate::readouts::Readouts;
use crate::testing::{bits, job, run, worker};
use crate::worker::Worker;

/// Every candidate is a chunk of its own.
fn small_chunks() -> Worker<CpuOps> {
    worker(|options| {
        options.settings.window = WindowSize::Slots(1);
        options.settings.chunk_tokens = Some(1);
    })
}

/// Names of what was computed, in its order.
fn computed(scored: &JobOutput) -> Vec<String> {
    let json = scored.timeline.to_json();
    let events = json["traceEvents"].as_array().unwrap().iter();
    let spans = events.filter(|event| event["ph"] == "X" && event["tid"] == Track::Compute as u8);
    let names = spans.map(|span| span["name"].as_str().unwrap().to_string());
    names.filter(|name| name.contains("chunk")).collect()
}

fn with_timeline(seed: u32) -> Job {
    Job { timeline: true, ..job(seed) }
}

/// A verdict at every chance.
fn eager() -> Policy {
    Policy::paper(0.0).with_mode(Mode::Select)
}

#[test]
fn every_layer_begins_with_the_chunk_that_the_one_before_ended_with() {
    let mut worker = small_chunks();
    let scored = run(&mut worker, vec![with_timeline(1)]).remove(0).unwrap();
    assert_eq!(scored.plan.layout.weights.unit, BlockUnit::Layer);
    let order = |layer: usize| match layer % 2 {
        0 => [0, 1],
        _ => [1, 0],
    };
    let expected: Vec<String> = (0..scored.plan.layers)
        .flat_map(|layer| order(layer).map(|chunk| format!("layer {layer}, chunk {chunk}")))
        .collect();
    assert_eq!(computed(&scored), expected);
}

#[test]
fn the_jobs_of_a_pass_take_turns_as_chunks_do() {
    let mut worker = small_chunks();
    let results = run(&mut worker, vec![job(1), with_timeline(2), job(3)]);
    let scored = results[1].as_ref().unwrap();
    let expected: Vec<String> = [(0, [0, 1, 2]), (1, [2, 1, 0]), (2, [0, 1, 2]), (3, [2, 1, 0])]
        .into_iter()
        .flat_map(|(layer, jobs)| jobs.map(|job| format!("layer {layer}, request {job}, chunk 0")))
        .collect();
    assert_eq!(computed(scored), expected);
    assert!(results[0].as_ref().unwrap().timeline.is_empty(), "it was not asked for");
}

#[test]
fn a_job_that_is_decided_goes_through_no_more_layers_and_the_others_go_on() {
    let mut worker = small_chunks();
    let alone = run(&mut worker, vec![job(2)]).remove(0).unwrap();
    let pruned = Job { policy: Some(eager()), timeline: true, ..job(1) };
    let results = run(&mut worker, vec![pruned, job(2)]);
    let [pruned, full] = results.as_slice() else { panic!("an answer for each") };
    let (pruned, full) = (pruned.as_ref().unwrap(), full.as_ref().unwrap());
    assert_eq!((pruned.costs.jobs, full.costs.jobs), (2, 2));
    let layers =
        |of: &JobOutput| of.costs.layers.iter().map(|l| (l.layer, l.live)).collect::<Vec<_>>();
    assert_eq!(layers(pruned), [(0, 2)]);
    assert_eq!(pruned.decided, [0, 0]);
    assert_eq!(layers(full), [0, 1, 2, 3].map(|layer| (layer, 2)));
    assert_eq!(bits(full), bits(&alone));
    // From layer 1 on the other one's chunks are all there are.
    let after: Vec<String> =
        computed(pruned).into_iter().filter(|n| !n.starts_with("layer 0")).collect();
    assert!(!after.is_empty() && after.iter().all(|name| name.contains("request 1")), "{after:?}");
}

#[test]
fn passages_are_computed_as_candidates_are_and_their_texts_are_what_is_selected() {
    let mut worker = small_chunks();
    let alone = run(&mut worker, vec![job(1), job(3)]);
    let [first, last] = [0, 1].map(|at| bits(alone[at].as_ref().unwrap()));
    let encodings = [job(1).encodings, job(3).encodings, job(1).encodings].concat();
    let passages = Arc::new(TextPassages::new([3, 1, 2], PassageScore::Max));
    let traced =
        Job { trace: true, ..Job::of_passages(encodings.clone(), Arc::clone(&passages), 1) };
    let pruned =
        Job { policy: Some(eager()), ..Job::of_passages(encodings, Arc::clone(&passages), 1) };
    let results = run(&mut worker, vec![traced, job(2), pruned]);
    let traced = results[0].as_ref().unwrap();
    let of = [first.as_slice(), &last, &first].concat();
    let own: Vec<u32> = traced.passages.iter().flatten().map(|l| l.0.to_bits()).collect();
    assert_eq!(own, of);
    let best = |text: usize| {
        of[passages.of(text)].iter().map(|&b| f32::from_bits(b)).fold(f32::MIN, f32::max)
    };
    assert_eq!(bits(traced), [0, 1, 2].map(|text| best(text).to_bits()));
    assert_eq!(traced.trace.as_ref().unwrap()[0].len(), 3);
    assert_eq!(traced.decided.len(), 3);
    // What is decided is decided of all passages of a text.
    let pruned = results[2].as_ref().unwrap();
    let live: Vec<usize> = pruned.costs.layers.iter().map(|layer| layer.live).collect();
    let ran = |text: usize| passages.of(text).len() * (pruned.decided[text] + 1);
    assert_eq!(live.iter().sum::<usize>(), (0..3).map(ran).sum::<usize>());
    assert_eq!(pruned.selected.as_ref().unwrap().len(), 1);
}

#[test]
fn a_score_that_is_no_number_ends_its_job_alone() {
    let mut worker = small_chunks();
    let alone = run(&mut worker, vec![job(2)]).remove(0).unwrap();
    let hidden = worker.model.config().hidden;
    let broken = Readout { weights: vec![f32::NAN; hidden], bias: 0.0 };
    let readouts = Readouts::from(vec![broken; worker.model.config().layers - 1]);
    let broken = Job { readouts: Some(readouts), trace: true, ..job(1) };
    let results = run(&mut worker, vec![broken, job(2)]);
    let error = results[0].as_ref().unwrap_err();
    assert!(matches!(error, EngineError::NotFinite { layer: 0, .. }), "{error}");
    assert_eq!(bits(results[1].as_ref().unwrap()), bits(&alone));
}

#[test]
fn a_job_that_has_ended_does_not_take_from_the_disk_what_the_others_need() {
    let mut worker = worker(|options| {
        options.settings.chunk_tokens = Some(1);
        options.settings.spill = Spill::Always;
    });
    let alone = run(&mut worker, vec![job(2)]).remove(0).unwrap();
    let cancelled = CancelToken::new();
    let ended = Job { cancel: cancelled.clone(), ..job(1) };
    cancelled.cancel();
    let results = run(&mut worker, vec![ended, job(2)]);
    assert!(matches!(results[0], Err(EngineError::Cancelled)), "{:?}", results[0]);
    let beside = results[1].as_ref().unwrap();
    assert_eq!(bits(beside), bits(&alone));
    assert!(beside.costs.spill_bytes_written > 0);
}

#[test]
fn tokens_leave_the_jobs_that_say_so_and_chunks_are_packed_anew() {
    let mut worker = worker(|options| options.settings.chunk_tokens = Some(12));
    let long = |seed: u32| {
        let ids: Vec<u32> = (0..12).map(|i| (5 + seed + i * seed) % 40).collect();
        grating_model::Encoding { text: 2..11, ids, ..Default::default() }
    };
    let plain = Job::new(vec![long(1), long(2), long(3)], 1);
    let stages = vec![grating_prune::TokenStage::new(0.25, 0.3)];
    let policy = grating_prune::TokenPolicy::new(stages).with_min_tokens(12);
    let leaving = Job { tokens: Some(policy), ..plain.clone() };
    let [alone, full] =
        [&leaving, &plain].map(|job| run(&mut worker, vec![job.clone()]).remove(0).unwrap());
    assert_ne!(bits(&alone), bits(&full));
    // Of nine tokens of a text three stay, and of twelve six.
    let layers: Vec<_> = alone.costs.layers.iter().map(|l| (l.tokens, l.tokens_left)).collect();
    assert_eq!(layers, [(36, 18), (18, 0), (18, 0), (18, 0)]);
    assert!(full.costs.layers.iter().all(|layer| (layer.tokens, layer.tokens_left) == (36, 0)));
    let with_timeline = Job { timeline: true, ..leaving };
    let results = run(&mut worker, vec![plain, with_timeline]);
    let [beside, left] = results.as_slice() else { panic!("an answer for each") };
    assert_eq!(bits(beside.as_ref().unwrap()), bits(&full));
    let left = left.as_ref().unwrap();
    assert_eq!(bits(left), bits(&alone));
    // Three chunks of twelve tokens, and from layer 1 on two of them.
    let of = |layer: usize| {
        let all = computed(left);
        all.iter().filter(|n| n.starts_with(&format!("layer {layer}, request 1"))).count()
    };
    assert_eq!([0, 1, 2, 3].map(of), [3, 2, 2, 2]);
    let json = left.timeline.to_json();
    let counters = json["traceEvents"].as_array().unwrap().iter();
    let counters = counters.filter(|event| event["name"] == "live tokens");
    let alive: Vec<u64> = counters.map(|c| c["args"]["tokens"].as_u64().unwrap()).collect();
    assert_eq!(alive, [72, 54, 54, 54]);
}
