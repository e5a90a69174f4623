//! Bars beside each other, each panel on a scale from 0 to its largest value.

use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use crate::ChartError;
use crate::style::{Area, GREY, LOOKS, SMALL, WORDS, picture, widest, write};

/// One row of bars for each label, a panel for each quantity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bars {
    /// Stands above.
    pub title: String,
    /// From the top down.
    pub labels: Vec<Label>,
    /// From left to right.
    pub panels: Vec<BarsPanel>,
}

/// What stands before a bar.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The words.
    pub text: String,
    /// Whether it is what the others are compared with, and grey.
    #[serde(default)]
    pub peer: bool,
}

/// One value of every row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BarsPanel {
    /// The quantity and its unit.
    pub title: String,
    /// The number and how it is written; nothing where it was not measured.
    pub values: Vec<Option<(f64, String)>>,
}

/// Height of a bar with the air around it, pixels.
const BAR: i32 = 20;
const HEAD: i32 = 62;
const PANEL: i32 = 270;
/// Room for the number behind the longest bar.
const NUMBER: i32 = 70;

impl Bars {
    /// The picture as the text of an SVG file.
    ///
    /// # Errors
    ///
    /// [`ChartError::Drawing`] if the drawing library fails.
    pub fn svg(&self) -> Result<String, ChartError> {
        let left = 24 + widest(self.labels.iter().map(|label| label.text.as_str()));
        let width = left + PANEL * self.panels.len() as i32 + 12;
        let height = HEAD + BAR * self.labels.len() as i32 + 12;
        picture(&self.title, (width, height), |area| self.draw(area, left))
    }

    fn draw(&self, area: &Area<'_>, left: i32) -> Result<(), String> {
        for (i, label) in self.labels.iter().enumerate() {
            write(area, &label.text, (12, HEAD + BAR * i as i32 + 3), SMALL, BLACK)?;
        }
        for (i, panel) in self.panels.iter().enumerate() {
            panel.draw(area, left + PANEL * i as i32, &self.labels)?;
        }
        Ok(())
    }
}

impl BarsPanel {
    fn draw(&self, area: &Area<'_>, left: i32, labels: &[Label]) -> Result<(), String> {
        write(area, &self.title, (left, HEAD - 22), WORDS, BLACK)?;
        let largest = self.values.iter().flatten().map(|value| value.0).fold(0.0, f64::max);
        for (i, (value, label)) in self.values.iter().zip(labels).enumerate() {
            let Some((value, shown)) = value else { continue };
            let part = if largest > 0.0 { value.max(0.0) / largest } else { 0.0 };
            let right = left + (part * f64::from(PANEL - NUMBER)).round() as i32;
            let top = HEAD + BAR * i as i32;
            let colour = if label.peer { GREY } else { LOOKS[0].colour };
            let bar = Rectangle::new([(left, top + 3), (right, top + BAR - 3)], colour.filled());
            area.draw(&bar).map_err(|error| error.to_string())?;
            write(area, shown, (right + 5, top + 3), SMALL, BLACK)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values() {
        let label = |text: &str, peer| Label { text: text.into(), peer };
        let value = |value: f64| Some((value, value.to_string()));
        let bars = Bars {
            title: "A title".into(),
            labels: vec![label("ours", false), label("theirs", true), label("gone", true)],
            panels: vec![BarsPanel {
                title: "s".into(),
                values: vec![value(1.0), value(4.0), None],
            }],
        };
        let svg = bars.svg().unwrap();
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
