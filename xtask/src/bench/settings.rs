//! Ways to run GRATING that the tables compare, as options of its command line.

use serde::Serialize;

/// One way to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) flags: Vec<String>,
}

impl Setting {
    pub(super) fn new(name: impl Into<String>, flags: &[&str]) -> Self {
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        Self { name: name.into(), flags }
    }

    /// The same with more options.
    pub(super) fn with(&self, name: impl Into<String>, flags: &[&str]) -> Self {
        let mut all = self.flags.clone();
        all.extend(flags.iter().map(|&flag| flag.to_owned()));
        Self { name: name.into(), flags: all }
    }
}

/// Every candidate through every layer, the weights in memory.
pub(super) fn full_resident() -> Setting {
    Setting::new("full, resident", &["--no-prune", "--window", "all"])
}

/// Every candidate through every layer, two layers' weights in memory, few embedding rows.
pub(super) fn full_streamed() -> Setting {
    Setting::new("full, streamed", &["--no-prune", "--window", "2", "--row-cache"])
}

/// Every candidate through every layer, however the build does that by itself.
pub(super) fn full_default() -> Setting {
    Setting::new("full, as built", &[])
}

/// Streamed and pruned, cautiously.
pub(super) fn precision_first() -> Setting {
    pruned("pruned, precision-first", PRECISION_FIRST)
}

/// Streamed and pruned, boldly.
pub(super) fn latency_first() -> Setting {
    pruned("pruned, latency-first", LATENCY_FIRST)
}

/// Dispersion thresholds of the two operating points.
pub(super) const PRECISION_FIRST: f64 = 0.8;
pub(super) const LATENCY_FIRST: f64 = 0.4;

/// Streamed and pruned from a dispersion on.
pub(super) fn pruned(name: impl Into<String>, threshold: f64) -> Setting {
    let threshold = threshold.to_string();
    Setting::new(name, &["--prune", "--threshold", &threshold, "--window", "2", "--row-cache"])
}

/// The settings of the first table.
pub(super) fn micro() -> Vec<Setting> {
    let mut settings = vec![full_resident(), full_streamed(), precision_first(), latency_first()];
    let quantized =
        |s: &Setting| s.with(format!("{}, quantized", s.name), &["--precision", "fast"]);
    settings.extend(settings.clone().iter().map(quantized));
    settings
}
