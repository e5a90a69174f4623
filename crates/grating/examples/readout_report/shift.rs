//! Readouts and policies of one set on another.

use grating::Mode;
use grating::prune::calibrate::learned;
use grating::prune::{PolicyRun, ScoreTrace, Sweep};

use crate::{Model, Outcome, put};

const KS: [usize; 3] = [1, 5, 10];
/// Mean agreement on the half that chooses.
const LEVEL: f64 = 0.97;
/// Points of the candidate-layers that readouts must save more than the head on that half, where they are taken only then.
const WORTH: f64 = 10.0;

/// Agreement and share of the candidate-layers saved.
#[derive(Clone, Copy)]
struct Point {
    agreement: f64,
    saved: f64,
}

/// What was chosen on a set, read by the head and by its readouts, as a cell of the table has it.
struct Cell {
    head: Point,
    fitted: Point,
    /// Whether readouts saved enough where they were chosen.
    worth: bool,
}

pub(crate) fn report(sets: &[Model]) -> Outcome<String> {
    let mut out = format!(
        "# Readouts on another traffic\n\n\
         Written by `cargo run --release -p grating --example readout_report -- shift docs/measurements SET=TRACES...`, from scores and hidden states of the default \
         model. Readouts are fitted, gaps learned, and the cheapest policy whose mean agreement is at least {LEVEL} is chosen on one half of a set; used on the \
         other half of it and on all of the other sets. Agreement, candidate-layers saved: by the model's own head / by readouts; \
         bold where readouts saved {WORTH} points more than the head on the half that chose. No promise is certified here.\n\n\
         | chosen on | used on | {} |\n| --- | --- | {} |\n",
        KS.map(|k| format!("K = {k}")).join(" | "),
        KS.map(|_| "---").join(" | ")
    );
    let mut cells: Vec<[Vec<Cell>; 2]> = KS.iter().map(|_| Default::default()).collect();
    for chosen in sets {
        for used in sets {
            let own = used.name == chosen.name;
            let mut words = Vec::new();
            for (k, cells) in KS.into_iter().zip(&mut cells) {
                let cell = cell(chosen, used, k)?;
                words.push(cell.words());
                cells[usize::from(!own)].push(cell);
            }
            let other = if own { "its other half" } else { used.name.as_str() };
            put(&mut out, format_args!("| {} | {other} | {} |", chosen.name, words.join(" | ")));
        }
    }
    summary(&mut out, &cells);
    Ok(out)
}

fn summary(out: &mut String, cells: &[[Vec<Cell>; 2]]) {
    out.push_str(
        "\nMeans; lost more: where readouts agree less than the head by more than 0.005; either: by readouts where they saved so much more on the half that chose, by \
         the head elsewhere.\n\n\
         | K | used on | head | readouts | either | readouts lost more | less |\n| ---: | --- | --- | --- | --- | ---: | ---: |\n",
    );
    for (k, cells) in KS.iter().zip(cells) {
        for (cells, name) in cells.iter().zip(["its other half", "another set"]) {
            let of = |point: &dyn Fn(&Cell) -> Point| {
                let sum = |value: fn(Point) -> f64| {
                    cells.iter().map(|cell| value(point(cell))).sum::<f64>() / cells.len() as f64
                };
                format!("{:.3}, {:.1} %", sum(|p| p.agreement), 100.0 * sum(|p| p.saved))
            };
            let (head, fitted) = (of(&|cell| cell.head), of(&|cell| cell.fitted));
            let either = of(&|cell| if cell.worth { cell.fitted } else { cell.head });
            let apart = |cell: &Cell| cell.fitted.agreement - cell.head.agreement;
            let lost = cells.iter().filter(|cell| apart(cell) < -0.005).count();
            let won = cells.iter().filter(|cell| apart(cell) > 0.005).count();
            let all = cells.len();
            put(
                out,
                format_args!(
                    "| {k} | {name} | {head} | {fitted} | {either} | {lost} of {all} | {won} |"
                ),
            );
        }
    }
}

impl Cell {
    fn words(&self) -> String {
        let point = |p: Point| format!("{:.3}, {:.0} %", p.agreement, 100.0 * p.saved);
        let mark = if self.worth { "**" } else { "" };
        format!("{} / {mark}{}{mark}", point(self.head), point(self.fitted))
    }
}

fn cell(chosen: &Model, used: &Model, k: usize) -> Outcome<Cell> {
    let (by_head, head_saved) = choice(&Model::halves(&chosen.head).0, k)?;
    let (by_fitted, fitted_saved) = choice(&Model::halves(&chosen.fitted).0, k)?;
    let (head, fitted) = match used.name == chosen.name {
        true => (Model::halves(&chosen.head).1, Model::halves(&chosen.fitted).1),
        false => (used.head.clone(), used.read_by(&chosen.readouts)?),
    };
    Ok(Cell {
        head: on(&by_head, &head, k)?,
        fitted: on(&by_fitted, &fitted, k)?,
        worth: 100.0 * (fitted_saved - head_saved) >= WORTH,
    })
}

/// The cheapest policy that agrees enough, and what it saves.
fn choice(traces: &[ScoreTrace], k: usize) -> Outcome<(grating::Policy, f64)> {
    let family = learned(traces, k, Mode::Select)?;
    let sweep = Sweep::run(&family, traces, k)?;
    let frontier = sweep.frontier();
    let enough = frontier.iter().filter(|point| point.agreement >= LEVEL);
    let best = enough.min_by(|a, b| a.cost.total_cmp(&b.cost)).ok_or("no policy agrees enough")?;
    Ok((best.policy.clone(), 1.0 - best.cost))
}

fn on(policy: &grating::Policy, traces: &[ScoreTrace], k: usize) -> Outcome<Point> {
    let contested: Vec<ScoreTrace> =
        traces.iter().filter(|trace| trace.candidates() > k).cloned().collect();
    let run = PolicyRun::measure(policy, &contested, k)?;
    let sum = |layers: &[u64]| layers.iter().sum::<u64>() as f64;
    Ok(Point {
        agreement: run.agreement.iter().sum::<f64>() / run.agreement.len() as f64,
        saved: 1.0 - sum(&run.candidate_layers) / sum(&run.full),
    })
}
