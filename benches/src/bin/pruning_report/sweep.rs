//! The sweep: work and time against agreement, the paper's family and ours.

use crate::study::{Kind, OfK, Point, Study, Timed};
use crate::tables::{each, put};
use crate::times::LEVEL;

/// Work at given agreements.
pub(crate) fn frontiers(out: &mut String, sets: &[Study]) {
    put(
        out,
        format_args!(
            "## The sweep\n\nThe cheapest policy whose mean agreement on the calibrating half is at least the level, on the test half: share of \
             candidate-layers computed (overlap), the paper's family / ours. Estimates, not promises.\n"
        ),
    );
    let Some(first) = sets.first().and_then(|set| set.ks.first()) else { return };
    let levels: Vec<f64> = of(first, Kind::Ours).map(|point| point.level).collect();
    let names: Vec<String> = levels.iter().map(|level| format!(" {level:.2} |")).collect();
    let lines = " --- |".repeat(names.len());
    put(out, format_args!("| set | K |{}\n| --- | --- |{lines}", names.concat()));
    for (set, of_k) in each(sets) {
        let cell = |&level: &f64| {
            let text = |family| {
                let found = of(of_k, family).find(|point| point.level == level);
                found.map_or("none".into(), |point| {
                    format!("{:.3} ({:.3})", 1.0 - point.test.saved, point.test.agreement)
                })
            };
            format!(" {} / {} |", text(Kind::Paper), text(Kind::Ours))
        };
        let cells: Vec<String> = levels.iter().map(cell).collect();
        put(out, format_args!("| {} | {} |{}", set.name, of_k.k, cells.concat()));
    }
    dominance(out, sets);
}

/// Of the paper's points on the test half, how many one of ours is at or left of, with no less agreement.
fn dominance(out: &mut String, sets: &[Study]) {
    let mut tally = Tally::default();
    for (set, of_k) in each(sets) {
        for paper in of(of_k, Kind::Paper) {
            let better = of(of_k, Kind::Ours).any(|ours| {
                ours.test.agreement >= paper.test.agreement && ours.test.saved >= paper.test.saved
            });
            let computed = 1.0 - paper.test.saved;
            tally.count(set, of_k, paper, better, &format!("{computed:.3} computed"));
        }
    }
    let summary = tally.summary();
    put(
        out,
        format_args!(
            "\nOn the test half one of our points computes no more and agrees no less than the paper's in {summary}\n"
        ),
    );
}

/// How many of the paper's points one of ours is at least as good as.
#[derive(Default)]
struct Tally {
    beaten: usize,
    all: usize,
    beyond: Vec<String>,
}

impl Tally {
    fn count(&mut self, set: &Study, of_k: &OfK, paper: &Point, better: bool, cost: &str) {
        self.all += 1;
        // The full model agrees with itself and is everybody's.
        if better || paper.test.saved <= 0.0 {
            self.beaten += 1;
        } else {
            let agreement = paper.test.agreement;
            let place = format!("{} K = {} at {cost}", set.name, of_k.k);
            self.beyond.push(format!("{place} and agreement {agreement:.3}"));
        }
    }

    fn summary(&self) -> String {
        let beyond = if self.beyond.is_empty() { "none".into() } else { self.beyond.join("; ") };
        format!("{} of {} points. The others: {beyond}.", self.beaten, self.all)
    }
}

/// Time at given agreements.
pub(crate) fn latency(out: &mut String, sets: &[Study]) {
    put(
        out,
        format_args!(
            "## Wall time\n\nRequests of the test half, in full and by each policy in turn, from call to return. Saved: of the sum of the times, and \
             the median over the requests. The policies are those of the sweep at {LEVEL}; `pruning-SET-sweep.svg` has the whole sweep for K = 10.\n\n\
             | set | K | requests | in full, mean | reading | agreement | candidate-layers saved | wall time saved | median | policy |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        ),
    );
    for (set, of_k) in each(sets) {
        let Some(times) = &set.times else { continue };
        let found = of(of_k, Kind::Ours).find(|point| point.level == LEVEL);
        let timed = set.timed(of_k.k, Kind::Ours, LEVEL);
        let (Some(point), Some(timed)) = (found, timed) else { continue };
        let saved = |share: f64| 100.0 * (1.0 - share);
        put(
            out,
            format_args!(
                "| {} | {} | {} | {:.0} ms | {} | {:.3} | {:.1} % | {:.1} % | {:.1} % | {} |",
                set.name,
                of_k.k,
                times.queries,
                times.full * 1e3,
                if point.fitted { "fitted" } else { "head" },
                timed.overlap,
                saved(timed.layers),
                saved(timed.share),
                saved(timed.median),
                point.policy
            ),
        );
    }
    out.push('\n');
    latencies(out, sets);
}

/// The latency sweep as a table.
fn latencies(out: &mut String, sets: &[Study]) {
    put(
        out,
        format_args!(
            "Time of the requests as a share of that in full, K = 10, and in brackets precision@10 / agreement@10 of the same policy on the whole test half:\n\n\
             | set | family | policies, careful to bold |\n| --- | --- | --- |"
        ),
    );
    for (set, of_k) in each(sets).filter(|(set, of_k)| of_k.k == 10 && set.times.is_some()) {
        for (name, family) in [("the paper's", Kind::Paper), ("ours", Kind::Ours)] {
            let cell = |(timed, point): (&Timed, &Point)| {
                let precision = precision(point).map_or(String::new(), |p| format!("{p:.3} / "));
                format!("{:.2} ({precision}{:.3})", timed.share, point.test.agreement)
            };
            let cells: Vec<String> = timed_points(set, of_k, family).map(cell).collect();
            put(out, format_args!("| {} | {name} | {} |", set.name, cells.join(", ")));
        }
    }
    let mut tally = Tally::default();
    for (set, of_k) in each(sets).filter(|(_, of_k)| of_k.k == 10) {
        for (paper_time, paper) in timed_points(set, of_k, Kind::Paper) {
            let better = timed_points(set, of_k, Kind::Ours).any(|(time, ours)| {
                ours.test.agreement >= paper.test.agreement && time.share <= paper_time.share
            });
            tally.count(set, of_k, paper, better, &format!("{:.2} of the time", paper_time.share));
        }
    }
    let summary = tally.summary();
    put(
        out,
        format_args!(
            "\nOne of our points takes no longer and agrees no less than the paper's in {summary}\n"
        ),
    );
}

/// The points of the sweep that were timed.
pub(crate) fn timed_points<'a>(
    set: &'a Study,
    of_k: &'a OfK,
    family: Kind,
) -> impl Iterator<Item = (&'a Timed, &'a Point)> {
    of(of_k, family).filter_map(move |point| Some((set.timed(of_k.k, family, point.level)?, point)))
}

pub(crate) fn precision(point: &Point) -> Option<f64> {
    point.test.judged.as_ref().map(|judged| judged.pruned.precision)
}

fn of(of_k: &OfK, family: Kind) -> impl Iterator<Item = &Point> {
    of_k.points.iter().filter(move |point| point.family == family)
}
