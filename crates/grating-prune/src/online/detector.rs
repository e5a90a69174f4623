//! Whether a policy that was certified has begun to break its promise.

/// Stakes, as shares of the largest that there is.
const STAKES: [f64; 4] = [0.1, 0.3, 0.6, 0.95];

/// Shiryaev-Roberts processes over audited losses, one for each stake.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Detector {
    processes: [f64; STAKES.len()],
    pub(super) audits: u64,
}

impl Detector {
    pub(super) fn new() -> Self {
        Detector { processes: [0.0; STAKES.len()], audits: 0 }
    }

    /// An audited loss; whether it raises an alarm, where so many audits should pass between false ones on average.
    pub(super) fn observe(&mut self, loss: f64, allowed: f64, audits_between: f64) -> bool {
        for (process, share) in self.processes.iter_mut().zip(STAKES) {
            let factor = 1.0 + share / allowed * (loss - allowed);
            *process = (*process + 1.0) * factor;
        }
        self.audits += 1;
        self.level() >= audits_between
    }

    fn level(&self) -> f64 {
        self.processes.iter().sum::<f64>() / STAKES.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_random::Random;

    #[test]
    fn a_shift_is_noticed_within_a_few_audits_and_a_kept_promise_is_left_alone() {
        let mut shifted = Detector::new();
        (0..500).for_each(|i| {
            let loss = if i % 25 == 0 { 0.2 } else { 0.0 };
            assert!(!shifted.observe(loss, 0.05, 1000.0), "{i}");
        });
        let noticed = (1..50).find(|_| shifted.observe(0.4, 0.05, 1000.0));
        assert!(noticed.is_some_and(|audits| audits <= 5), "{noticed:?}");
    }

    /// On the edge of the promise, alarms come less often than once in so many audits.
    #[test]
    fn false_alarms_are_as_rare_as_promised() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let (mut audits, mut alarms) = (0.0, 0.0);
        for _ in 0..300 {
            let mut detector = Detector::new();
            for _ in 0..20_000 {
                audits += 1.0;
                let loss = if random.uniform() < 0.25 { 0.2 } else { 0.0 };
                if detector.observe(loss, 0.05, 200.0) {
                    alarms += 1.0;
                    break;
                }
            }
        }
        assert!(audits / alarms >= 200.0, "{}", audits / alarms);
        assert!(alarms > 30.0, "a detector that never speaks would pass");
    }
}
