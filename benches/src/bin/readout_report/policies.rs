//! What policies save, chosen on one half of the queries and measured on the other.

use grating::Mode;
use grating::prune::calibrate::learned;
use grating::prune::{Grid, Policy, PolicyFamily, PolicyRun, ScoreTrace};
use rayon::prelude::*;

use crate::{Model, Outcome, put};

const KS: [usize; 3] = [1, 5, 10];
/// Mean agreement on the choosing half.
const LEVELS: [f64; 2] = [0.98, 0.9];

/// On one half.
struct Means {
    overlap: f64,
    computed: f64,
}

pub(crate) fn table(out: &mut String, model: &Model) -> Outcome<()> {
    put(
        out,
        format_args!(
            "The cheapest policy of each family whose mean agreement on the choosing half is at least the level, on the other half: candidate-layers saved \
             (overlap). Estimates from few queries, not promises.\n\n\
             | K | level | the paper's | ours on the head | ours on readouts |\n| --- | --- | --- | --- | --- |"
        ),
    );
    let (head, fitted) = (Model::halves(&model.head), Model::halves(&model.fitted));
    for k in KS {
        let paper = run(&Grid::paper(Mode::Select).family()?, &head, k)?;
        let by_head = run(&ours(&head.0, k)?, &head, k)?;
        let by_fitted = run(&ours(&fitted.0, k)?, &fitted, k)?;
        for level in LEVELS {
            let cells = [&paper, &by_head, &by_fitted].map(|runs| cell(runs, level));
            put(out, format_args!("| {k} | {level} | {} |", cells.join(" | ")));
        }
    }
    out.push('\n');
    Ok(())
}

fn ours(choosing: &[ScoreTrace], k: usize) -> Outcome<PolicyFamily> {
    let layers = choosing.first().ok_or("no traces")?.layers();
    let standard = Grid::standard(layers, Mode::Select).family()?;
    let learned = learned(choosing, k, Mode::Select)?;
    Ok(PolicyFamily::new(standard.chains().iter().chain(learned.chains()).cloned().collect())?)
}

/// Every policy on both halves.
fn run(
    family: &PolicyFamily,
    halves: &(Vec<ScoreTrace>, Vec<ScoreTrace>),
    k: usize,
) -> Outcome<Vec<(Means, Means)>> {
    let policies: Vec<&Policy> = family.policies().collect();
    let measure = |policy: &&Policy| -> Result<_, grating::prune::PruneError> {
        let on = |traces: &[ScoreTrace]| Ok(means(&PolicyRun::measure(policy, traces, k)?));
        Ok((on(&halves.0)?, on(&halves.1)?))
    };
    Ok(policies.par_iter().map(measure).collect::<Result<_, _>>()?)
}

fn means(run: &PolicyRun) -> Means {
    let sum = |layers: &[u64]| layers.iter().sum::<u64>() as f64;
    Means {
        overlap: run.agreement.iter().sum::<f64>() / run.agreement.len() as f64,
        computed: sum(&run.candidate_layers) / sum(&run.full),
    }
}

fn cell(runs: &[(Means, Means)], level: f64) -> String {
    let enough = runs.iter().filter(|(choosing, _)| choosing.overlap >= level);
    let best = enough.min_by(|a, b| a.0.computed.total_cmp(&b.0.computed));
    best.map_or("none".into(), |(_, other)| {
        format!("{:.1} % ({:.3})", 100.0 * (1.0 - other.computed), other.overlap)
    })
}
