//! Line charts and bars as SVG text, in the one style of all of GRATING's pictures.
//!
//! A line is named where it ends, not in a legend, and differs from the others in colour (Okabe and Ito 2008: apart for
//! colour-blind readers), in its markers and in its dashes, so that a print in grey can be read. Ticks are round numbers.
//!
//! ```
//! use grating_chart::{Axis, Chart, Panel, Series};
//!
//! let series = vec![
//!     Series::new("streamed", vec![(10.0, 0.4), (100.0, 3.9)]),
//!     Series::new("all in memory", vec![(10.0, 0.5), (100.0, 3.7)]),
//! ];
//! let panel = Panel::new(Axis::new("candidates").log(), Axis::new("seconds").from_zero(), series);
//! let svg = Chart::new("Time of a request", vec![panel]).svg()?;
//! assert!(svg.starts_with("<svg"));
//! # Ok::<(), grating_chart::ChartError>(())
//! ```

mod bars;
mod lines;
mod scale;
mod spans;
mod style;

pub use bars::{Bars, BarsPanel, Label};
use serde::{Deserialize, Serialize};
pub use spans::{Row, Span, Spans};
use thiserror::Error;

/// A picture that cannot be drawn.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChartError {
    /// A number is not finite, or not above 0 on a logarithmic axis.
    #[error("{series:?} has a point at {point} that {axis:?} cannot show")]
    Point {
        /// The line.
        series: String,
        /// The point, as written.
        point: String,
        /// The axis.
        axis: String,
    },
    /// The drawing itself failed.
    #[error("cannot draw {title:?}: {cause}")]
    Drawing {
        /// The picture.
        title: String,
        /// What the drawing library says.
        cause: String,
    },
}

/// Panels with lines, side by side under one title.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    /// Stands above.
    pub title: String,
    /// From left to right.
    pub panels: Vec<Panel>,
}

/// Lines over one pair of axes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Panel {
    /// Stands above the panel; empty where the chart's title says enough.
    #[serde(default)]
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From the bottom up.
    pub y: Axis,
    /// Lines, each with a name of its own.
    pub series: Vec<Series>,
    /// A level of y with a name, drawn as a thin dotted line: a promise, a limit.
    #[serde(default)]
    pub level: Option<(String, f64)>,
}

/// What an axis shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Axis {
    /// The quantity and its unit.
    pub label: String,
    /// Whether equal distances are equal ratios.
    #[serde(default)]
    pub log: bool,
    /// Whether 0 is on the axis, whatever the points are.
    #[serde(default)]
    pub from_zero: bool,
    /// The first and the last value; what the points need, where nothing is given.
    #[serde(default)]
    pub range: Option<(f64, f64)>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Stands where the line ends.
    pub name: String,
    /// In the order in which they are joined.
    pub points: Vec<(f64, f64)>,
    /// Points alone, without a line between them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scattered: bool,
}

impl Chart {
    /// With a title over panels.
    pub fn new(title: impl Into<String>, panels: Vec<Panel>) -> Self {
        Chart { title: title.into(), panels }
    }

    /// The picture as the text of an SVG file.
    ///
    /// # Errors
    ///
    /// [`ChartError`] for points that cannot be shown.
    pub fn svg(&self) -> Result<String, ChartError> {
        lines::draw(self)
    }
}

impl Panel {
    /// Without a title and a level.
    pub fn new(x: Axis, y: Axis, series: Vec<Series>) -> Self {
        Panel { title: String::new(), x, y, series, level: None }
    }

    /// With words above.
    pub fn titled(self, title: impl Into<String>) -> Self {
        Panel { title: title.into(), ..self }
    }

    /// With a level of y to compare with.
    pub fn with_level(self, name: impl Into<String>, y: f64) -> Self {
        Panel { level: Some((name.into(), y)), ..self }
    }
}

impl Axis {
    /// A linear axis as long as its points need.
    pub fn new(label: impl Into<String>) -> Self {
        Axis { label: label.into(), log: false, from_zero: false, range: None }
    }

    /// The same, where equal distances are equal ratios.
    pub fn log(self) -> Self {
        Axis { log: true, ..self }
    }

    /// The same with 0 on it.
    pub fn from_zero(self) -> Self {
        Axis { from_zero: true, ..self }
    }

    /// The same from one value to another.
    pub fn between(self, first: f64, last: f64) -> Self {
        Axis { range: Some((first, last)), ..self }
    }
}

impl Series {
    /// A line through points.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Series { name: name.into(), points, scattered: false }
    }

    /// Points alone.
    pub fn scattered(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Series { name: name.into(), points, scattered: true }
    }
}
