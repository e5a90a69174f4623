//! Counters, histograms and gauges, in the text form of Prometheus.

pub(crate) mod names;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grating::Stats;
use grating::prune::online::Phase;

use crate::models::Model;
use crate::state::Shared;
use names::{Family, Form};

/// `name="value"` pairs as they are written.
type Labels = String;

/// What was counted since the server began.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    counters: BTreeMap<(&'static str, Labels), f64>,
    histograms: BTreeMap<(&'static str, Labels), Histogram>,
}

#[derive(Debug, Default)]
struct Histogram {
    /// Of each of the family's bounds, how many were at most that and above the one before.
    buckets: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Metrics {
    pub(crate) fn add(&self, family: &'static Family, labels: &[(&str, &str)], more: f64) {
        let key = (family.name, written(labels));
        *self.counted().counters.entry(key).or_default() += more;
    }

    fn observe(&self, family: &'static Family, labels: &[(&str, &str)], value: f64) {
        let Form::Histogram(bounds) = family.form else { return };
        let mut counted = self.counted();
        let histogram = counted.histograms.entry((family.name, written(labels))).or_default();
        histogram.buckets.resize(bounds.len(), 0);
        if let Some(bucket) = bounds.iter().position(|&bound| value <= bound) {
            histogram.buckets[bucket] += 1;
        }
        histogram.count += 1;
        histogram.sum += value;
    }

    /// An answer with scores.
    pub(crate) fn answered(&self, model: &str, stats: &Stats) {
        let labels = [("model", model)];
        let full = (stats.passages * stats.layers) as u64;
        let saved = full.saturating_sub(stats.candidate_layers);
        for (family, value) in [
            (&names::RERANKED, 1.0),
            (&names::TEXTS, stats.candidates as f64),
            (&names::TOKENS, stats.tokens as f64),
            (&names::TRUNCATED, stats.truncated as f64),
            (&names::CANDIDATE_LAYERS, stats.candidate_layers as f64),
            (&names::SAVED, saved as f64),
            (&names::READ, stats.weight_bytes_read as f64),
        ] {
            self.add(family, &labels, value);
        }
        self.observe(&names::DURATION, &labels, stats.total.as_secs_f64());
        self.observe(&names::PASS, &labels, stats.requests_in_pass as f64);
        for (stage, time) in stages(stats) {
            let labels = [("model", model), ("stage", stage)];
            self.observe(&names::STAGE, &labels, time.as_secs_f64());
        }
    }

    /// All of them, with what the models say of themselves now.
    pub(crate) fn expose(&self, shared: &Shared) -> String {
        let mut gauges = Vec::new();
        gauge(&mut gauges, &names::UP, &[("phase", shared.phase().word())], 1.0);
        if let Some(bytes) = grating::current_rss_bytes() {
            gauge(&mut gauges, &names::RESIDENT, &[], bytes as f64);
        }
        shared.models.all().iter().for_each(|model| model_gauges(&mut gauges, model));
        let counted = self.counted();
        let mut out = String::new();
        for family in names::ALL {
            let gauges = gauges.iter().filter(|(of, ..)| of.name == family.name);
            let counters = counted.counters.iter().filter(|((name, _), _)| *name == family.name);
            let plain: Vec<(&str, f64)> = gauges
                .map(|(_, labels, value)| (labels.as_str(), *value))
                .chain(counters.map(|((_, labels), value)| (labels.as_str(), *value)))
                .collect();
            let of = |((name, _), _): &(&(&str, Labels), &Histogram)| *name == family.name;
            let histograms: Vec<_> = counted.histograms.iter().filter(of).collect();
            if plain.is_empty() && histograms.is_empty() {
                continue;
            }
            head(&mut out, family);
            plain.iter().for_each(|(labels, value)| line(&mut out, family.name, labels, *value));
            for ((_, labels), histogram) in histograms {
                histogram.write(&mut out, family, labels);
            }
        }
        out
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stages(stats: &Stats) -> [(&'static str, Duration); 6] {
    [
        ("tokenize", stats.tokenize),
        ("queue", stats.queued),
        ("embed", stats.embed),
        ("read_wait", stats.stall),
        ("compute", stats.compute),
        ("spill_wait", stats.spill_wait),
    ]
}

type Gauge = (&'static Family, Labels, f64);

fn gauge(out: &mut Vec<Gauge>, family: &'static Family, labels: &[(&str, &str)], value: f64) {
    out.push((family, written(labels), value));
}

fn model_gauges(out: &mut Vec<Gauge>, model: &Model) {
    let labels = [("model", model.name.as_str())];
    let waiting = model.reranker.waiting();
    let tokens: usize = waiting.jobs.iter().map(|job| job.tokens).sum();
    gauge(out, &names::QUEUE_LENGTH, &labels, waiting.length as f64);
    gauge(out, &names::QUEUED, &labels, (waiting.jobs.len() + waiting.reserved) as f64);
    gauge(out, &names::QUEUED_TOKENS, &labels, tokens as f64);
    gauge(out, &names::RUNNING, &labels, waiting.running as f64);
    gauge(out, &names::PREDICTED, &labels, model.load.predicted().as_secs_f64());
    let audits = model.reranker.audits();
    gauge(out, &names::AUDITED, &labels, audits.audited as f64);
    if let Some(agreement) = audits.mean_agreement {
        gauge(out, &names::AGREEMENT, &labels, agreement);
    }
    pruning_gauges(out, model);
    let Some(memory) = model.memory() else { return };
    for (used_for, bytes) in memory.planned.uses() {
        let labels = [("model", model.name.as_str()), ("use", used_for)];
        gauge(out, &names::PLANNED, &labels, bytes as f64);
    }
    if let Some(budget) = memory.budget {
        gauge(out, &names::BUDGET, &labels, budget as f64);
    }
}

/// Whether requests are pruned, and how often that was given up, for each K.
fn pruning_gauges(out: &mut Vec<Gauge>, model: &Model) {
    let given = model.reranker.monitored().into_iter();
    let given = given.map(|status| (status.k, status.in_use, status.suspicions, status.alarms));
    let learned = model.reranker.learned().unwrap_or_default().into_iter();
    let learned = learned
        .map(|status| (status.k, status.phase == Phase::Pruning, status.suspicions, status.alarms));
    for (k, pruning, suspicions, alarms) in given.chain(learned) {
        let k = k.to_string();
        let labels = [("model", model.name.as_str()), ("k", k.as_str())];
        gauge(out, &names::PRUNING, &labels, f64::from(u8::from(pruning)));
        gauge(out, &names::SUSPICIONS, &labels, suspicions as f64);
        gauge(out, &names::ALARMS, &labels, alarms as f64);
    }
}

impl Histogram {
    fn write(&self, out: &mut String, family: &Family, labels: &str) {
        let Form::Histogram(bounds) = family.form else { return };
        let comma = if labels.is_empty() { "" } else { "," };
        let bucket = format!("{}_bucket", family.name);
        let mut below = 0;
        for (bound, count) in bounds.iter().zip(&self.buckets) {
            below += count;
            line(out, &bucket, &format!("{labels}{comma}le=\"{bound}\""), below as f64);
        }
        line(out, &bucket, &format!("{labels}{comma}le=\"+Inf\""), self.count as f64);
        line(out, &format!("{}_sum", family.name), labels, self.sum);
        line(out, &format!("{}_count", family.name), labels, self.count as f64);
    }
}

fn head(out: &mut String, family: &Family) {
    let form = match family.form {
        Form::Counter => "counter",
        Form::Gauge => "gauge",
        Form::Histogram(_) => "histogram",
    };
    // Writing to a string does not fail.
    _ = writeln!(out, "# HELP {} {}\n# TYPE {} {form}", family.name, family.help, family.name);
}

fn line(out: &mut String, name: &str, labels: &str, value: f64) {
    _ = match labels.is_empty() {
        true => writeln!(out, "{name} {value}"),
        false => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}

fn written(labels: &[(&str, &str)]) -> Labels {
    let escaped =
        |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let pair = |(name, value): &(&str, &str)| format!("{name}=\"{}\"", escaped(value));
    labels.iter().map(pair).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_all_below_and_labels_are_escaped() {
        let metrics = Metrics::default();
        for value in [0.0005, 0.02, 1e9] {
            metrics.observe(&names::DURATION, &[("model", "a\"b\n")], value);
        }
        let counted = metrics.counted();
        let ((name, labels), histogram) = counted.histograms.iter().next().unwrap();
        assert_eq!((*name, labels.as_str()), (names::DURATION.name, "model=\"a\\\"b\\n\""));
        let mut out = String::new();
        histogram.write(&mut out, &names::DURATION, labels);
        assert!(out.contains("le=\"0.001\"} 1\n") && out.contains("le=\"0.025\"} 2\n"), "{out}");
        assert!(
            out.contains("le=\"+Inf\"} 3\n") && out.contains("_count{model=\"a\\\"b\\n\"} 3\n")
        );
    }
}
