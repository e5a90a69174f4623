//! Figures as SVG: lines with points, a legend, linear or logarithmic x; bars in panels.

use anyhow::{Result, anyhow};
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::bars::{Bars, Panel};
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

/// Draws lines.
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

fn lines<X>(chart: &Chart, area: &Area<'_>, x: X, y: (f64, f64)) -> Result<()>
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

/// Measures of a figure of bars, in pixels.
const BAR: i32 = 20;
const HEAD: i32 = 62;
const LABELS: i32 = 330;
const PANEL: i32 = 270;
/// Room for the number behind the longest bar.
const NUMBER: i32 = 70;

/// Draws bars, each panel on a scale from 0 to its largest value.
pub(super) fn draw_bars(figure: &Bars) -> Result<String> {
    let width = LABELS + PANEL * figure.panels.len() as i32 + 12;
    let height = HEAD + BAR * figure.labels.len() as i32 + 12;
    let mut svg = String::new();
    {
        let size = (width.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        write(&area, &figure.title, (12, 10), 17)?;
        for (i, label) in figure.labels.iter().enumerate() {
            write(&area, &label.text, (12, HEAD + BAR * i as i32 + 3), 12)?;
        }
        for (i, panel) in figure.panels.iter().enumerate() {
            let peers = figure.labels.iter().map(|label| label.peer);
            bars(&area, panel, LABELS + PANEL * i as i32, peers)?;
        }
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn bars(
    area: &Area<'_>,
    panel: &Panel,
    left: i32,
    peers: impl Iterator<Item = bool>,
) -> Result<()> {
    write(area, &panel.title, (left, HEAD - 22), 13)?;
    let largest = panel.values.iter().flatten().map(|value| value.0).fold(0.0, f64::max);
    for (i, (value, peer)) in panel.values.iter().zip(peers).enumerate() {
        let Some((value, shown)) = value else { continue };
        let part = if largest > 0.0 { value.max(0.0) / largest } else { 0.0 };
        let right = left + (part * f64::from(PANEL - NUMBER)).round() as i32;
        let top = HEAD + BAR * i as i32;
        let colour = if peer { COLOURS[7] } else { COLOURS[0] };
        let corners = [(left, top + 3), (right, top + BAR - 3)];
        area.draw(&Rectangle::new(corners, colour.filled())).map_err(failed)?;
        write(area, shown, (right + 5, top + 3), 12)?;
    }
    Ok(())
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), size: u32) -> Result<()> {
    area.draw(&Text::new(text, at, ("sans-serif", size))).map_err(failed)
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

    #[test]
    fn bars_are_as_long_as_their_values() {
        use super::super::bars::Label;

        let label = |text: &str, peer| Label { text: text.into(), peer };
        let value = |value: f64| Some((value, value.to_string()));
        let figure = Bars {
            name: "n".into(),
            title: "A title".into(),
            labels: vec![label("ours", false), label("theirs", true), label("gone", true)],
            panels: vec![Panel { title: "s".into(), values: vec![value(1.0), value(4.0), None] }],
        };
        let svg = draw_bars(&figure).unwrap();
        for part in ["A title", "ours", "theirs", "gone"] {
            assert!(svg.contains(part), "{part}");
        }
        let widths: Vec<i32> = svg
            .lines()
            .filter(|line| line.contains("<rect") && line.contains("height=\"14\""))
            .filter_map(|line| line.split("width=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(widths, [50, 200]);
    }
}
