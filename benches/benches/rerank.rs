//! End to end on the minilm-l6 shape: text in, ranked results out, weights read from memory layer by layer.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use grating::Reranker;
use grating_benches::pool;

fn rerank(criterion: &mut Criterion) {
    let reranker = Reranker::builder().build().expect("the default model is embedded");
    let mut group = criterion.benchmark_group("rerank/minilm-l6/f16");
    group.sample_size(10);
    for (candidates, words) in [(20, 120), (100, 120)] {
        let texts = pool(candidates, words);
        group.throughput(Throughput::Elements(candidates as u64));
        group.bench_function(BenchmarkId::new(format!("{words}_words"), candidates), |bencher| {
            bencher.iter(|| {
                reranker.rerank("how does an engine work", &texts, 10).expect("a plain request")
            });
        });
    }
    group.finish();
}

fn cold_start(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cold_start/minilm-l6/f16");
    group.sample_size(10);
    group.bench_function("build", |bencher| {
        bencher.iter(|| Reranker::builder().build().expect("the default model is embedded"));
    });
    group.finish();
}

criterion_group!(benches, rerank, cold_start);
criterion_main!(benches);
