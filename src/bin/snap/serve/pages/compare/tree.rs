//! Shows differences as a tree: each directory with its totals, followed by its contents.

use std::cmp::Ordering;

use maud::{Markup, html};
use snap_backup::model::entry::Entry;
use snap_backup::ops::diff::{Difference, DifferenceKind};
use snap_backup::repo::snapshots::Snapshot;

use super::{joined, words};
use crate::serve::pages::{is_below, name, size};
use crate::serve::url::{encoded_path, shown_at};
use crate::terminal::output;

/// Maximum number of rows.
const MOST: usize = 1000;
/// Maximum depth of indentation.
const LEVELS: usize = 8;

/// Totals of the differences in a directory and below: numbers of entries, and bytes of files on both sides.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sums {
    added: u64,
    removed: u64,
    changed: u64,
    metadata: u64,
    before: u64,
    after: u64,
}

impl Sums {
    fn add(&mut self, found: &Difference<'_>) {
        match found.change {
            DifferenceKind::Added => self.added += 1,
            DifferenceKind::Removed => self.removed += 1,
            DifferenceKind::Content | DifferenceKind::Type => self.changed += 1,
            DifferenceKind::Metadata => self.metadata += 1,
        }
        let (before, after) = sides(found);
        self.before = self.before.saturating_add(before.map_or(0, Entry::size));
        self.after = self.after.saturating_add(after.map_or(0, Entry::size));
    }

    fn text(&self) -> String {
        let parts = [
            (self.added, "added"),
            (self.removed, "removed"),
            (self.changed, "changed"),
            (self.metadata, "metadata"),
        ];
        let parts = parts.iter().filter(|(number, _)| *number > 0);
        parts.map(|(number, word)| format!("{number} {word}")).collect::<Vec<_>>().join(", ")
    }
}

/// Returns the entries of both sides.
fn sides<'a>(found: &Difference<'a>) -> (Option<&'a Entry>, Option<&'a Entry>) {
    (found.before, Some(found.entry).filter(|_| found.change != DifferenceKind::Removed))
}

/// A row: a difference, or a directory that contains differences.
#[derive(Debug)]
struct Row {
    path: Vec<u8>,
    depth: usize,
    /// `None` for a directory that is shown only because of its contents.
    change: Option<DifferenceKind>,
    fields: String,
    is_dir: bool,
    /// Sizes of a file on both sides.
    sizes: (Option<u64>, Option<u64>),
    sums: Sums,
}

/// The rows in the order of paths, each directory before its contents. Differences arrive in that order.
#[derive(Debug, Default)]
pub(super) struct Tree {
    rows: Vec<Row>,
    /// Rows of the directories above the last path.
    open: Vec<usize>,
    all: Sums,
    has_hidden: bool,
    is_cut: bool,
}

impl Tree {
    /// Records that a difference is not shown.
    pub(super) fn hide(&mut self) {
        self.has_hidden = true;
    }

    pub(super) fn has_hidden(&self) -> bool {
        self.has_hidden
    }

    /// Returns the bytes of files that differ, on both sides.
    pub(super) fn sizes(&self) -> (u64, u64) {
        (self.all.before, self.all.after)
    }

    /// Adds a difference. The contents of a directory that was added or removed as a whole are only counted.
    pub(super) fn add(&mut self, found: &Difference<'_>) {
        let path = found.path;
        self.close(path);
        let is_whole = |row: &Row| {
            matches!(row.change, Some(DifferenceKind::Added | DifferenceKind::Removed | DifferenceKind::Type))
        };
        let is_in_whole = self.open.last().and_then(|at| self.rows.get(*at)).is_some_and(is_whole);
        if !is_in_whole {
            self.open_above(path);
            self.push(path, Some(found));
        }
        self.all.add(found);
        let own = self.rows.last().filter(|row| row.path == path).map(|_| self.rows.len() - 1);
        for at in self.open.iter().filter(|at| Some(**at) != own) {
            if let Some(row) = self.rows.get_mut(*at) {
                row.sums.add(found);
            }
        }
    }

    /// Closes the directories that do not contain the path.
    fn close(&mut self, path: &[u8]) {
        let is_outside = |row: &Row| !is_below(path, &row.path);
        while self.open.last().and_then(|at| self.rows.get(*at)).is_some_and(is_outside) {
            self.open.pop();
        }
    }

    /// Adds missing rows for the directories above the path.
    fn open_above(&mut self, path: &[u8]) {
        let known = self.open.last().and_then(|at| self.rows.get(*at)).map_or(0, |row| row.path.len() + 1);
        let slashes = path.iter().enumerate().filter(|(at, byte)| **byte == b'/' && *at >= known);
        let ends: Vec<usize> = slashes.map(|(at, _)| at).collect();
        for end in ends {
            self.push(path.get(..end).unwrap_or_default(), None);
        }
    }

    fn push(&mut self, path: &[u8], found: Option<&Difference<'_>>) {
        if self.rows.len() >= MOST {
            self.is_cut = true;
            return;
        }
        let (before, after) = found.map_or((None, None), sides);
        let is_dir = found.is_none_or(|found| found.entry.is_dir());
        let of_file = |entry: Option<&Entry>| entry.filter(|entry| entry.is_file()).map(Entry::size);
        if is_dir {
            self.open.push(self.rows.len());
        }
        self.rows.push(Row {
            path: path.to_vec(),
            depth: path.iter().filter(|byte| **byte == b'/').count(),
            change: found.map(|found| found.change),
            fields: found.map_or_else(String::new, |found| found.fields.join(", ")),
            is_dir,
            sizes: (of_file(before), of_file(after)),
            sums: Sums::default(),
        });
    }

    /// Returns the rows to draw, each with its depth and the displayed part of its path. A directory whose
    /// only content is one directory is merged with it.
    fn drawn(&self) -> Vec<(&Row, usize, &[u8])> {
        let mut drawn = Vec::with_capacity(self.rows.len());
        // Rows of the drawn ancestors.
        let mut above: Vec<&Row> = Vec::new();
        let mut rows = self.rows.iter().peekable();
        while let Some(row) = rows.next() {
            while above.last().is_some_and(|above| !is_below(&row.path, &above.path)) {
                above.pop();
            }
            let is_same = |next: &&Row| next.is_dir && next.depth == row.depth + 1 && next.sums == row.sums;
            if row.is_dir
                && row.change.is_none()
                && rows.peek().is_some_and(|next| next.change.is_none() && is_same(next))
            {
                continue;
            }
            let start = above.last().map_or(0, |above| above.path.len() + 1);
            drawn.push((row, above.len(), row.path.get(start..).unwrap_or_default()));
            if row.is_dir {
                above.push(row);
            }
        }
        drawn
    }

    /// Draws the table. `base` is the path of the compared directory.
    pub(super) fn table(&self, sides: (&Snapshot, &Snapshot), base: &[u8]) -> Markup {
        html! {
            @if !self.rows.is_empty() {
                table.stack.list.tree {
                    caption { "Sizes of a directory are sums of the files in it that differ." }
                    thead { tr {
                        th scope="col" { "Change" } th scope="col" { "Path" } th.number scope="col" { "Size before" }
                        th.number scope="col" { "Size after" } th.number scope="col" { "Growth" }
                        th scope="col" { "Details" } th scope="col" { span.hidden { "Versions" } }
                    } }
                    tbody { @for (row, level, label) in self.drawn() { (line(row, (level, label), sides, base)) } }
                }
            }
            @if self.is_cut { p { "Only the first " (MOST) " rows are shown; " code { "snap diff" } " lists all." } }
        }
    }
}

fn line(
    row: &Row,
    (level, label): (usize, &[u8]),
    (before, after): (&Snapshot, &Snapshot),
    base: &[u8],
) -> Markup {
    let path = joined(base, &row.path);
    let (has_before, has_after) =
        (row.change != Some(DifferenceKind::Added), row.change != Some(DifferenceKind::Removed));
    let to = shown_at(if has_after { &after.id } else { &before.id }, &path);
    let is_text = row.change == Some(DifferenceKind::Content) && !row.is_dir;
    let difference = format!("/difference/{}?a={}&b={}", encoded_path(&path), before.id, after.id);
    let shown = output::path(&row.path);
    let sizes = if row.is_dir { (Some(row.sums.before), Some(row.sums.after)) } else { row.sizes };
    let details = if row.is_dir && row.sums != Sums::default() { row.sums.text() } else { String::new() };
    let fields = if row.fields.is_empty() || details.is_empty() { "" } else { "; " };
    let level = level.min(LEVELS);
    html! {
        tr {
            td class=[row.change.map(|change| words(change).1)] {
                @if let Some(change) = row.change { (change.letter()) " " (words(change).0) }
            }
            td class={ "name l" (level) } {
                a class=[row.is_dir.then_some("dir")] href=(to) aria-label=[(level > 0).then_some(&shown)] { (name(label)) @if row.is_dir { "/" } }
            }
            td.number data-label="Before" { (size_or_dash(sizes.0)) }
            td.number data-label="After" { (size_or_dash(sizes.1)) }
            td.number data-label="Growth" { (growth(sizes.0.unwrap_or(0), sizes.1.unwrap_or(0))) }
            td data-label="Details" { (details) (fields) (row.fields) }
            td.links {
                @if has_before { a href=(shown_at(&before.id, &path)) aria-label={ "Before: " (shown) } { "before" } }
                @if has_before && has_after { " " }
                @if has_after { a href=(shown_at(&after.id, &path)) aria-label={ "After: " (shown) } { "after" } }
                @if is_text { " " a href=(difference) aria-label={ "Lines that differ: " (shown) } { "lines" } }
            }
        }
    }
}

fn growth(before: u64, after: u64) -> Markup {
    html! {
        @match after.cmp(&before) {
            Ordering::Equal => { "–" }
            Ordering::Greater => { "+" (size(after - before)) }
            Ordering::Less => { "−" (size(before - after)) }
        }
    }
}

fn size_or_dash(bytes: Option<u64>) -> Markup {
    html! { @match bytes { Some(bytes) => { (size(bytes)) } None => { "–" } } }
}

#[cfg(test)]
mod tests {
    use snap_backup::model::entry::{Content, Kind, Meta};
    use snap_backup::model::id::ChunkId;

    use super::*;

    fn file(size: u64) -> Entry {
        let kind = Kind::File { size, content: Content::Parts(Vec::new()) };
        Entry { name: b"x".to_vec(), kind, meta: Meta::default() }
    }

    fn dir() -> Entry {
        Entry { name: b"x".to_vec(), kind: Kind::Dir { tree: ChunkId::new([0; 32]) }, meta: Meta::default() }
    }

    fn add(tree: &mut Tree, path: &str, change: DifferenceKind, entry: &Entry, before: Option<&Entry>) {
        tree.add(&Difference { path: path.as_bytes(), change, fields: Vec::new(), entry, before });
    }

    #[test]
    fn directories_precede_their_content_with_totals() {
        let mut tree = Tree::default();
        add(&mut tree, "a/b/changed", DifferenceKind::Content, &file(10), Some(&file(4)));
        add(&mut tree, "a/b.new", DifferenceKind::Added, &file(5), None);
        add(&mut tree, "a/new", DifferenceKind::Added, &dir(), None);
        add(&mut tree, "a/new/x", DifferenceKind::Added, &file(7), None);
        add(&mut tree, "a/new/deep/y", DifferenceKind::Added, &file(8), None);
        add(&mut tree, "z", DifferenceKind::Removed, &file(3), Some(&file(3)));
        let rows: Vec<(String, usize, String, u64, u64)> = tree
            .rows
            .iter()
            .map(|row| {
                let path = String::from_utf8(row.path.clone()).unwrap();
                (path, row.depth, row.sums.text(), row.sums.before, row.sums.after)
            })
            .collect();
        let row = |path: &str, depth, text: &str, before, after| {
            (path.to_owned(), depth, text.to_owned(), before, after)
        };
        assert_eq!(
            rows,
            [
                row("a", 0, "4 added, 1 changed", 4, 30),
                row("a/b", 1, "1 changed", 4, 10),
                row("a/b/changed", 2, "", 0, 0),
                row("a/b.new", 1, "", 0, 0),
                row("a/new", 1, "2 added", 0, 15),
                row("z", 0, "", 0, 0),
            ]
        );
        assert_eq!(tree.sizes(), (7, 30));
        let mut tree = Tree::default();
        add(&mut tree, "home/anna/x", DifferenceKind::Added, &file(1), None);
        add(&mut tree, "home/anna/y/z", DifferenceKind::Added, &file(1), None);
        let drawn: Vec<(usize, &[u8])> =
            tree.drawn().iter().map(|(_, level, label)| (*level, *label)).collect();
        assert_eq!(drawn, [(0, &b"home/anna"[..]), (1, b"x"), (1, b"y"), (2, b"z")]);
    }

    #[test]
    fn totals_count_all_rows_beyond_the_limit() {
        let mut tree = Tree::default();
        for number in 0..MOST + 10 {
            add(&mut tree, &format!("a/{number:06}"), DifferenceKind::Added, &file(1), None);
        }
        assert_eq!((tree.rows.len(), tree.is_cut), (MOST, true));
        assert_eq!(tree.rows[0].sums.after, (MOST + 10) as u64);
    }
}
