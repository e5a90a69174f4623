//! Agreement@10 with the final order against the layer, as SVG.

use grating_chart::{Axis, Chart, ChartError, Panel, Series};

use crate::layers::Agreement;

pub(crate) fn draw(name: &str, layers: &[(Agreement, Agreement)]) -> Result<String, ChartError> {
    let line = |name, of: fn(&(Agreement, Agreement)) -> f64| {
        Series::new(name, layers.iter().enumerate().map(|(i, l)| (i as f64, of(l))).collect())
    };
    let series = vec![
        line("fitted readouts", |(_, fitted)| fitted.overlap_at_10),
        line("the model's own head", |(head, _)| head.overlap_at_10),
    ];
    let y = Axis::new("agreement@10 with the final order").between(0.0, 1.0);
    let panel = Panel::new(Axis::new("layer"), y, series);
    Chart::new(format!("{name}: the order after each layer"), vec![panel]).svg()
}
