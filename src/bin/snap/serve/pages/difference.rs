//! Compares the texts of a file in two snapshots.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hyper::StatusCode;
use maud::{Markup, html};
use similar::{ChangeTag, DiffOp, TextDiff};
use snap_backup::model::entry::{Entry, Kind};
use snap_backup::repo::snapshots::Snapshot;

use super::compare::chosen;
use super::{frame, name, size, time};
use crate::serve::app_state::AppState;
use crate::serve::request::PageRequest;
use crate::serve::response::HttpError;
use crate::serve::sessions::SharedSession;
use crate::serve::url::{encoded_path, shown_at, versions_at};
use crate::terminal::output;

/// Maximum size in bytes of a text to compare.
const MOST: u64 = 1 << 20;
/// Maximum number of lines that are shown.
const LINES: usize = 4000;
/// Number of unchanged lines around each difference.
const AROUND: usize = 3;
/// Time limit, after which the difference may be longer than necessary.
const TIME: Duration = Duration::from_secs(2);

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    asked: &PageRequest,
    _: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let (before, after) = (chosen(visit, asked, "a")?, chosen(visit, asked, "b")?);
    let path = asked.stored(1);
    let (old, new) = (side(visit, before, &path)?, side(visit, after, &path)?);
    let other = format!("/difference/{}?a={}&b={}", encoded_path(&path), after.id, before.id);
    let content = html! {
        p { code { (name(&path)) } }
        dl {
            dt { "From" } dd { (version(before, &path, &old.0)) }
            dt { "To" } dd { (version(after, &path, &new.0)) }
        }
        @match (&old.1, &new.1) {
            (Some(old), Some(new)) => { (text(old, new)) }
            _ => { p role="status" { "One of them is not text, or is larger than " (output::size(MOST)) ": only sizes and times can be compared." } }
        }
        p.actions {
            a.button href=(versions_at(&path)) { "All versions" }
            a.button href=(other) { "Swap the two" }
        }
    };
    Ok(frame(&site.title, "Difference", "", content))
}

fn version(snapshot: &Snapshot, path: &[u8], entry: &Entry) -> Markup {
    html! {
        a href=(shown_at(&snapshot.id, path)) { "as of " (time(snapshot.manifest.started)) } ", "
        (size(entry.size())) ", modified " (time(entry.meta.mtime))
    }
}

/// Returns the file, and its content if it is text.
fn side(
    visit: &SharedSession,
    snapshot: &Snapshot,
    path: &[u8],
) -> Result<(Entry, Option<String>), HttpError> {
    let nothing = || HttpError::not_found("the snapshot has no such file");
    let entry = visit.browser.entry(snapshot, path)?.ok_or_else(nothing)?;
    let text = match &entry.kind {
        Kind::File { size, content } if *size <= MOST => {
            as_text(visit.browser.read(*size, content, 0..*size)?)
        }
        Kind::File { .. } => None,
        _ => return Err(HttpError::new(StatusCode::BAD_REQUEST, "only files are compared line by line")),
    };
    Ok((entry, text))
}

/// Returns the text if the bytes are UTF-8 without NUL.
fn as_text(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// A line of the table.
type Line<'a> = (ChangeTag, Option<usize>, Option<usize>, &'a str);

fn text(old: &str, new: &str) -> Markup {
    let diff = TextDiff::configure().timeout(TIME).diff_lines(old, new);
    let groups: Vec<Vec<DiffOp>> = diff.grouped_ops(AROUND);
    let count = |wanted: ChangeTag| diff.iter_all_changes().filter(|one| one.tag() == wanted).count() as u64;
    let (added, removed) = (count(ChangeTag::Insert), count(ChangeTag::Delete));
    let mut left = LINES;
    let mut shown: Vec<Vec<Line<'_>>> = Vec::new();
    for group in &groups {
        let lines = group.iter().flat_map(|op| diff.iter_changes(op));
        let lines: Vec<Line<'_>> =
            lines.take(left).map(|one| (one.tag(), one.old_index(), one.new_index(), one.value())).collect();
        left -= lines.len();
        shown.push(lines);
    }
    html! {
        @if groups.is_empty() { p role="status" { "The texts are identical." } }
        @else {
            p role="status" {
                span.plus { (output::count(added, "line", "lines")) " added" } ", "
                span.minus { (output::count(removed, "line", "lines")) " removed" } "."
            }
            div.scroll tabindex="0" role="region" aria-label="Lines that differ" {
                table.diff {
                    thead.hidden { tr { th scope="col" { "Old" } th scope="col" { "New" } th scope="col" { "Sign" } th scope="col" { "Line" } } }
                    @for lines in shown.iter().filter(|lines| !lines.is_empty()) {
                        tbody { @for found in lines { (line(found)) } }
                    }
                }
            }
            @if left == 0 { p { "Only the first " (LINES) " lines are shown: download both to see all." } }
        }
    }
}

fn line((tag, old, new, text): &Line<'_>) -> Markup {
    let (class, sign) = match tag {
        ChangeTag::Insert => ("added", "+"),
        ChangeTag::Delete => ("removed", "−"),
        ChangeTag::Equal => ("", " "),
    };
    let number = |at: &Option<usize>| at.map(|at| (at + 1).to_string()).unwrap_or_default();
    let text = text.trim_end_matches(['\n', '\r']).replace('\t', "    ");
    html! {
        tr class=(class) { td { (number(old)) } td { (number(new)) } td { (sign) } td { (output::printable(&text)) } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_compared_escaped_and_numbered() {
        let shown = text("a\n<b>\nc\n", "a\nx\ty\u{1b}\nc\n").into_string();
        assert!(shown.contains("1 line added") && shown.contains("1 line removed"), "{shown}");
        assert!(shown.contains("<td>2</td><td></td><td>−</td><td>&lt;b&gt;</td>"), "{shown}");
        assert!(shown.contains("<td></td><td>2</td><td>+</td><td>x    y"), "{shown}");
        assert!(!shown.contains('\u{1b}') && !shown.contains("<b>"), "{shown}");
        assert!(text("same", "same").into_string().contains("are identical"));
        assert_eq!((as_text(vec![0xff]), as_text(vec![b'a', 0])), (None, None));
    }

    #[test]
    fn long_texts_show_their_first_lines() {
        let long: String = (0..LINES + 10).map(|at| format!("{at}\n")).collect();
        let shown = text("", &long).into_string();
        assert_eq!(shown.matches("class=\"added\"").count(), LINES);
        assert!(shown.contains("Only the first"));
    }
}
