//! What deciding costs, and what it saves: clusters, a router's verdicts, a grid of policies on recorded scores, and
//! requests to the default model with and without pruning.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use grating::prune::calibrate::learned;
use grating::prune::{
    ClusterRule, Gap, Grid, Mode, Policy, PolicyRun, Pool, Pruner, ScoreTrace, Sweep, kmeans,
};
use grating::{Pruning, Request, Reranker};
use grating_benches::pool;

/// Candidates of a pool.
const CANDIDATES: [usize; 3] = [20, 100, 1000];
const LAYERS: usize = 6;
const K: usize = 10;

/// Scores that settle from layer to layer, the same every time: `[layers, candidates]`.
fn trace(candidates: usize, seed: usize) -> ScoreTrace {
    // Fractions of multiples of irrational numbers spread evenly and repeat nothing.
    let place = |c: usize, step: f64| ((c + 1) as f64 * step + seed as f64 * 0.37).fract();
    let score = |layer: usize, c: usize| {
        let settled = (layer + 1) as f64 / LAYERS as f64;
        let noise = place(c * LAYERS + layer, 0.754_877_666_246_692_8) - 0.5;
        (8.0 * (settled * place(c, 0.618_033_988_749_894_9) + (1.0 - settled) * noise)) as f32
    };
    let scores = (0..LAYERS).flat_map(|layer| (0..candidates).map(move |c| score(layer, c)));
    ScoreTrace::from_vec(LAYERS, candidates, scores.collect()).expect("these are numbers")
}

fn clusters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("prune/kmeans");
    for candidates in CANDIDATES {
        let mut scores: Vec<f64> =
            trace(candidates, 0).layer(2).iter().map(|&score| f64::from(score)).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        group.throughput(Throughput::Elements(candidates as u64));
        group.bench_function(BenchmarkId::new("3_clusters", candidates), |bencher| {
            bencher.iter(|| kmeans(&scores, 3).expect("sorted numbers"));
        });
        let rule = ClusterRule::Silhouette { min: 2, max: 6 };
        group.bench_function(BenchmarkId::new("2_to_6_clusters", candidates), |bencher| {
            bencher.iter(|| rule.group(&scores).expect("sorted numbers"));
        });
    }
    group.finish();
}

fn verdicts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("prune/verdicts");
    let gaps = Gap::Layers(vec![2.0; LAYERS - 1].into());
    let policies = [
        ("paper", Policy::paper(0.0)),
        ("learned_gaps", Policy::paper(0.0).with_clusters(ClusterRule::Each).with_gap(gaps)),
    ];
    for candidates in CANDIDATES {
        let all: Vec<usize> = (0..candidates).collect();
        let scores = trace(candidates, 0).layer(2).to_vec();
        group.throughput(Throughput::Elements(candidates as u64));
        for (name, policy) in &policies {
            let fresh = Pruner::new(policy.clone(), Pool { candidates, layers: LAYERS, k: K })
                .expect("a policy in order");
            group.bench_function(BenchmarkId::new(*name, candidates), |bencher| {
                bencher.iter_batched(
                    || fresh.clone(),
                    |mut pruner| pruner.observe(0, &all, &scores).expect("all are live"),
                    criterion::BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

/// As a calibration does it, on one thread.
fn replay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("prune/replay");
    group.sample_size(10);
    let traces: Vec<ScoreTrace> = (0..20).map(|seed| trace(60, seed)).collect();
    let families = [
        ("standard_grid", Grid::standard(LAYERS, Mode::Select).family()),
        ("learned_gaps", learned(&traces, K, Mode::Select)),
    ];
    for (name, family) in families {
        let family = family.expect("families in order");
        group.throughput(Throughput::Elements((family.len() * traces.len()) as u64));
        group.bench_function(BenchmarkId::new(name, traces.len()), |bencher| {
            bencher.iter(|| Sweep::run(&family, &traces, K).expect("there are traces"));
        });
    }
    group.finish();
}

/// A request in full, and one that drops and accepts by gaps learned on other pools.
fn select(criterion: &mut Criterion) {
    let reranker =
        Reranker::builder().pruning(Pruning::Off).build().expect("the default model is embedded");
    let query = "how does an engine work";
    let recorded = |candidates: usize, skip: usize| {
        let texts: Vec<String> = pool(candidates + skip, 60).split_off(skip);
        let request = Request::new(query, &texts, K).trace(true);
        let rows = reranker.run(request).expect("a plain request").trace.expect("as asked for");
        ScoreTrace::from_vec(rows.len(), texts.len(), rows.concat()).expect("finite scores")
    };
    let traces: Vec<ScoreTrace> = (1..=6).map(|i| recorded(40, 100 + 40 * i)).collect();
    let family = learned(&traces, K, Mode::Select).expect("pools of more than K");
    let exact = |policy: &&Policy| {
        let run = PolicyRun::measure(policy, &traces, K).expect("a policy in order");
        run.agreement.iter().all(|&overlap| overlap == 1.0)
    };
    let policy = family.policies().filter(exact).last().expect("wide gaps are exact").clone();
    let mut group = criterion.benchmark_group("prune/request/minilm-l6");
    group.sample_size(10);
    for candidates in [20, 100] {
        let texts = pool(candidates, 60);
        group.throughput(Throughput::Elements(candidates as u64));
        for (name, pruning) in [("full", Pruning::Off), ("select", Pruning::By(policy.clone()))] {
            group.bench_function(BenchmarkId::new(name, candidates), |bencher| {
                bencher.iter(|| {
                    let request = Request::new(query, &texts, K).pruning(pruning.clone());
                    reranker.run(request).expect("a plain request")
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, clusters, verdicts, replay, select);
criterion_main!(benches);
