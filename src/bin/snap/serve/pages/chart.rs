//! An SVG chart of values over time, without scripts, coloured by the style sheet.

use maud::{Markup, html};
use snap_backup::model::entry::Time;

use crate::terminal::output;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 180.0;
/// Maximum number of points in a line; of more, some are left out.
const POINTS: usize = 400;

/// A line of the chart. The points are in order of time, and each is valid until the next.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) points: Vec<(Time, u64)>,
}

/// Draws all lines on one scale. Returns nothing if all points have the same time or all values are 0.
pub(super) fn of(title: &str, lines: &[Line]) -> Markup {
    let points = || lines.iter().flat_map(|line| &line.points);
    let first = points().map(|(at, _)| *at).min().unwrap_or_default();
    let last = points().map(|(at, _)| *at).max().unwrap_or_default();
    let most = points().map(|(_, value)| *value).max().unwrap_or(0);
    if first >= last || most == 0 {
        return html! {};
    }
    let seconds =
        |at: Time| (at.sec as f64 - first.sec as f64) + (f64::from(at.nanos) - f64::from(first.nanos)) / 1e9;
    let x = |at: Time| seconds(at) / seconds(last) * WIDTH;
    let y = |value: u64| HEIGHT - value as f64 / most as f64 * HEIGHT;
    let (start, end) = (output::local(first), output::local(last));
    html! {
        figure {
            figcaption { (title) ": up to " strong { (output::size(most)) } }
            svg viewBox={ "-4 -4 " (WIDTH + 8.0) " " (HEIGHT + 8.0) } role="img" aria-label=(title) {
                line.grid x1="0" x2=(WIDTH) y1="0" y2="0" {}
                line.grid x1="0" x2=(WIDTH) y1=(HEIGHT / 2.0) y2=(HEIGHT / 2.0) {}
                line.grid x1="0" x2=(WIDTH) y1=(HEIGHT) y2=(HEIGHT) {}
                @for (number, line) in lines.iter().enumerate() {
                    polyline class={ "line c" (number % 6) } points=(steps(line, &x, &y)) {}
                    @for (at, value) in thinned(&line.points) {
                        circle class={ "dot c" (number % 6) } cx=(round(x(*at))) cy=(round(y(*value))) r="3" {
                            title { (output::printable(&line.label)) ", " (output::local(*at)) ": " (output::size(*value)) }
                        }
                    }
                }
            }
            div.axis { span { (start) } span { (end) } }
            @if lines.len() > 1 {
                ul.legend { @for (number, line) in lines.iter().enumerate() {
                    li { span class={ "swatch c" (number % 6) } {} bdi { (output::printable(&line.label)) } }
                } }
            }
        }
    }
}

/// Draws steps: each value stays until the next one.
fn steps(line: &Line, x: &dyn Fn(Time) -> f64, y: &dyn Fn(u64) -> f64) -> String {
    let mut text = String::new();
    let mut before = None;
    for (at, value) in thinned(&line.points) {
        let (x, y) = (round(x(*at)), round(y(*value)));
        if let Some(before) = before {
            text += &format!("{x},{before} ");
        }
        text += &format!("{x},{y} ");
        before = Some(y);
    }
    text
}

fn thinned(points: &[(Time, u64)]) -> impl Iterator<Item = &(Time, u64)> {
    let every = points.len().div_ceil(POINTS).max(1);
    let last = points.len().saturating_sub(1);
    points.iter().enumerate().filter(move |(at, _)| at % every == 0 || *at == last).map(|(_, point)| point)
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_chart_of_nothing_and_names_are_escaped() {
        let line = |points: &[(i64, u64)]| Line {
            label: "<b>".to_owned(),
            points: points.iter().map(|(sec, value)| (Time { sec: *sec, nanos: 0 }, *value)).collect(),
        };
        for points in [&[][..], &[(1, 1)], &[(5, 1), (5, 2)], &[(0, 0), (9, 0)]] {
            assert_eq!(of("x", &[line(points)]).into_string(), "");
        }
        let drawn = of("x", &[line(&[(i64::MIN, 1), (i64::MAX, u64::MAX)])]).into_string();
        assert!(drawn.contains("&lt;b&gt;") && !drawn.contains("<b>") && !drawn.contains("NaN"), "{drawn}");
        let many: Vec<(i64, u64)> = (0..10_000).map(|at| (at, 1)).collect();
        assert!(of("x", &[line(&many)]).into_string().matches("<circle").count() <= POINTS + 1);
    }
}
