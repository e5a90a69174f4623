//! What all pictures have in common: colours, markers, dashes, sizes, how numbers are written.

use plotters::prelude::*;

use crate::ChartError;

/// A drawing area that writes SVG text.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Sizes of letters, pixels.
const TITLE: u32 = 16;
/// Of panels' titles and axes.
pub(crate) const WORDS: u32 = 13;
/// Of ticks and names.
pub(crate) const SMALL: u32 = 12;
/// Grid lines.
pub(crate) const GRID: RGBColor = RGBColor(229, 231, 235);
/// What stands in the background: other systems' bars, levels.
pub(crate) const GREY: RGBColor = RGBColor(120, 120, 120);

/// How one line of several looks.
#[derive(Clone, Copy)]
pub(crate) struct Look {
    pub(crate) colour: RGBColor,
    /// Lengths of dash and gap, pixels; a whole line where there is no gap.
    pub(crate) dash: (u32, u32),
    pub(crate) marker: Marker,
}

/// The shape of a point.
#[derive(Clone, Copy)]
pub(crate) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    Cross,
    Ring,
}

/// Looks in order: neighbours differ in all three, also in grey.
pub(crate) const LOOKS: [Look; 6] = [
    Look { colour: RGBColor(0, 114, 178), dash: (1, 0), marker: Marker::Circle },
    Look { colour: RGBColor(213, 94, 0), dash: (7, 4), marker: Marker::Square },
    Look { colour: RGBColor(0, 158, 115), dash: (1, 0), marker: Marker::Triangle },
    Look { colour: RGBColor(170, 68, 153), dash: (2, 3), marker: Marker::Diamond },
    Look { colour: RGBColor(0, 0, 0), dash: (1, 0), marker: Marker::Cross },
    Look { colour: RGBColor(150, 111, 0), dash: (10, 3), marker: Marker::Ring },
];

/// Draws a marker at a place in pixels.
pub(crate) fn mark(area: &Area<'_>, look: Look, (x, y): (i32, i32)) -> Result<(), String> {
    let fill = look.colour.filled();
    let line = look.colour.stroke_width(2);
    let done = match look.marker {
        Marker::Circle => area.draw(&Circle::new((x, y), 4, fill)),
        Marker::Square => area.draw(&Rectangle::new([(x - 4, y - 4), (x + 4, y + 4)], fill)),
        Marker::Triangle => {
            area.draw(&Polygon::new([(x, y - 5), (x + 5, y + 4), (x - 5, y + 4)], fill))
        }
        Marker::Diamond => {
            area.draw(&Polygon::new([(x, y - 6), (x + 5, y), (x, y + 6), (x - 5, y)], fill))
        }
        Marker::Cross => area.draw(&Cross::new((x, y), 4, line)),
        Marker::Ring => area.draw(&Circle::new((x, y), 4, line)),
    };
    done.map_err(|error| error.to_string())
}

/// Writes words whose left upper corner is at a place in pixels.
pub(crate) fn write(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: u32,
    colour: RGBColor,
) -> Result<(), String> {
    let style = ("sans-serif", size).into_font().color(&colour);
    area.draw(&Text::new(text, at, style)).map_err(|error| error.to_string())
}

/// A number as a reader writes it: as many digits as are needed and no more than three behind the point.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let short = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

/// Width of a letter, roughly, pixels.
const LETTER: i32 = 7;

/// Width of words, roughly, pixels.
pub(crate) fn width_of(words: &str) -> i32 {
    words.chars().count() as i32 * LETTER
}

/// Width of the longest of several.
pub(crate) fn widest<'a>(words: impl Iterator<Item = &'a str>) -> i32 {
    words.map(width_of).max().unwrap_or(0)
}

/// A picture of so many pixels, with its title and what `draw` adds, as the text of an SVG file.
pub(crate) fn picture(
    title: &str,
    (width, height): (i32, i32),
    draw: impl FnOnce(&Area<'_>) -> Result<(), String>,
) -> Result<String, ChartError> {
    let mut svg = String::new();
    {
        let size = (width.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let drawn = area.fill(&WHITE).map_err(|error| error.to_string()).and_then(|()| {
            write(&area, title, (12, 10), TITLE, BLACK)?;
            draw(&area)?;
            area.present().map_err(|error| error.to_string())
        });
        drawn.map_err(|cause| ChartError::Drawing { title: title.to_owned(), cause })?;
    }
    Ok(svg)
}
