//! What happens when: rows of bars along one axis of time.

use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use crate::scale::Scale;
use crate::style::{
    Area, GREY, GRID, LOOKS, SMALL, WORDS, number, picture, widest, width_of, write,
};
use crate::{Axis, ChartError};

/// Rows, from the top down, along one axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spans {
    /// Stands above.
    pub title: String,
    /// What runs from left to right, with its unit.
    pub x: Axis,
    /// From the top down.
    pub rows: Vec<Row>,
}

/// One thing that does several one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Stands before the row.
    pub name: String,
    /// Do not overlap.
    pub spans: Vec<Span>,
}

/// One bar.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Where it begins.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// Stands in it, where there is room.
    pub name: String,
    /// Whether it is waiting, which is grey.
    #[serde(default)]
    pub waits: bool,
}

/// Height of a row with the air around it, pixels.
const ROW: i32 = 34;
const HEAD: i32 = 44;
const FOOT: i32 = 48;
const ACROSS: i32 = 760;

impl Spans {
    /// The picture as the text of an SVG file.
    ///
    /// # Errors
    ///
    /// [`ChartError::Drawing`] if the drawing library fails, [`ChartError::Point`] for bars that end before they begin.
    pub fn svg(&self) -> Result<String, ChartError> {
        for row in &self.rows {
            let ends = |span: &&Span| !(span.from <= span.to && span.to.is_finite());
            if let Some(span) = row.spans.iter().find(ends) {
                return Err(ChartError::Point {
                    series: row.name.clone(),
                    point: format!("{} to {}", span.from, span.to),
                    axis: self.x.label.clone(),
                });
            }
        }
        let left = 24 + widest(self.rows.iter().map(|row| row.name.as_str()));
        let (width, height) = (left + ACROSS + 24, HEAD + ROW * self.rows.len() as i32 + FOOT);
        picture(&self.title, (width, height), |area| self.draw(area, left))
    }

    fn draw(&self, area: &Area<'_>, left: i32) -> Result<(), String> {
        let ends = self.rows.iter().flat_map(|row| &row.spans).flat_map(|s| [s.from, s.to]);
        let scale = Scale::new(&self.x, ends, (left, left + ACROSS));
        let bottom = HEAD + ROW * self.rows.len() as i32;
        for tick in scale.ticks() {
            let x = scale.place(tick);
            let line = PathElement::new([(x, HEAD), (x, bottom)], GRID.stroke_width(1));
            area.draw(&line).map_err(|error| error.to_string())?;
            let text = number(tick);
            write(area, &text, (x - width_of(&text) / 2, bottom + 6), SMALL, BLACK)?;
        }
        let middle = left + ACROSS / 2 - width_of(&self.x.label) / 2;
        write(area, &self.x.label, (middle, bottom + 26), WORDS, BLACK)?;
        for (at, row) in self.rows.iter().enumerate() {
            let top = HEAD + ROW * at as i32;
            write(area, &row.name, (12, top + 11), SMALL, BLACK)?;
            let mut works = 0;
            for span in &row.spans {
                bar(area, span, works, (scale.place(span.from), scale.place(span.to)), top)?;
                works += usize::from(!span.waits);
            }
        }
        Ok(())
    }
}

/// What works has two colours in turn, so that one is seen to end where the next begins.
fn bar(
    area: &Area<'_>,
    span: &Span,
    works: usize,
    (from, to): (i32, i32),
    top: i32,
) -> Result<(), String> {
    let colour = if span.waits { GREY } else { LOOKS[works % 2].colour };
    let corners = [(from, top + 4), (to.max(from + 1), top + ROW - 4)];
    area.draw(&Rectangle::new(corners, colour.filled())).map_err(|error| error.to_string())?;
    match width_of(&span.name) + 7 < to - from {
        true => write(area, &span.name, (from + 5, top + 11), SMALL, WHITE),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(to: f64) -> Spans {
        let span = |from, to, waits| Span { from, to, name: "layer 0".into(), waits };
        let row =
            Row { name: "compute".into(), spans: vec![span(0.0, 1.0, true), span(1.0, to, false)] };
        Spans { title: "A request".into(), x: Axis::new("ms").from_zero(), rows: vec![row] }
    }

    #[test]
    fn bars_are_as_long_as_they_last_and_named_where_there_is_room() {
        let svg = spans(4.0).svg().unwrap();
        let widths: Vec<i32> = svg
            .lines()
            .filter(|line| line.contains("<rect") && line.contains("height=\"26\""))
            .filter_map(|line| line.split("width=\"").nth(1)?.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(widths, [190, 570]);
        assert_eq!(svg.matches("layer 0").count(), 2);
    }

    #[test]
    fn a_bar_that_ends_before_it_begins_is_refused() {
        assert!(spans(0.5).svg().unwrap_err().to_string().contains("1 to 0.5"));
    }
}
