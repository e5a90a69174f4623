//! The frontier as a picture.

use std::fmt::Write;

use grating_prune::FrontierPoint;

use crate::profile::Profile;

/// Size of the picture and the inner margins, pixels.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;

/// Cost against agreement, in pixels.
struct Axes {
    /// The lowest agreement on the picture.
    lowest: f64,
}

impl Axes {
    fn x(&self, cost: f64) -> f64 {
        LEFT + cost * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, agreement: f64) -> f64 {
        let share = (agreement - self.lowest) / (1.0 - self.lowest);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }
}

/// The profile's frontier and that of the paper's policies as SVG: the share of candidate-layers computed against the
/// mean agreement@K with the full model, both on the calibration half; the promise as a line; the chosen policies as
/// measured on the test half.
pub fn plot(profile: &Profile) -> String {
    let ours = &profile.calibration.frontier;
    let paper = &profile.paper.frontier;
    let wanted = profile.promise.agreement;
    // Policies far below the promise would flatten the part that matters.
    let floor = 1.0 - 4.0 * (1.0 - wanted);
    let seen = ours.iter().chain(paper).map(|p| p.agreement).filter(|a| *a >= floor);
    let lowest = (seen.fold(wanted, f64::min) * 50.0).floor() / 50.0 - 0.02;
    let axes = Axes { lowest: lowest.max(0.0) };
    let mut svg = String::new();
    frame(&mut svg, &axes, profile);
    curve(&mut svg, &axes, paper, "#c2410c");
    curve(&mut svg, &axes, ours, "#1d4ed8");
    for (measured, colour) in [(&profile.paper_measured, "#c2410c"), (&profile.measured, "#1d4ed8")]
    {
        if let Some(measured) = measured {
            let (x, y) =
                (axes.x(1.0 - measured.saved), axes.y(measured.agreement.max(axes.lowest)));
            put(
                &mut svg,
                format_args!(
                    r#"<path d="M{x:.1} {:.1}l7 7l-7 7l-7 -7z" fill="none" stroke="{colour}" stroke-width="2"/>"#,
                    y - 7.0
                ),
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn frame(svg: &mut String, axes: &Axes, profile: &Profile) {
    put(
        svg,
        format_args!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">"#
        ),
    );
    put(svg, format_args!(r#"<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>"#));
    let (left, right, bottom) = (axes.x(0.0), axes.x(1.0), HEIGHT - BOTTOM);
    let title = format!(
        "{}, K = {}, {} queries: agreement against work",
        profile.data.name, profile.k, profile.data.calibration_queries
    );
    text(svg, WIDTH / 2.0, 20.0, "middle", "black", &title);
    for tick in 0..=5 {
        let cost = f64::from(tick) / 5.0;
        let x = axes.x(cost);
        put(svg, format_args!(r##"<path d="M{x:.1} {TOP}V{bottom}" stroke="#e5e7eb"/>"##));
        text(svg, x, bottom + 18.0, "middle", "black", &format!("{cost:.1}"));
        let agreement = axes.lowest + (1.0 - axes.lowest) * cost;
        let y = axes.y(agreement);
        put(svg, format_args!(r##"<path d="M{left} {y:.1}H{right}" stroke="#e5e7eb"/>"##));
        text(svg, left - 8.0, y + 4.0, "end", "black", &format!("{agreement:.3}"));
    }
    text(
        svg,
        (left + right) / 2.0,
        HEIGHT - 14.0,
        "middle",
        "black",
        "share of candidate-layers computed",
    );
    let (x, y) = (18.0, (TOP + bottom) / 2.0);
    put(
        svg,
        format_args!(
            r#"<text x="{x}" y="{y}" text-anchor="middle" transform="rotate(-90 {x} {y})">mean agreement with the full model's top K</text>"#
        ),
    );
    let promise = axes.y(profile.promise.agreement);
    put(
        svg,
        format_args!(
            r##"<path d="M{left} {promise:.1}H{right}" stroke="#6b7280" stroke-dasharray="5 4"/>"##
        ),
    );
    let legend = [
        ("this family", "#1d4ed8"),
        ("the paper's policies", "#c2410c"),
        ("- - promised", "#6b7280"),
    ];
    for (at, (name, colour)) in legend.into_iter().enumerate() {
        text(svg, left + 170.0 * at as f64, 40.0, "start", colour, name);
    }
    text(svg, right, 40.0, "end", "black", "diamond: chosen, on the test half");
}

fn curve(svg: &mut String, axes: &Axes, frontier: &[FrontierPoint], colour: &str) {
    let points: Vec<(f64, f64)> = frontier
        .iter()
        .filter(|point| point.agreement >= axes.lowest)
        .map(|point| (axes.x(point.cost), axes.y(point.agreement)))
        .collect();
    let line: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    put(
        svg,
        format_args!(
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="1.5"/>"#,
            line.join(" ")
        ),
    );
    for (x, y) in points {
        put(svg, format_args!(r#"<circle cx="{x:.1}" cy="{y:.1}" r="2.5" fill="{colour}"/>"#));
    }
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, colour: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    put(
        svg,
        format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{colour}">{words}</text>"#
        ),
    );
}

fn put(svg: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(svg, "{element}").expect("a string takes everything");
}
