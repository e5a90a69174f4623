//! Agreement@10 with the final order against the layer, as SVG.

use crate::layers::Agreement;
use crate::put;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 50.0;

pub(crate) fn draw(name: &str, layers: &[(Agreement, Agreement)]) -> String {
    let last = layers.len().saturating_sub(1).max(1) as f64;
    let place = |layer: f64, overlap: f64| {
        let x = LEFT + layer / last * (WIDTH - LEFT - 20.0);
        (x, HEIGHT - BOTTOM - overlap * (HEIGHT - TOP - BOTTOM))
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    let title = format!("{name}: agreement@10 of the order after each layer with the final one");
    text(&mut svg, WIDTH / 2.0, 20.0, "middle", "black", &title);
    text(&mut svg, LEFT, 40.0, "start", "#c2410c", "the model's own head");
    text(&mut svg, LEFT + 160.0, 40.0, "start", "#1d4ed8", "fitted readouts");
    for tick in 0..=5 {
        let overlap = f64::from(tick) / 5.0;
        let ((left, y), (right, _)) = (place(0.0, overlap), place(last, overlap));
        put(
            &mut svg,
            format_args!(r##"<path d="M{left:.1} {y:.1}H{right:.1}" stroke="#e5e7eb"/>"##),
        );
        text(&mut svg, left - 8.0, y + 4.0, "end", "black", &format!("{overlap:.1}"));
    }
    for layer in 0..layers.len() {
        let (x, y) = place(layer as f64, 0.0);
        text(&mut svg, x, y + 16.0, "middle", "black", &layer.to_string());
    }
    text(&mut svg, WIDTH / 2.0, HEIGHT - 12.0, "middle", "black", "layer");
    let by_head: Vec<f64> = layers.iter().map(|(head, _)| head.overlap_at_10).collect();
    let by_fitted: Vec<f64> = layers.iter().map(|(_, fitted)| fitted.overlap_at_10).collect();
    for (colour, values) in [("#c2410c", by_head), ("#1d4ed8", by_fitted)] {
        let points = values.iter().enumerate().map(|(i, &value)| place(i as f64, value));
        let line: Vec<String> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let line = line.join(" ");
        put(
            &mut svg,
            format_args!(
                r#"<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>"#
            ),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, colour: &str, words: &str) {
    put(
        svg,
        format_args!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{colour}">{words}</text>"#
        ),
    );
}
