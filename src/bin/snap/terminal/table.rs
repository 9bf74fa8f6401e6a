//! Formats tables with aligned columns that fit the terminal.

use console::{measure_text_width, truncate_str};

use crate::terminal::text::{self, Paint};

/// Maximum width of a column. A longer cell moves the rest of its line to the right.
const MAX_WIDTH: usize = 80;
const GAP: usize = 2;

/// How a table is narrowed if it is wider than the terminal.
#[derive(Debug, Default)]
pub(crate) struct Narrow<'a> {
    /// Columns whose cells are truncated, with their minimum width.
    pub(crate) cut: &'a [(usize, usize)],
    /// Columns that are left out, in this order.
    pub(crate) drop: &'a [usize],
}

/// Formats rows with columns as wide as their widest cell; numbers are aligned to the right.
pub(crate) fn columns<const N: usize>(
    rows: &[[String; N]],
    is_number: impl Fn(usize) -> bool,
) -> Vec<String> {
    let widths = widths(rows);
    let all: Vec<usize> = (0..N).collect();
    rows.iter().map(|row| line(row, &widths, &all, &is_number)).collect()
}

/// Like [`columns`], with the first row as a header. On a terminal, the header is highlighted and the table
/// is narrowed to fit.
pub(crate) fn table<const N: usize>(
    rows: &[[String; N]],
    is_number: impl Fn(usize) -> bool,
    narrow: &Narrow<'_>,
) -> Vec<String> {
    let Some((_, width)) = text::size_of_stdout() else { return columns(rows, is_number) };
    let mut lines = fitted(rows, is_number, narrow, width);
    if let Some(head) = lines.first_mut() {
        *head = Paint::Bold.on(head);
    }
    lines
}

fn fitted<const N: usize>(
    rows: &[[String; N]],
    is_number: impl Fn(usize) -> bool,
    narrow: &Narrow<'_>,
    width: usize,
) -> Vec<String> {
    let natural = widths(rows);
    let least: Vec<usize> = (0..N).map(|column| min_width(narrow, &natural, column)).collect();
    // Leaves out as few columns as necessary.
    let mut shown: Vec<usize> = (0..N).collect();
    let mut dropped = narrow.drop.iter();
    while total_width(&least, &shown) > width {
        let Some(column) = dropped.next() else { break };
        shown.retain(|one| one != column);
    }
    // Distributes the remaining width to the truncated columns.
    let mut room = width.saturating_sub(total_width(&least, &shown));
    let mut taken = least;
    for column in &shown {
        if let (Some(taken), Some(natural)) = (taken.get_mut(*column), natural.get(*column)) {
            let more = natural.saturating_sub(*taken).min(room);
            (*taken, room) = (*taken + more, room - more);
        }
    }
    let cut = |row: &[String; N]| {
        let mut row = row.clone();
        for (cell, width) in row.iter_mut().zip(&taken) {
            *cell = truncate_str(cell, *width, "…").into_owned();
        }
        line(&row, &taken, &shown, &is_number)
    };
    rows.iter().map(cut).collect()
}

fn min_width(narrow: &Narrow<'_>, natural: &[usize], column: usize) -> usize {
    let natural = natural.get(column).copied().unwrap_or_default();
    let kept = narrow.cut.iter().find(|(cut, _)| *cut == column).map(|(_, width)| *width);
    kept.unwrap_or(natural).min(natural)
}

fn total_width(widths: &[usize], shown: &[usize]) -> usize {
    let used: usize = shown.iter().filter_map(|column| widths.get(*column)).sum();
    used + GAP * shown.len().saturating_sub(1)
}

fn widths<const N: usize>(rows: &[[String; N]]) -> Vec<usize> {
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| measure_text_width(cell).min(MAX_WIDTH)).max().unwrap_or_default()
    };
    (0..N).map(widest).collect()
}

fn line<const N: usize>(
    row: &[String; N],
    widths: &[usize],
    shown: &[usize],
    is_number: &impl Fn(usize) -> bool,
) -> String {
    let cell = |column: &usize| {
        let (cell, width) = (row.get(*column)?, widths.get(*column)?);
        // The last column needs no padding.
        let width = if shown.last() == Some(column) && !is_number(*column) { 0 } else { *width };
        Some(padded(cell, width, is_number(*column)))
    };
    let cells: Vec<String> = shown.iter().filter_map(cell).collect();
    cells.join(&" ".repeat(GAP)).trim_end().to_owned()
}

/// Pads a cell with spaces on one side.
pub(crate) fn padded(cell: &str, width: usize, to_the_right: bool) -> String {
    let spaces = " ".repeat(width.saturating_sub(measure_text_width(cell)));
    if to_the_right { spaces + cell } else { cell.to_owned() + &spaces }
}

#[cfg(test)]
mod tests {
    use console::measure_text_width;
    use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

    use super::{Narrow, columns, fitted, min_width, padded, total_width, widths};
    use crate::terminal::text::printable;

    fn rows(cells: &[[&str; 4]]) -> Vec<[String; 4]> {
        cells.iter().map(|row| row.map(str::to_owned)).collect()
    }

    #[test]
    fn huge_cell_makes_no_other_line_longer() {
        let long = "x".repeat(70_000);
        let rows = [["a".to_owned(), "b".to_owned()], [long.clone(), "c".to_owned()]];
        let lines = columns(&rows, |_| false);
        assert_eq!(lines[0].trim_end(), format!("a{}b", " ".repeat(81)));
        assert_eq!(lines[1], format!("{long}  c"));
        assert_eq!(padded("7", 3, true), "  7");
    }

    #[test]
    fn a_table_cuts_long_cells_first_and_then_leaves_columns_out() {
        let rows = rows(&[
            ["ID", "Tags", "Size", "Paths"],
            ["0123abcd", "weekly,monthly", "12.0 MiB", "/home/me/documents, /etc"],
            ["89abcdef", "", "1 B", "/日本語/日本語"],
        ]);
        let narrow = Narrow { cut: &[(1, 6), (3, 10)], drop: &[1, 2] };
        let at = |width| fitted(&rows, |column| column == 2, &narrow, width);
        assert_eq!(at(200), columns(&rows, |column| column == 2));
        assert_eq!(at(50)[1], "0123abcd  weekly,monthly  12.0 MiB  /home/me/docu…");
        assert_eq!(at(40)[1], "0123abcd  weekly,…  12.0 MiB  /home/me/…");
        assert_eq!(at(30)[1], "0123abcd  12.0 MiB  /home/me/…");
        assert_eq!(at(20)[1], "0123abcd  /home/me/…");
        for width in 20..90 {
            assert!(
                at(width).iter().all(|line| measure_text_width(line) <= width),
                "{width}: {:?}",
                at(width)
            );
        }
    }

    /// Cells are printable already.
    fn cell() -> impl Strategy<Value = String> {
        prop_oneof![".{0,20}", Just("x".repeat(7000)), Just("\u{1f600}e\u{301}日".repeat(50))]
            .prop_map(|text| printable(&text))
    }

    proptest! {
        /// No line is wider than the window, or than the columns that cannot be narrowed, whatever the cells
        /// contain.
        #[test]
        fn a_table_fits_windows_of_every_width(
            rows in prop::collection::vec([cell(), cell(), cell(), cell()], 0..4),
            numbers in any::<[bool; 4]>(),
            cut in prop::collection::vec((0..5_usize, 1..30_usize), 0..4),
            drop in prop::collection::vec(0..5_usize, 0..4),
            width in 0..301_usize,
        ) {
            let narrow = Narrow { cut: &cut, drop: &drop };
            let lines = fitted(&rows, |column| numbers[column], &narrow, width);
            assert_eq!(lines.len(), rows.len());
            let natural = widths(&rows);
            let kept: Vec<usize> = (0..4).map(|column| min_width(&narrow, &natural, column)).collect();
            let never: Vec<usize> = (0..4).filter(|column| !drop.contains(column)).collect();
            let most = width.max(total_width(&kept, &never));
            for line in lines {
                assert!(measure_text_width(&line) <= most, "{most}: {line:?}");
            }
        }
    }
}
