//! Panels of lines.

use plotters::element::DashedPathElement;
use plotters::prelude::*;

use crate::scale::Scale;
use crate::style::{
    Area, GREY, GRID, LOOKS, Look, SMALL, WORDS, mark, number, picture, widest, width_of, write,
};
use crate::{Axis, Chart, ChartError, Panel, Series};

/// Of one panel, pixels: all of it but the names, and what lies around the lines.
const WIDTH: i32 = 530;
const HEIGHT: i32 = 364;
const LEFT: i32 = 70;
const TOP: i32 = 30;
const BOTTOM: i32 = 52;
/// Height of the title.
const TITLE_ROW: i32 = 36;
/// Most panels in a row.
const IN_A_ROW: usize = 2;
/// Least distance of names from one another.
const APART: i32 = 15;

pub(crate) fn draw(chart: &Chart) -> Result<String, ChartError> {
    for panel in &chart.panels {
        check(panel)?;
    }
    let (panels, width) = place(&chart.panels);
    let height = TITLE_ROW + HEIGHT * chart.panels.len().div_ceil(IN_A_ROW) as i32;
    picture(&chart.title, (width, height), |area| {
        panels.iter().try_for_each(|frame| frame.draw(area))
    })
}

/// Panels in rows, and the width of the widest row; those in a column begin at the same place.
fn place(panels: &[Panel]) -> (Vec<Frame<'_>>, i32) {
    let in_column = |column: usize| panels.iter().skip(column).step_by(IN_A_ROW);
    let mut starts = vec![0];
    for column in 0..IN_A_ROW.min(panels.len()) {
        starts.push(starts[column] + in_column(column).map(width).max().unwrap_or(0));
    }
    let frame = |(at, panel)| {
        let top = TITLE_ROW + HEIGHT * (at / IN_A_ROW) as i32;
        Frame::new(panel, (starts[at % IN_A_ROW], top))
    };
    (panels.iter().enumerate().map(frame).collect(), starts[starts.len() - 1].max(WIDTH))
}

/// Of a panel with the names at its right.
fn width(panel: &Panel) -> i32 {
    let names = panel.series.iter().map(|series| &series.name);
    let names = names.chain(panel.level.iter().map(|level| &level.0));
    WIDTH + widest(names.map(String::as_str)) + 20
}

/// That every point can be shown.
fn check(panel: &Panel) -> Result<(), ChartError> {
    let shown = |axis: &Axis, value: f64| value.is_finite() && (!axis.log || value > 0.0);
    for series in &panel.series {
        for &(x, y) in &series.points {
            let wrong = [(&panel.x, x), (&panel.y, y)].into_iter().find(|(a, v)| !shown(a, *v));
            if let Some((axis, _)) = wrong {
                return Err(ChartError::Point {
                    series: series.name.clone(),
                    point: format!("({x}, {y})"),
                    axis: axis.label.clone(),
                });
            }
        }
    }
    Ok(())
}

/// A panel and where its values lie.
struct Frame<'a> {
    panel: &'a Panel,
    /// Its left upper corner.
    corner: (i32, i32),
    x: Scale,
    y: Scale,
}

impl<'a> Frame<'a> {
    fn new(panel: &'a Panel, corner: (i32, i32)) -> Self {
        let points = || panel.series.iter().flat_map(|series| &series.points);
        let across = (corner.0 + LEFT, corner.0 + WIDTH - 10);
        let up = (corner.1 + HEIGHT - BOTTOM, corner.1 + TOP);
        let levels = panel.level.iter().map(|level| level.1);
        let x = Scale::new(&panel.x, points().map(|p| p.0), across);
        let y = Scale::new(&panel.y, points().map(|p| p.1).chain(levels), up);
        Frame { panel, corner, x, y }
    }

    fn draw(&self, area: &Area<'_>) -> Result<(), String> {
        self.axes(area)?;
        let mut ends = Vec::new();
        for (at, series) in self.panel.series.iter().enumerate() {
            let look = LOOKS[at % LOOKS.len()];
            if let Some(end) = self.series(area, series, look)? {
                ends.push((end, series.name.as_str(), look.colour));
            }
        }
        if let Some((name, y)) = &self.panel.level {
            let y = self.y.place(*y);
            self.path(area, vec![(self.left(), y), (self.right(), y)], GREY, (2, 4))?;
            ends.push(((self.right(), y), name, GREY));
        }
        self.names(area, ends)
    }

    fn left(&self) -> i32 {
        self.corner.0 + LEFT
    }

    fn right(&self) -> i32 {
        self.corner.0 + WIDTH - 10
    }

    fn top(&self) -> i32 {
        self.corner.1 + TOP
    }

    fn bottom(&self) -> i32 {
        self.corner.1 + HEIGHT - BOTTOM
    }

    /// Grid, ticks and what the axes show.
    fn axes(&self, area: &Area<'_>) -> Result<(), String> {
        let (left, right, bottom) = (self.left(), self.right(), self.bottom());
        for tick in self.x.ticks() {
            let x = self.x.place(tick);
            self.path(area, vec![(x, self.top()), (x, bottom)], GRID, (1, 0))?;
            let text = number(tick);
            write(area, &text, (x - width_of(&text) / 2, bottom + 7), SMALL, BLACK)?;
        }
        for tick in self.y.ticks() {
            let y = self.y.place(tick);
            self.path(area, vec![(left, y), (right, y)], GRID, (1, 0))?;
            let text = number(tick);
            write(area, &text, (left - 8 - width_of(&text), y - 5), SMALL, BLACK)?;
        }
        let middle = (left + right) / 2 - width_of(&self.panel.x.label) / 2;
        write(area, &self.panel.x.label, (middle, bottom + 30), WORDS, BLACK)?;
        // What y shows stands above it, where it is read without turning one's head.
        write(area, &self.panel.y.label, (self.corner.0 + 12, self.top() - 24), WORDS, BLACK)?;
        let above = left + width_of(&self.panel.y.label) + 20;
        write(area, &self.panel.title, (above, self.top() - 24), WORDS, GREY)
    }

    /// A line with its markers; where it ends, in pixels.
    fn series(
        &self,
        area: &Area<'_>,
        series: &Series,
        look: Look,
    ) -> Result<Option<(i32, i32)>, String> {
        let places: Vec<(i32, i32)> =
            series.points.iter().map(|&(x, y)| (self.x.place(x), self.y.place(y))).collect();
        if !series.scattered {
            self.path(area, places.clone(), look.colour, look.dash)?;
        }
        places.iter().try_for_each(|&place| mark(area, look, place))?;
        Ok(places.into_iter().max_by_key(|place| place.0))
    }

    fn path(
        &self,
        area: &Area<'_>,
        places: Vec<(i32, i32)>,
        colour: RGBColor,
        (dash, gap): (u32, u32),
    ) -> Result<(), String> {
        let style = colour.stroke_width(if colour == GRID { 1 } else { 2 });
        let drawn = match gap {
            0 => area.draw(&PathElement::new(places, style)),
            _ => area.draw(&DashedPathElement::new(places, dash, gap, style)),
        };
        drawn.map_err(|error| error.to_string())
    }

    /// Names at the right of the ends, from the top down, pushed apart where they would touch.
    fn names(
        &self,
        area: &Area<'_>,
        mut ends: Vec<((i32, i32), &str, RGBColor)>,
    ) -> Result<(), String> {
        ends.sort_by_key(|((_, y), _, _)| *y);
        let heights = apart(ends.iter().map(|((_, y), _, _)| *y).collect(), self.bottom());
        for (((_, _), name, colour), y) in ends.into_iter().zip(heights) {
            write(area, name, (self.right() + 10, y - 5), SMALL, colour)?;
        }
        Ok(())
    }
}

/// Sorted heights, moved as little as needed for [`APART`] between neighbours, none below `lowest`.
fn apart(mut heights: Vec<i32>, lowest: i32) -> Vec<i32> {
    for at in 1..heights.len() {
        heights[at] = heights[at].max(heights[at - 1] + APART);
    }
    let mut floor = lowest;
    for height in heights.iter_mut().rev() {
        *height = (*height).min(floor);
        floor = *height - APART;
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>, x: Axis) -> Chart {
        let series = vec![Series::new("a line", points.clone()), Series::scattered("dots", points)];
        let panel = Panel::new(x, Axis::new("seconds").from_zero(), series);
        Chart::new("A title", vec![panel.titled("left").with_level("a promise", 2.0)])
    }

    #[test]
    fn pictures_hold_their_words_and_points() {
        for x in [Axis::new("candidates"), Axis::new("candidates").log()] {
            let svg = chart(vec![(10.0, 1.0), (100.0, 3.0), (1000.0, 9.0)], x).svg().unwrap();
            for part in
                ["<svg", "A title", "left", "candidates", "seconds", "a line", "dots", "a promise"]
            {
                assert!(svg.contains(part), "{part}");
            }
            assert_eq!(svg.matches("<circle").count(), 3);
        }
    }

    #[test]
    fn a_chart_without_points_is_one_and_a_point_that_cannot_be_is_named() {
        assert!(chart(Vec::new(), Axis::new("x")).svg().is_ok());
        let error = chart(vec![(0.0, 1.0)], Axis::new("candidates").log()).svg().unwrap_err();
        assert!(error.to_string().contains("\"a line\" has a point at (0, 1)"), "{error}");
        assert!(chart(vec![(1.0, f64::NAN)], Axis::new("x")).svg().is_err());
    }

    #[test]
    fn names_are_pushed_apart_and_stay_on_the_picture() {
        assert_eq!(apart(vec![10, 12, 80], 100), [10, 25, 80]);
        assert_eq!(apart(vec![95, 96, 99], 100), [70, 85, 100]);
    }

    #[test]
    fn charts_are_read_from_json() {
        let text = r#"{"title": "t", "panels": [{"x": {"label": "x"}, "y": {"label": "y", "log": true},
            "series": [{"name": "s", "points": [[1, 2], [3, 4]]}]}]}"#;
        let chart: Chart = serde_json::from_str(text).unwrap();
        assert!(chart.svg().unwrap().contains("<polyline"));
    }
}
