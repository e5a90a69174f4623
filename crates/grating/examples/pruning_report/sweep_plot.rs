//! The sweep as a picture: time against agreement with the full model, and against judgments.

use crate::study::{Kind, Point, Study, Timed};
use crate::sweep::{precision, timed_points};
use crate::tables::put;

/// Of one panel, pixels.
const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 50.0;

/// One of the two panels.
struct Panel {
    /// Where it begins.
    x: f64,
    /// The lowest and the highest value.
    range: (f64, f64),
    name: &'static str,
}

/// Two panels for the largest K; nothing where no times were taken.
pub(crate) fn draw(set: &Study) -> Option<String> {
    let of_k = set.ks.last()?;
    let families = [Kind::Paper, Kind::Ours]
        .map(|family| timed_points(set, of_k, family).collect::<Vec<(&Timed, &Point)>>());
    let all: Vec<&Point> = families.iter().flatten().map(|(_, point)| *point).collect();
    if all.is_empty() {
        return None;
    }
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{}\" height=\"{HEIGHT}\" fill=\"white\"/>\n",
        2.0 * WIDTH,
        2.0 * WIDTH
    );
    let title = format!("{}: time against agreement and precision, test half", set.name);
    text(&mut svg, WIDTH, 20.0, "middle", "black", &title);
    text(&mut svg, LEFT, 40.0, "start", "#c2410c", "the paper's policies");
    text(&mut svg, LEFT + 150.0, 40.0, "start", "#1d4ed8", "ours");
    let agreement: fn(&Point) -> Option<f64> = |point| Some(point.test.agreement);
    let panels = [("agreement@10 with the full model", agreement), ("precision@10", precision)];
    for (at, (name, value)) in panels.into_iter().enumerate() {
        let values: Vec<f64> = all.iter().filter_map(|point| value(point)).collect();
        if values.is_empty() {
            continue;
        }
        let (lowest, highest) = values
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        let room = (0.1 * (highest - lowest)).max(0.005);
        let panel = Panel { x: WIDTH * at as f64, range: (lowest - room, highest + room), name };
        panel.frame(&mut svg);
        for (family, colour) in families.iter().zip(["#c2410c", "#1d4ed8"]) {
            let points: Vec<(f64, f64)> =
                family.iter().filter_map(|(t, point)| Some((t.share, value(point)?))).collect();
            panel.curve(&mut svg, points, colour);
        }
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

impl Panel {
    fn place(&self, (share, value): (f64, f64)) -> (f64, f64) {
        let (lowest, highest) = self.range;
        let up = (value - lowest) / (highest - lowest);
        let x = self.x + LEFT + share.min(1.1) / 1.1 * (WIDTH - LEFT - 20.0);
        (x, HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM))
    }

    fn frame(&self, svg: &mut String) {
        let (lowest, highest) = self.range;
        let ((left, bottom), (right, top)) =
            (self.place((0.0, lowest)), self.place((1.1, highest)));
        for tick in 0..=5 {
            let share = f64::from(tick) / 5.0;
            let (x, _) = self.place((share, lowest));
            let value = lowest + share * (highest - lowest);
            let (_, y) = self.place((0.0, value));
            put(
                svg,
                format_args!(
                    r##"<path d="M{x:.1} {top:.1}V{bottom:.1}M{left:.1} {y:.1}H{right:.1}" stroke="#e5e7eb"/>"##
                ),
            );
            text(svg, x, bottom + 16.0, "middle", "black", &format!("{share:.1}"));
            text(svg, left - 6.0, y + 4.0, "end", "black", &format!("{value:.3}"));
        }
        text(svg, 0.5 * (left + right), HEIGHT - 14.0, "middle", "black", "time, full pass = 1");
        text(svg, right, 40.0, "end", "black", self.name);
    }

    fn curve(&self, svg: &mut String, mut points: Vec<(f64, f64)>, colour: &str) {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let places: Vec<(f64, f64)> = points.into_iter().map(|point| self.place(point)).collect();
        let line: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let line = line.join(" ");
        put(
            svg,
            format_args!(
                r#"<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>"#
            ),
        );
        for (x, y) in places {
            put(svg, format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{colour}"/>"#));
        }
    }
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, colour: &str, words: &str) {
    put(
        svg,
        format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{colour}">{words}</text>"#
        ),
    );
}
