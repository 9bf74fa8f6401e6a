//! An SVG line chart of sizes over time, without scripts, coloured by the style sheet.

use maud::{Markup, html};
use snap_backup::model::entry::Time;

use crate::terminal::output;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 180.0;
/// Maximum number of points in a line; beyond that, some are left out.
const POINTS: usize = 400;
/// Maximum number of dots in a line. Each is a link, and too many would burden keyboard users.
const DOTS: usize = 24;
/// Number of intervals on the axis of sizes.
const STEPS: u64 = 4;

/// A value at a point in time.
pub(super) struct Point {
    pub(super) at: Time,
    pub(super) value: u64,
    /// Target of the link.
    pub(super) link: Option<String>,
}

/// A line of the chart. The points are in order of time, and each is valid until the next.
pub(super) struct Line {
    pub(super) label: String,
    pub(super) points: Vec<Point>,
}

/// The scales of both axes.
struct Scale {
    first: Time,
    seconds: f64,
    top: u64,
}

impl Scale {
    fn x(&self, at: Time) -> f64 {
        round(since(self.first, at) / self.seconds * WIDTH)
    }

    fn y(&self, value: u64) -> f64 {
        round(HEIGHT - value as f64 / self.top as f64 * HEIGHT)
    }
}

/// Draws all lines on one scale. Returns nothing if all points have the same time or all values are 0.
pub(super) fn of(title: &str, lines: &[Line]) -> Markup {
    let points = || lines.iter().flat_map(|line| &line.points);
    let first = points().map(|point| point.at).min().unwrap_or_default();
    let last = points().map(|point| point.at).max().unwrap_or_default();
    let most = points().map(|point| point.value).max().unwrap_or(0);
    if first >= last || most == 0 {
        return html! {};
    }
    let scale = Scale { first, seconds: since(first, last), top: top_of(most) };
    html! {
        figure.chart {
            figcaption { (title) ": up to " strong { (output::size(most)) } }
            div.plot {
                div.sizes aria-hidden="true" {
                    @for step in (0..=STEPS).rev() { span { (output::size(scale.top / STEPS * step)) } }
                }
                svg viewBox={ "-4 -4 " (WIDTH + 8.0) " " (HEIGHT + 8.0) } role="group" aria-label=(title) preserveAspectRatio="none" {
                    @for step in 0..=STEPS {
                        @let y = HEIGHT / STEPS as f64 * step as f64;
                        line.grid x1="0" x2=(WIDTH) y1=(y) y2=(y) {}
                    }
                    @for (number, line) in lines.iter().enumerate() {
                        polyline class={ "line c" (number % 6) } points=(steps(line, &scale)) {}
                        @for point in thinned(&line.points, DOTS) { (dot(number, line, point, &scale)) }
                    }
                }
                div.times aria-hidden="true" {
                    @for (first_part, second) in (0..=4_u8).map(|step| label(&scale, step)) {
                        span { (first_part) " " small { (second) } }
                    }
                }
            }
            @if lines.len() > 1 {
                ul.legend { @for (number, line) in lines.iter().enumerate() {
                    li { span class={ "swatch c" (number % 6) } {} bdi { (output::printable(&line.label)) } }
                } }
            }
        }
    }
}

fn dot(number: usize, line: &Line, point: &Point, scale: &Scale) -> Markup {
    let text = format!(
        "{}, {}: {}",
        output::printable(&line.label),
        output::local(point.at),
        output::size(point.value)
    );
    // A zero-length path with round caps stays a circle even if the chart is stretched.
    let mark = html! {
        path class={ "dot c" (number % 6) } d={ "M" (scale.x(point.at)) " " (scale.y(point.value)) "h0" } {
            title { (text) }
        }
    };
    html! {
        @if let Some(to) = &point.link { a href=(to) aria-label=(text) { (mark) } } @else { (mark) }
    }
}

/// Returns the date and time at a quarter of the axis.
fn label(scale: &Scale, step: u8) -> (String, String) {
    let seconds = (scale.seconds * f64::from(step) / 4.0) as i64;
    let text = output::local(Time { sec: scale.first.sec.saturating_add(seconds), nanos: 0 });
    let (date, clock) = text.split_once(' ').unwrap_or((&text, ""));
    // Over many days the time of day is irrelevant.
    let clock = if scale.seconds < 4.0 * 86_400.0 { clock.get(..5).unwrap_or_default() } else { "" };
    (date.to_owned(), clock.to_owned())
}

/// Returns the end of the axis: the smallest value of a fixed list of multiples of a unit (1, 1024, ...) that
/// is at least `most`.
fn top_of(most: u64) -> u64 {
    let mut unit = 1_u64;
    while let Some(next) = unit.checked_mul(1024).filter(|next| *next <= most) {
        unit = next;
    }
    [1, 2, 4, 8, 12, 20, 40, 80, 120, 200, 400, 800, 1024]
        .into_iter()
        .filter_map(|times| unit.checked_mul(times))
        .find(|top| *top >= most && top / STEPS > 0)
        .unwrap_or(most)
        .max(STEPS)
}

fn since(first: Time, at: Time) -> f64 {
    (at.sec as f64 - first.sec as f64) + (f64::from(at.nanos) - f64::from(first.nanos)) / 1e9
}

/// Draws steps: each value stays until the next one.
fn steps(line: &Line, scale: &Scale) -> String {
    let mut text = String::new();
    let mut before = None;
    for point in thinned(&line.points, POINTS) {
        let (x, y) = (scale.x(point.at), scale.y(point.value));
        if let Some(before) = before {
            text += &format!("{x},{before} ");
        }
        text += &format!("{x},{y} ");
        before = Some(y);
    }
    text
}

fn thinned(points: &[Point], most: usize) -> impl Iterator<Item = &Point> {
    let every = points.len().div_ceil(most).max(1);
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
    fn empty_data_has_no_chart_and_names_are_escaped() {
        let line = |points: &[(i64, u64)]| Line {
            label: "<b>".to_owned(),
            points: points
                .iter()
                .map(|(sec, value)| Point { at: Time { sec: *sec, nanos: 0 }, value: *value, link: None })
                .collect(),
        };
        for points in [&[][..], &[(1, 1)], &[(5, 1), (5, 2)], &[(0, 0), (9, 0)]] {
            assert_eq!(of("x", &[line(points)]).into_string(), "");
        }
        let drawn = of("x", &[line(&[(i64::MIN, 1), (i64::MAX, u64::MAX)])]).into_string();
        assert!(drawn.contains("&lt;b&gt;") && !drawn.contains("<b>") && !drawn.contains("NaN"), "{drawn}");
        let many: Vec<(i64, u64)> = (0..10_000).map(|at| (at, 1)).collect();
        assert!(of("x", &[line(&many)]).into_string().matches("<path").count() <= DOTS + 1);
    }

    #[test]
    fn the_axis_of_sizes_ends_at_a_round_number() {
        for (most, top) in
            [(1, 4), (3, 4), (1000, 1024), (1025, 2048), (5 << 20, 8 << 20), (900 << 30, 1024 << 30)]
        {
            assert_eq!(top_of(most), top, "{most}");
        }
        assert_eq!(top_of(u64::MAX), u64::MAX);
    }
}
