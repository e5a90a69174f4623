//! How fast the machine reads, spills and computes; learnt from runs.

use crate::error::PlanError;

/// Weight of a new measurement against the estimate so far.
const WEIGHT: f64 = 0.3;
/// Transfers of fewer bytes say more about latency than about bandwidth.
const LEAST_BYTES: u64 = 8 << 20;
/// Shorter measurements say more about the clock than about the machine.
const LEAST_SECONDS: f64 = 1e-3;

/// Sustained rates of a machine. Estimates: they decide between plans and predict times, and never
/// change what fits.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Machine {
    /// Reading weights, bytes per second.
    pub read_bytes_per_second: f64,
    /// Writing and reading spilled hidden states, bytes per second, both directions together.
    pub spill_bytes_per_second: f64,
    /// Computing with all threads in large chunks, FLOP per second.
    pub flops_per_second: f64,
}

/// What a machine is taken for before its first measurement: a modest disk (1 GB/s, half of that when
/// it writes too) and a few CPU cores (100 GFLOP/s).
impl Default for Machine {
    fn default() -> Self {
        Self { read_bytes_per_second: 1e9, spill_bytes_per_second: 5e8, flops_per_second: 1e11 }
    }
}

/// What a run did and how long each kind of work was busy (not waiting). Zeros where there was none.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measurement {
    /// Weights read, bytes.
    pub read_bytes: u64,
    /// Time in which at least one of these reads was in flight, seconds.
    pub read_seconds: f64,
    /// Hidden states written and read, bytes.
    pub spill_bytes: u64,
    /// Time in which at least one of these transfers was in flight, seconds.
    pub spill_seconds: f64,
    /// Work done, as [`Workload::flops`](crate::Workload::flops) counts it, FLOP.
    pub flops: f64,
    /// Time in which layers were computed, seconds.
    pub compute_seconds: f64,
}

impl Machine {
    /// Moves each rate towards a run's own by an exponential average; the newest run weighs 0.3.
    ///
    /// Transfers below 8 MiB and times below a millisecond are ignored, and so is what is not finite.
    pub fn observe(&mut self, run: &Measurement) {
        self.learn(run, WEIGHT);
    }

    /// Takes a run's own rates for the machine's, where [`observe`](Self::observe) would move towards them: for the
    /// first run, before which the rates were a guess.
    pub fn adopt(&mut self, run: &Measurement) {
        self.learn(run, 1.0);
    }

    fn learn(&mut self, run: &Measurement, weight: f64) {
        let enough = |bytes: u64| if bytes < LEAST_BYTES { 0.0 } else { bytes as f64 };
        let (read, spill) = (enough(run.read_bytes), enough(run.spill_bytes));
        learn(&mut self.read_bytes_per_second, read, run.read_seconds, weight);
        learn(&mut self.spill_bytes_per_second, spill, run.spill_seconds, weight);
        learn(&mut self.flops_per_second, run.flops, run.compute_seconds, weight);
    }

    pub(crate) fn validate(&self) -> Result<(), PlanError> {
        for (what, found) in [
            ("read_bytes_per_second", self.read_bytes_per_second),
            ("spill_bytes_per_second", self.spill_bytes_per_second),
            ("flops_per_second", self.flops_per_second),
        ] {
            if !(found.is_finite() && found > 0.0) {
                let expected = "more than 0";
                return Err(PlanError::InvalidNumber { what, found, expected });
            }
        }
        Ok(())
    }
}

fn learn(rate: &mut f64, amount: f64, seconds: f64, weight: f64) {
    let sample = amount / seconds;
    if seconds >= LEAST_SECONDS && sample.is_finite() && sample > 0.0 {
        *rate += weight * (sample - *rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_approach_what_is_measured() {
        let mut machine = Machine::default();
        let run = Measurement {
            read_bytes: 1 << 30,
            read_seconds: 0.5,
            flops: 4e11,
            compute_seconds: 2.0,
            ..Measurement::default()
        };
        machine.observe(&run);
        assert!((machine.flops_per_second - 1.3e11).abs() < 1.0);
        for _ in 0..30 {
            machine.observe(&run);
        }
        assert!((machine.read_bytes_per_second / (2.0 * f64::from(1 << 30)) - 1.0).abs() < 1e-3);
        assert!((machine.flops_per_second / 2e11 - 1.0).abs() < 1e-3);
        assert_eq!(machine.spill_bytes_per_second, Machine::default().spill_bytes_per_second);
    }

    #[test]
    fn a_first_run_replaces_the_guess() {
        let mut machine = Machine::default();
        let run = Measurement { read_bytes: 1 << 24, read_seconds: 2.0, ..Measurement::default() };
        machine.adopt(&run);
        let expected = Machine { read_bytes_per_second: 8_388_608.0, ..Machine::default() };
        assert_eq!(machine, expected);
    }

    #[test]
    fn tiny_and_broken_samples_teach_nothing() {
        let mut machine = Machine::default();
        let tiny = Measurement { read_bytes: 4096, read_seconds: 1.0, ..Measurement::default() };
        let instant = Measurement { flops: 1e9, compute_seconds: 0.0, ..Measurement::default() };
        let broken =
            Measurement { flops: f64::NAN, compute_seconds: 1.0, ..Measurement::default() };
        let backwards = Measurement { flops: 1e9, compute_seconds: -1.0, ..Measurement::default() };
        for run in [tiny, instant, broken, backwards, Measurement::default()] {
            machine.observe(&run);
        }
        assert_eq!(machine, Machine::default());
    }
}
