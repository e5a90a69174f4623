//! A figure as SVG: lines with points, a legend, linear or logarithmic x.

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use crate::bench::table::{Chart, Series};

const SIZE: (u32, u32) = (760, 420);
/// Colours that stay apart for colour-blind readers (Okabe and Ito 2008).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(120, 120, 120),
];

/// Draws the figure.
pub(super) fn draw(chart: &Chart) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        let (x, y) = ranges(&chart.series);
        match chart.log_x {
            true => lines(chart, &area, (x.0..x.1).log_scale(), y)?,
            false => lines(chart, &area, x.0..x.1, y)?,
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// The extent of all points with some air around; y from 0 where nothing is below.
fn ranges(series: &[Series]) -> ((f64, f64), (f64, f64)) {
    let points = || series.iter().flat_map(|line| &line.points);
    let extent = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        })
    };
    let (x_low, x_high) = extent(&mut points().map(|p| p.0));
    let (y_low, y_high) = extent(&mut points().map(|p| p.1));
    if x_low > x_high {
        return ((0.0, 1.0), (0.0, 1.0));
    }
    let x = if x_low < x_high { (x_low, x_high) } else { (x_low * 0.9, x_high * 1.1 + 1e-9) };
    let top = y_high + (y_high - y_low.min(0.0)).abs() * 0.05 + 1e-9;
    (x, (y_low.min(0.0), top))
}

fn lines<X>(
    chart: &Chart,
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    x: X,
    y: (f64, f64),
) -> Result<()>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let mut context = ChartBuilder::on(area)
        .caption(&chart.title, ("sans-serif", 17))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(62)
        .build_cartesian_2d(x, y.0..y.1)
        .map_err(failed)?;
    let number = |value: &f64| match value.abs() {
        10.0.. => format!("{value:.0}"),
        0.0 => "0".to_owned(),
        1.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    context
        .configure_mesh()
        .x_desc(&chart.x)
        .y_desc(&chart.y)
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .light_line_style(WHITE)
        .draw()
        .map_err(failed)?;
    for (i, line) in chart.series.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        context
            .draw_series(LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)))
            .map_err(failed)?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        let points = line.points.iter().map(|&point| Circle::new(point, 3, colour.filled()));
        context.draw_series(points).map_err(failed)?;
    }
    context
        .configure_series_labels()
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(failed)?;
    Ok(())
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw the figure: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>, log_x: bool) -> Chart {
        Chart {
            name: "c".into(),
            title: "A title".into(),
            x: "candidates".into(),
            y: "seconds".into(),
            log_x,
            series: vec![Series { name: "a line".into(), points }],
        }
    }

    #[test]
    fn figures_hold_their_words_and_points() {
        for log_x in [false, true] {
            let svg = draw(&chart(vec![(10.0, 1.0), (100.0, 3.0), (1000.0, 9.0)], log_x)).unwrap();
            for part in ["<svg", "A title", "candidates", "seconds", "a line"] {
                assert!(svg.contains(part), "{part}");
            }
            assert_eq!(svg.matches("<circle").count(), 3);
        }
        assert!(draw(&chart(vec![(5.0, 2.0)], false)).is_ok());
        assert!(draw(&chart(Vec::new(), false)).is_ok());
    }
}
