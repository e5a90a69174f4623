//! The engine's promises: scores do not depend on how a request is run, pruning does what a replay says, and no disk is
//! left untidy.

use std::time::{Duration, Instant};

use grating::prune::calibrate::learned;
use grating::prune::{ScoreTrace, replay};
use grating::{
    Error, IoMode, Isa, Mode, Policy, Precision, Pruning, Request, Reranker, RerankerBuilder,
    RowCacheSize, Savings, Selection, Spill, WindowSize,
};
use proptest::prelude::*;
use proptest::sample::select;

use crate::golden;

const WORDS: [&str; 12] = [
    "window", "river", "layer", "the", "glass", "東京", "slides", "of", "a", "Paris", "weights",
    "disk",
];

/// Texts of 0 to 39 words, all different.
fn texts(count: usize) -> Vec<String> {
    let text = |i: usize| {
        let words = (0..i * 7 % 40).map(|j| WORDS[(i * i + j * 5 + j * j) % WORDS.len()]);
        words.chain([WORDS[i % 12]]).collect::<Vec<_>>().join(" ") + &format!(" {i}")
    };
    (0..count).map(text).collect()
}

fn builder(case: &str) -> RerankerBuilder {
    Reranker::builder().model(golden(case).to_str().unwrap()).max_length(120)
}

fn scores(selection: &Selection) -> Vec<(usize, u32)> {
    selection.results.iter().map(|r| (r.index, r.raw_score.0.to_bits())).collect()
}

fn rerank(builder: RerankerBuilder, texts: &[String]) -> Selection {
    builder.build().unwrap().rerank("which window slides", texts, texts.len()).unwrap()
}

/// The least budget, bytes: the process is shared with other tests, so only the engine can tell.
fn minimum(builder: RerankerBuilder, texts: &[String]) -> u64 {
    let tiny = builder.memory_budget(1 << 20).build().unwrap();
    match tiny.rerank("which window slides", texts, 1) {
        Err(Error::Plan(grating::PlanError::BudgetTooSmall { minimum, .. })) => minimum,
        other => panic!("{other:?}"),
    }
}

/// Other tests of this process take memory meanwhile, which the budget counts: tried until they do not for once.
fn beside_other_tests<T>(attempt: impl Fn() -> grating::Result<T>) -> T {
    let (began, mut pause) = (Instant::now(), Duration::from_millis(1));
    loop {
        match attempt() {
            Err(Error::Plan(grating::PlanError::BudgetTooSmall { .. })) => {
                assert!(began.elapsed() < Duration::from_secs(90), "too small, however often");
                std::thread::sleep(pause);
                pause = (2 * pause).min(Duration::from_millis(100));
            }
            outcome => return outcome.unwrap(),
        }
    }
}

#[derive(Debug, Clone)]
struct Settings {
    case: &'static str,
    isa: Isa,
    threads: usize,
    chunk_tokens: Option<usize>,
    window: WindowSize,
    spill: Spill,
    rows: RowCacheSize,
    io: IoMode,
    savings: Savings,
    /// A budget so many bytes above the least.
    budget: Option<u64>,
}

fn settings() -> impl Strategy<Value = Settings> {
    let cases = [
        "bert-gelu-f32",
        "qwen3-tied-f32",
        "qwen2-bf16-sharded",
        "xlm-roberta-f32",
        "llama-f32",
        "minicpm-layerwise-bf16",
        "gemma-bf16",
    ];
    let savings = (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(shared_prefix, scored_rows, equal_texts)| {
            Savings::default()
                .with_shared_prefix(shared_prefix)
                .with_scored_rows(scored_rows)
                .with_equal_texts(equal_texts)
        },
    );
    let run = (
        select(Isa::supported()),
        1..3usize,
        prop::option::of(1..400usize),
        select(vec![
            WindowSize::Auto,
            WindowSize::Slots(1),
            WindowSize::Slots(2),
            WindowSize::Slots(3),
            WindowSize::All,
        ]),
    );
    let memory = (
        select(vec![Spill::Auto, Spill::Always, Spill::Never]),
        select(vec![
            RowCacheSize::Auto,
            RowCacheSize::Rows(0),
            RowCacheSize::Fraction(0.01),
            RowCacheSize::All,
        ]),
        select(vec![IoMode::Cached, IoMode::Direct]),
        prop::option::of((8..32u64).prop_map(|mib| mib << 20)),
    );
    (select(cases.to_vec()), run, memory, savings).prop_map(|(case, run, memory, savings)| {
        let (isa, threads, chunk_tokens, window) = run;
        let (spill, rows, io, budget) = memory;
        Settings { case, isa, threads, chunk_tokens, window, spill, rows, io, savings, budget }
    })
}

/// As a larger processor splits the work: more threads than this one has, and more than there are texts, rows or columns to
/// give each some.
#[test]
fn more_threads_than_cores_change_no_bit() {
    for case in ["bert-gelu-f32", "qwen3-tied-f32"] {
        for (precision, isa) in Precision::ALL
            .into_iter()
            .flat_map(|p| Isa::supported().into_iter().map(move |i| (p, i)))
        {
            for texts in [texts(1), texts(9)] {
                let of = |threads| {
                    let run = builder(case).precision(precision).isa(isa).threads(threads);
                    scores(&rerank(run, &texts))
                };
                let one = of(1);
                for threads in [4, 8, 16] {
                    assert_eq!(of(threads), one, "{case} {precision} {isa}, {threads} threads");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn scores_are_the_same_to_the_bit_however_a_request_is_run(s in settings()) {
        let mut texts = texts(9);
        texts.push(texts[3].clone());
        let reference = rerank(builder(s.case).isa(s.isa).threads(1), &texts);
        let mut run = builder(s.case)
            .isa(s.isa)
            .threads(s.threads)
            .window(s.window)
            .spill(s.spill)
            .row_cache(s.rows)
            .io(s.io)
            .savings(s.savings);
        if let Some(tokens) = s.chunk_tokens {
            run = run.chunk_tokens(tokens);
        }
        // The second request finds pinned layers, a warm row cache and its first layers read ahead.
        let twice = |run: RerankerBuilder| -> grating::Result<[Selection; 2]> {
            let reranker = run.build()?;
            let once = || reranker.rerank("which window slides", &texts, texts.len());
            Ok([once()?, once()?])
        };
        let others = match s.budget {
            None => twice(run).unwrap(),
            Some(above) => beside_other_tests(|| {
                let least = minimum(run.clone(), &texts);
                twice(run.clone().memory_budget(least + above))
            }),
        };
        for other in others {
            prop_assert_eq!(scores(&reference), scores(&other));
            // Up to three chunks may be taken back before the disk gets to them.
            if s.spill == Spill::Always && other.stats.chunks > 3 {
                prop_assert!(other.stats.spill_bytes_written > 0);
            }
        }
    }

    #[test]
    fn pruning_does_what_a_replay_of_the_trace_says(
        case in select(vec!["bert-gelu-f32", "qwen3-tied-f32", "minicpm-layerwise-f32"]),
        threshold in 0.0..0.5f64,
        k in 1..8usize,
        chunk in 30..300usize,
        spill in select(vec![Spill::Always, Spill::Never]),
    ) {
        let texts = texts(14);
        let reranker = builder(case).chunk_tokens(chunk).spill(spill).build().unwrap();
        let query = "which window slides";
        let full = reranker.run(Request::new(query, &texts, k).trace(true)).unwrap();
        let trace = full.trace.unwrap();
        let rows: Vec<f32> = trace.iter().flatten().copied().collect();
        let trace = ScoreTrace::from_vec(trace.len(), texts.len(), rows).unwrap();
        // Half of the gaps that this very query needs: some are decided, and not all of them rightly.
        let halved = learned(std::slice::from_ref(&trace), k, Mode::Select).unwrap();
        let halved = halved.chains().last().unwrap()[0].clone();
        let policies = [Policy::paper(threshold), halved];
        for (policy, mode) in policies.iter().flat_map(|p| [(p, Mode::Select), (p, Mode::Rank)]) {
            let policy = policy.clone().with_mode(mode);
            let request = Request::new(query, &texts, k).pruning(Pruning::By(policy.clone()));
            let pruned = reranker.run(request).unwrap();
            let expected = replay(&policy, &trace, k).unwrap();
            let mut found: Vec<usize> = pruned.results.iter().map(|r| r.index).collect();
            for result in &pruned.results {
                let decided = expected.decided_after_layer[result.index];
                prop_assert_eq!(Some(result.decided_after_layer), decided);
            }
            prop_assert_eq!(pruned.stats.candidate_layers, expected.candidate_layers);
            if case == "minicpm-layerwise-f32" {
                // Its first head comes after three layers.
                prop_assert!(pruned.results.iter().all(|r| r.decided_after_layer >= 2));
            }
            let mut selected = expected.selected;
            if mode == Mode::Rank {
                // The full model's own scores and order.
                let exact: Vec<(usize, u32)> = scores(&full_of(&reranker, &texts))
                    .into_iter().filter(|(i, _)| selected.contains(i)).collect();
                prop_assert_eq!(scores(&pruned), exact);
            }
            selected.sort_unstable();
            found.sort_unstable();
            prop_assert_eq!(found, selected);
        }
    }
}

#[test]
fn a_cutoff_takes_the_score_of_that_layers_own_head() {
    const CASE: &str = "minicpm-layerwise-f32";
    let (texts, query) = (texts(6), "which window slides");
    let request = Request::new(query, &texts, 6).trace(true);
    let trace = builder(CASE).build().unwrap().run(request).unwrap().trace.unwrap();
    assert_eq!(trace.len(), 6);
    // Layers before the first head tell nobody apart.
    assert!(trace[..2].iter().flatten().all(|score| *score == 0.0));
    for layers in 3..=6 {
        let reranker = builder(CASE).cutoff_layers(layers).build().unwrap();
        assert_eq!(reranker.info().layers, layers);
        let mut found = scores(&full_of(&reranker, &texts));
        found.sort_unstable();
        let expected = trace[layers - 1].iter().enumerate();
        let expected: Vec<_> = expected.map(|(index, score)| (index, score.to_bits())).collect();
        assert_eq!(found, expected, "{layers}");
    }
    let refused = |case: &str, layers| match builder(case).cutoff_layers(layers).build() {
        Ok(_) => panic!("{case} was cut to {layers}"),
        Err(error) => error.to_string(),
    };
    for layers in [0, 1, 2, 7] {
        let error = refused(CASE, layers);
        assert!(error.contains("one of 3, 4, 5, 6"), "{error}");
    }
    let error = refused("qwen3-tied-f32", 2);
    assert!(error.contains("the only head"), "{error}");
}

fn full_of(reranker: &Reranker, texts: &[String]) -> Selection {
    reranker.rerank("which window slides", texts, texts.len()).unwrap()
}

#[test]
fn a_budget_too_small_says_what_would_do_and_what_it_says_does() {
    let texts = texts(6);
    let enough = beside_other_tests(|| {
        let small = builder("qwen3-tied-f32").memory_budget(1 << 20).build()?;
        let Err(Error::Plan(error)) = small.rerank("window", &texts, 2) else { panic!() };
        let grating::PlanError::BudgetTooSmall { minimum, .. } = error else { panic!("{error}") };
        assert!(error.to_string().contains("raise the budget"), "{error}");
        let enough = builder("qwen3-tied-f32").memory_budget(minimum).build()?;
        enough.rerank("window", &texts, 2)
    });
    assert_eq!(enough.results.len(), 2);
}

#[test]
fn spilling_leaves_nothing_behind_and_a_folder_that_is_not_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts(6);
    let spilling = |folder: &std::path::Path| {
        builder("bert-gelu-f32").chunk_tokens(20).spill(Spill::Always).spill_folder(folder).build()
    };
    let reranker = spilling(folder.path()).unwrap();
    let stats = reranker.rerank("window", &texts, 2).unwrap().stats;
    assert!(stats.spill_bytes_written > 0 && stats.spill_bytes_read > 0);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let missing = spilling(&folder.path().join("missing")).unwrap();
    let error = missing.rerank("window", &texts, 2).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

#[test]
fn a_shared_prefix_is_computed_once_and_a_timeline_shows_the_layers() {
    let texts = texts(5);
    let reranker = builder("qwen3-tied-f32").build().unwrap();
    let selection =
        reranker.run(Request::new("which window slides", &texts, 2).timeline(true)).unwrap();
    assert!(selection.stats.prefix_tokens > 10, "{}", selection.stats.prefix_tokens);
    let json = selection.timeline.to_json();
    let events = json["traceEvents"].as_array().unwrap();
    let named = |name: &str| events.iter().any(|e| e["name"].as_str().unwrap().starts_with(name));
    assert!(named("layer 0") && named("layer 1, chunk 0") && named("embed"));
    assert!(named("resident memory") || !cfg!(target_os = "linux"));
    assert!(!named("write"), "nothing is spilled");
    assert!(full_of(&reranker, &texts).timeline.is_empty());
}

#[test]
fn a_timeline_shows_what_goes_to_disk_and_comes_back() {
    let texts = texts(6);
    let reranker = builder("bert-gelu-f32").chunk_tokens(20).spill(Spill::Always).build().unwrap();
    let selection = reranker.run(Request::new("window", &texts, 2).timeline(true)).unwrap();
    let json = selection.timeline.to_json();
    let bytes = |verb: &str| {
        let events = json["traceEvents"].as_array().unwrap().iter();
        let named = events.filter(|e| e["name"].as_str().unwrap().starts_with(verb));
        named.map(|e| e["args"]["bytes"].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(bytes("write chunk"), selection.stats.spill_bytes_written);
    assert_eq!(bytes("read chunk"), selection.stats.spill_bytes_read);
    assert!(json.to_string().contains("chunk 1 after layer 0"));
    // A track for each link, under its name.
    for track in ["disk to memory: weights", "memory to disk and back: hidden states"] {
        assert!(json.to_string().contains(track), "{track}");
    }
    let stats = &selection.stats;
    let [weights, hidden] = stats.links.as_slice() else { panic!("{:?}", stats.links) };
    assert_eq!((weights.name, weights.bytes), ("disk to memory", stats.weight_bytes_read));
    assert_eq!((weights.busy, weights.waited), (stats.read, stats.stall));
    let spilled = stats.spill_bytes_written + stats.spill_bytes_read;
    assert_eq!((hidden.name, hidden.bytes), ("memory to disk", spilled));
    // A few kilobytes say nothing about a disk.
    assert!(!hidden.measured && hidden.bytes_per_second == 5e8);
}

#[test]
fn precision_is_never_lowered_silently_and_fast_stays_near() {
    let texts = texts(8);
    let of = |precision| rerank(Reranker::builder().precision(precision), &texts);
    let (full, exact, fast) =
        (of(grating::Precision::Full), of(grating::Precision::Exact), of(grating::Precision::Fast));
    if Isa::detect() == Isa::Amx {
        // Products of digits are as near to those of f32 as sums are, not the same.
        for (a, b) in full.results.iter().zip(&exact.results) {
            assert!((a.raw_score.0 - b.raw_score.0).abs() < 2e-5, "{a:?} {b:?}");
        }
    } else {
        assert_eq!(scores(&full), scores(&exact), "f16 weights are not rounded");
    }
    assert_ne!(scores(&full), scores(&fast), "eight bits are fewer than eleven");
    let spread = full.results[0].raw_score.0 - full.results[7].raw_score.0;
    for r in &full.results {
        let other = fast.results.iter().find(|f| f.index == r.index).unwrap();
        assert!((r.raw_score.0 - other.raw_score.0).abs() < 0.1 * spread, "{r:?} {other:?}");
    }
}
