//! The sweep as a picture: time against agreement with the full model, and against judgments.

use grating_chart::{Axis, Chart, Panel, Series};

use crate::Outcome;
use crate::study::{Kind, Point, Study};
use crate::sweep::{precision, timed_points};

/// Two panels for the largest K; nothing where no times were taken.
pub(crate) fn draw(set: &Study) -> Outcome<Option<String>> {
    let Some(of_k) = set.ks.last() else { return Ok(None) };
    let panel = |name: &str, value: fn(&Point) -> Option<f64>| {
        let line = |(name, family)| {
            let points = timed_points(set, of_k, family);
            let mut points: Vec<(f64, f64)> =
                points.filter_map(|(t, point)| Some((t.share.min(1.1), value(point)?))).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Series::new(name, points)
        };
        let series = [("ours", Kind::Ours), ("the paper's policies", Kind::Paper)].map(line);
        let x = Axis::new("time, full pass = 1").between(0.0, 1.1);
        Panel::new(x, Axis::new(name), series.into())
    };
    let panels = [
        panel("agreement@10 with the full model", |point| Some(point.test.agreement)),
        panel("precision@10", precision),
    ];
    let drawn = |panel: &Panel| panel.series.iter().any(|series| !series.points.is_empty());
    let panels: Vec<Panel> = panels.into_iter().filter(drawn).collect();
    if panels.is_empty() {
        return Ok(None);
    }
    let title = format!("{}: time against agreement and precision, test half", set.name);
    Ok(Some(Chart::new(title, panels).svg()?))
}
