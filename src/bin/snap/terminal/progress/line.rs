//! Formats the progress line for a width. The most important parts are dropped last.

use console::{measure_text_width, truncate_str};

use crate::terminal::output;

/// Width of the bar in a wide and in a narrow window.
const BAR_WIDTHS: (usize, usize) = (30, 12);
/// Minimum width of a path; a shorter part would be meaningless.
const MIN_PATH_WIDTH: usize = 12;
const GAP: &str = "  ";
/// Width of the percentage and the bytes.
const NUMBERS_WIDTH: usize = 28;

/// The values to display.
#[derive(Debug, Default)]
pub(super) struct View<'a> {
    pub(super) verb: &'a str,
    /// Name of the stage; empty if the verb has only one.
    pub(super) stage: &'a str,
    pub(super) share: Option<f64>,
    /// Whether the total is that of the previous run.
    pub(super) is_guess: bool,
    /// Whether the total may still grow.
    pub(super) at_least: bool,
    pub(super) bytes: (u64, u64),
    pub(super) files: (u64, u64),
    pub(super) unit: &'a str,
    pub(super) rate: u64,
    pub(super) left: Option<String>,
    pub(super) seconds: f64,
    pub(super) path: &'a [u8],
}

/// A part of the line. Parts with a smaller rank are kept longer.
struct Piece {
    rank: u8,
    text: String,
}

/// Returns the line, at most `width` columns wide.
pub(super) fn line(view: &View<'_>, width: usize) -> String {
    let pieces = pieces(view, width);
    let title = title(view, width);
    let mut ranks: Vec<u8> = pieces.iter().map(|piece| piece.rank).collect();
    ranks.sort_unstable();
    let mut used = measure_text_width(&title);
    let mut kept = Vec::new();
    for rank in ranks {
        let length = pieces.iter().find(|piece| piece.rank == rank).map_or(0, |piece| piece.text.len());
        // A later part that is shorter may still fit.
        if used + GAP.len() + length <= width {
            used += GAP.len() + length;
            kept.push(rank);
        }
    }
    let mut text = truncate_str(&title, width, "").into_owned();
    for piece in pieces.iter().filter(|piece| kept.contains(&piece.rank)) {
        text += GAP;
        text += &piece.text;
    }
    let room = width.saturating_sub(used + GAP.len());
    if room >= MIN_PATH_WIDTH && !view.path.is_empty() {
        text += GAP;
        text += &tail(&output::path(view.path), room);
    }
    text
}

/// Returns the verb, with the stage if that leaves room for the numbers.
fn title(view: &View<'_>, width: usize) -> String {
    let whole = format!("{}: {}", view.verb, view.stage);
    if view.stage.is_empty() || measure_text_width(&whole) + NUMBERS_WIDTH > width {
        view.verb.to_owned()
    } else {
        whole
    }
}

fn pieces(view: &View<'_>, width: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut put = |rank, text| pieces.push(Piece { rank, text });
    if let Some(share) = view.share {
        let about = if view.is_guess { "~" } else { "" };
        put(0, format!("{:>4}", format!("{about}{:.0}%", (share * 100.0).floor())));
        put(3, bar(share, if width >= 100 { BAR_WIDTHS.0 } else { BAR_WIDTHS.1 }));
    }
    if view.bytes != (0, 0) {
        put(1, amount(view.bytes, view));
        put(4, format!("{}/s", output::size(view.rate)));
    }
    match &view.left {
        Some(left) => put(2, left.clone()),
        None => put(5, output::duration(view.seconds.floor()).replace(".00", "")),
    }
    if view.files != (0, 0) {
        put(6, number(view));
    }
    pieces
}

/// Formats the bar, `[=====>    ]`, with characters that every terminal has.
fn bar(share: f64, width: usize) -> String {
    let inner = width - 2;
    let full = ((share * inner as f64) as usize).min(inner);
    let head = if full < inner { ">" } else { "" };
    format!("[{}{head}{}]", "=".repeat(full), " ".repeat(inner - full - head.len()))
}

/// Formats `1.3 of 3.1 GiB`.
fn amount((done, all): (u64, u64), view: &View<'_>) -> String {
    if all <= done {
        return output::size(done);
    }
    let about = match (view.is_guess, view.at_least) {
        (true, _) => "about ",
        (_, true) => "at least ",
        _ => "",
    };
    let (done, all) = (output::size(done), output::size(all));
    match (done.split_once(' '), all.split_once(' ')) {
        (Some((number, one)), Some((_, other))) if one == other => format!("{number} of {about}{all}"),
        _ => format!("{done} of {about}{all}"),
    }
}

fn number(view: &View<'_>) -> String {
    let ((done, all), unit) = (view.files, view.unit);
    let at_least = if view.at_least { "at least " } else { "" };
    if all > done && !view.is_guess {
        format!("{done} of {at_least}{all} {unit}")
    } else {
        format!("{done} {unit}")
    }
}

/// Shortens a path at its beginning, because its end is more informative.
fn tail(path: &str, width: usize) -> String {
    let mut text = path.to_owned();
    if measure_text_width(&text) <= width {
        return text;
    }
    while measure_text_width(&text) + 1 > width && !text.is_empty() {
        text.remove(0);
    }
    format!("…{text}")
}

#[cfg(test)]
mod tests {
    use super::{View, line};
    use console::measure_text_width;

    fn view() -> View<'static> {
        View {
            verb: "backup",
            share: Some(0.42),
            bytes: (1_395_864_371, 3_328_599_654),
            files: (12_034, 30_000),
            unit: "files",
            rate: 123_731_968,
            left: Some("about 3 min left".to_owned()),
            seconds: 12.0,
            path: b"home/me/documents/letters/2026/november.odt",
            ..View::default()
        }
    }

    #[test]
    fn a_line_fits_every_width_and_keeps_what_matters_most() {
        for width in 0..250 {
            for path in [b"".as_slice(), b"a", "home/\u{65e5}\u{672c}/\u{65e5}\u{672c}/\u{65e5}".as_bytes()] {
                let text = line(&View { path, ..view() }, width);
                assert!(measure_text_width(&text) <= width, "{width}: {text}");
            }
        }
        for (width, wanted) in [
            (12, "backup   42%"),
            (40, "backup   42%  1.3 of 3.1 GiB"),
            (50, "backup   42%  1.3 of 3.1 GiB  about 3 min left"),
            (79, "backup   42%  [====>     ]  1.3 of 3.1 GiB  118.0 MiB/s  about 3 min left"),
            (
                160,
                "backup   42%  [===========>                ]  1.3 of 3.1 GiB  118.0 MiB/s  about 3 min left  \
                 12034 of 30000 files  home/me/documents/letters/2026/november.odt",
            ),
        ] {
            assert_eq!(line(&view(), width), wanted, "{width}");
        }
    }

    #[test]
    fn a_stage_is_named_where_that_leaves_room_for_the_numbers() {
        let check = View { verb: "check", stage: "reading packs", left: None, path: b"", ..view() };
        assert_eq!(line(&check, 30), "check   42%  1.3 of 3.1 GiB");
        assert_eq!(line(&check, 48), "check: reading packs   42%  1.3 of 3.1 GiB  12 s");
    }

    #[test]
    fn preliminary_total_is_marked_as_such() {
        let found = View { share: None, left: None, at_least: true, path: b"", ..view() };
        assert_eq!(
            line(&found, 120),
            "backup  1.3 of at least 3.1 GiB  118.0 MiB/s  12 s  12034 of at least 30000 files"
        );
        let guessed = View { is_guess: true, path: b"", ..view() };
        assert_eq!(
            line(&guessed, 90),
            "backup  ~42%  [====>     ]  1.3 of about 3.1 GiB  118.0 MiB/s  about 3 min left"
        );
    }
}
