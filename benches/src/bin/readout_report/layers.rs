//! Agreement with the final order, layer by layer.

use grating::prune::ScoreTrace;
use grating::prune::metrics::{agreement_at_k, kendall_tau_b};

use crate::{Model, Outcome, put};

/// Agreement@10 from which on a layer is said to see the final order.
const SEEN: [f64; 3] = [0.7, 0.8, 0.9];

/// Means over the queries after one layer.
#[derive(Clone, Copy)]
pub(crate) struct Agreement {
    overlap_at_5: f64,
    pub(crate) overlap_at_10: f64,
    tau: f64,
}

/// By the head and by the readouts, for every layer but the last.
pub(crate) fn agreements(model: &Model) -> Outcome<Vec<(Agreement, Agreement)>> {
    let layers = model.head.first().ok_or("no traces")?.layers();
    let of = |layer| (mean(&model.head, layer), mean(&model.fitted, layer));
    Ok((0..layers - 1).map(of).collect())
}

fn mean(traces: &[ScoreTrace], layer: usize) -> Agreement {
    let over = |value: &dyn Fn(&ScoreTrace) -> f64| {
        traces.iter().map(value).sum::<f64>() / traces.len() as f64
    };
    let overlap = |k| {
        move |trace: &ScoreTrace| agreement_at_k(&trace.ranking(layer), &trace.final_ranking(), k)
    };
    let tau = |trace: &ScoreTrace| {
        let last = trace.layer(trace.layers() - 1).to_vec();
        // Nobody stands before anybody where all scores are equal.
        kendall_tau_b(&trace.layer(layer).to_vec(), &last).unwrap_or(0.0)
    };
    Agreement {
        overlap_at_5: over(&overlap(5)),
        overlap_at_10: over(&overlap(10)),
        tau: over(&tau),
    }
}

pub(crate) fn table(out: &mut String, model: &Model, layers: &[(Agreement, Agreement)]) {
    let sizes: usize = model.head.iter().map(ScoreTrace::candidates).sum();
    put(
        out,
        format_args!(
            "## {}\n\n{} layers, {} queries, {:.1} candidates on average. Mean agreement of the order after each layer with the final one, by the model's own \
             head / by fitted readouts; [plot](readouts-{}.svg).\n\n\
             | after layer | agreement@5 | agreement@10 | Kendall tau |\n| --- | --- | --- | --- |",
            model.name,
            layers.len() + 1,
            model.head.len(),
            sizes as f64 / model.head.len() as f64,
            model.name,
        ),
    );
    for (layer, (head, fitted)) in layers.iter().enumerate() {
        put(
            out,
            format_args!(
                "| {layer} | {:.3} / {:.3} | {:.3} / {:.3} | {:.3} / {:.3} |",
                head.overlap_at_5,
                fitted.overlap_at_5,
                head.overlap_at_10,
                fitted.overlap_at_10,
                head.tau,
                fitted.tau
            ),
        );
    }
    let first = |level: f64, by: &dyn Fn(&(Agreement, Agreement)) -> f64| {
        layers.iter().position(|layer| by(layer) >= level)
    };
    let text = |layer: Option<usize>| layer.map_or("only the last".into(), |l| l.to_string());
    put(out, format_args!("\nThe first layer whose agreement@10 is at least"));
    put(out, format_args!("\n| level | by the head | by readouts |\n| --- | --- | --- |"));
    for level in SEEN {
        let (head, fitted) =
            (first(level, &|l| l.0.overlap_at_10), first(level, &|l| l.1.overlap_at_10));
        put(out, format_args!("| {level} | {} | {} |", text(head), text(fitted)));
    }
    out.push('\n');
}
