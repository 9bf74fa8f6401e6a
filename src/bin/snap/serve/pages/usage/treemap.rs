//! A treemap: rectangles whose areas are proportional to sizes, each a link. Uses the algorithm of
//! "Squarified Treemaps" (Bruls, Huizing, van Wijk, 2000): items are placed in rows along the shorter side,
//! and a row takes items as long as that improves their aspect ratios.

use maud::{Markup, html};

use crate::terminal::output;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 360.0;
/// Maximum number of rectangles.
const MOST: usize = 40;
/// Rectangles with a side shorter than this are not links; the table links to them.
const SMALLEST: f64 = 24.0;
/// Maximum width of a character of a label.
const CHARACTER: f64 = 8.0;

/// An item of the map.
pub(super) struct Item {
    pub(super) label: String,
    pub(super) size: u64,
    /// Target of the link.
    pub(super) link: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// Draws the items, which are sorted by size, largest first. Draws nothing if there are fewer than two, or
/// all are empty.
pub(super) fn of(title: &str, items: &[Item]) -> Markup {
    let mut items: Vec<&Item> = items.iter().filter(|item| item.size > 0).collect();
    items.sort_by_key(|item| std::cmp::Reverse(item.size));
    let rest: u64 = items.iter().skip(MOST).map(|item| item.size).fold(0, u64::saturating_add);
    items.truncate(MOST);
    if items.len() < 2 {
        return html! {};
    }
    let mut sizes: Vec<u64> = items.iter().map(|item| item.size).collect();
    sizes.extend(Some(rest).filter(|rest| *rest > 0));
    // The remainder comes last, whatever its size.
    let areas = squarified(&sizes);
    html! {
        figure.treemap {
            figcaption { (title) ": areas represent sizes. The table below has the same data." }
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="group" aria-label=(title) {
                @for (number, (item, area)) in items.iter().zip(&areas).enumerate() { (drawn(number, item, *area)) }
                @if let Some(area) = areas.get(items.len()) {
                    (rectangle(*area, "rest", &format!("all others: {}", output::size(rest))))
                }
            }
        }
    }
}

fn drawn(number: usize, item: &Item, area: Area) -> Markup {
    let text = format!("{}: {}", item.label, output::size(item.size));
    let shown = html! {
        (rectangle(area, &format!("c{}", number % 6), &text))
        @let room = ((area.width - 12.0) / CHARACTER).max(0.0) as usize;
        @if area.height >= SMALLEST && room >= 4 {
            text x=(round(area.x + 6.0)) y=(round(area.y + 17.0)) aria-hidden="true" { (cut(&item.label, room)) }
            @if area.height >= 2.0 * SMALLEST {
                text.size x=(round(area.x + 6.0)) y=(round(area.y + 35.0)) aria-hidden="true" { (cut(&output::size(item.size), room)) }
            }
        }
    };
    let link = item.link.as_ref().filter(|_| area.width >= SMALLEST && area.height >= SMALLEST);
    html! {
        @if let Some(link) = link { a href=(link) aria-label=(text) { (shown) } } @else { (shown) }
    }
}

fn rectangle(area: Area, class: &str, text: &str) -> Markup {
    html! {
        rect class=(class) x=(round(area.x)) y=(round(area.y)) width=(round(area.width)) height=(round(area.height)) {
            title { (text) }
        }
    }
}

fn cut(label: &str, room: usize) -> String {
    if label.chars().count() <= room {
        return label.to_owned();
    }
    let begin: String = label.chars().take(room.saturating_sub(1)).collect();
    format!("{begin}…")
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Divides the map into areas that are proportional to the sizes.
fn squarified(sizes: &[u64]) -> Vec<Area> {
    let total: f64 = sizes.iter().map(|size| *size as f64).sum();
    let scale = WIDTH * HEIGHT / total.max(1.0);
    let mut room = Area { x: 0.0, y: 0.0, width: WIDTH, height: HEIGHT };
    let mut areas = Vec::with_capacity(sizes.len());
    let mut rest: Vec<f64> = sizes.iter().rev().map(|size| *size as f64 * scale).collect();
    while let Some(first) = rest.pop() {
        let side = room.width.min(room.height);
        let mut row = vec![first];
        while let Some(next) = rest.last() {
            let longer: Vec<f64> = row.iter().chain([next]).copied().collect();
            if worst(&longer, side) > worst(&row, side) {
                break;
            }
            row = longer;
            rest.pop();
        }
        room = placed(&row, room, &mut areas);
    }
    areas
}

/// Returns the worst aspect ratio in a row along a side of this length.
fn worst(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let ratio = |area: &f64| {
        let (along, across) = (area * side / sum, sum / side);
        (along / across).max(across / along)
    };
    row.iter().map(ratio).fold(1.0, f64::max)
}

/// Places a row along the shorter side, and returns the remaining area.
fn placed(row: &[f64], room: Area, areas: &mut Vec<Area>) -> Area {
    let sum: f64 = row.iter().sum();
    let is_column = room.width >= room.height;
    let side = if is_column { room.height } else { room.width };
    let across = if side > 0.0 { sum / side } else { 0.0 };
    let mut at = 0.0;
    for area in row {
        let along = if sum > 0.0 { area / sum * side } else { 0.0 };
        areas.push(if is_column {
            Area { x: room.x, y: room.y + at, width: across, height: along }
        } else {
            Area { x: room.x + at, y: room.y, width: along, height: across }
        });
        at += along;
    }
    if is_column {
        Area { x: room.x + across, width: (room.width - across).max(0.0), ..room }
    } else {
        Area { y: room.y + across, height: (room.height - across).max(0.0), ..room }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_are_proportional_lie_within_and_do_not_overlap() {
        for sizes in [&[6, 6, 4, 3, 2, 2, 1][..], &[1_000_000, 1, 1], &[1, 1], &[u64::MAX, u64::MAX / 2]] {
            let areas = squarified(sizes);
            let total: f64 = sizes.iter().map(|size| *size as f64).sum();
            for (size, area) in sizes.iter().zip(&areas) {
                let share = area.width * area.height / (WIDTH * HEIGHT);
                assert!((share - *size as f64 / total).abs() < 1e-6, "{areas:?}");
                assert!(area.x >= -1e-6 && area.x + area.width <= WIDTH + 1e-6, "{areas:?}");
                assert!(area.y >= -1e-6 && area.y + area.height <= HEIGHT + 1e-6, "{areas:?}");
            }
            for (at, one) in areas.iter().enumerate() {
                for other in areas.iter().skip(at + 1) {
                    let apart = one.x + one.width <= other.x + 1e-6
                        || other.x + other.width <= one.x + 1e-6
                        || one.y + one.height <= other.y + 1e-6
                        || other.y + other.height <= one.y + 1e-6;
                    assert!(apart, "{one:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn names_are_escaped_and_the_rest_is_one_area() {
        let item = |size| Item { label: "<b>&".to_owned(), size, link: Some("/x".to_owned()) };
        assert_eq!(of("x", &[item(1)]).into_string(), "");
        assert_eq!(of("x", &[item(0), item(0)]).into_string(), "");
        let items: Vec<Item> = (1..100).map(item).collect();
        let drawn = of("x", &items).into_string();
        assert!(drawn.contains("&lt;b&gt;") && !drawn.contains("<b>") && !drawn.contains("NaN"), "{drawn}");
        assert_eq!(drawn.matches("<rect").count(), MOST + 1);
    }
}
