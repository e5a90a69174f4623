//! The frontier as a picture.

use grating_chart::{Axis, Chart, Panel, Series};
use grating_prune::FrontierPoint;

use crate::profile::{Measured, Profile};

/// The profile's frontier and that of the paper's policies as SVG: the share of candidate-layers computed against the
/// mean agreement@K with the full model, both on the calibration half; the promise as a level; the chosen policies as
/// measured on the test half.
pub fn plot(profile: &Profile) -> String {
    let wanted = profile.promise.agreement;
    // Policies far below the promise would flatten the part that matters.
    let floor = (1.0 - 4.0 * (1.0 - wanted)).max(0.0);
    let line = |name, frontier: &[FrontierPoint]| {
        let seen = frontier.iter().filter(|point| point.agreement >= floor);
        Series::new(name, seen.map(|point| (point.cost, point.agreement)).collect())
    };
    let chosen = |name, measured: &Option<Measured>| {
        let measured = measured.as_ref()?;
        Some(Series::scattered(name, vec![(1.0 - measured.saved, measured.agreement.max(floor))]))
    };
    let mut series = vec![
        line("this family", &profile.calibration.frontier),
        line("the paper's policies", &profile.paper.frontier),
    ];
    series.extend(chosen("chosen, test half", &profile.measured));
    series.extend(chosen("the paper's chosen", &profile.paper_measured));
    let (x, y) = (
        Axis::new("share of candidate-layers computed").between(0.0, 1.0),
        Axis::new("mean agreement with the full model's top K"),
    );
    let title = format!(
        "{}, K = {}, {} queries: agreement against work",
        profile.data.name, profile.k, profile.data.calibration_queries
    );
    let panel = Panel::new(x, y, series).with_level("promised", wanted);
    Chart::new(title, vec![panel]).svg().expect("shares are finite numbers on linear axes")
}
