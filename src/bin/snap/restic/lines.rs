//! Formats numbers and tables as in restic's text output, which programs parse.

/// Formats a size: `1.670 KiB`, `886 B`.
pub(super) fn size(bytes: u64) -> String {
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift {
            return format!("{:.3} {unit}", bytes as f64 / (1_u64 << shift) as f64);
        }
    }
    format!("{bytes} B")
}

/// Formats a duration: `0:07`, `1:02:03`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// A column: its header, which is also its minimum width, and the lines of each cell.
pub(super) struct Column {
    pub(super) head: &'static str,
    pub(super) cells: Vec<Vec<String>>,
}

/// Formats a table with a line below its header and one at its end, followed by `foot`.
pub(super) fn table(columns: &[Column], foot: &[String]) -> Vec<String> {
    let wide = |text: &str| text.chars().count();
    let width = |column: &Column| {
        let cells = column.cells.iter().flatten().map(|line| wide(line));
        cells.chain([wide(column.head)]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = columns.iter().map(width).collect();
    let row = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1));
    let mut lines = vec![row(columns.iter().map(|column| column.head).collect()), rule.clone()];
    for at in 0..columns.iter().map(|column| column.cells.len()).max().unwrap_or(0) {
        let cell = |column: &Column| column.cells.get(at).cloned().unwrap_or_default();
        let cells: Vec<Vec<String>> = columns.iter().map(cell).collect();
        for line in 0..cells.iter().map(Vec::len).max().unwrap_or(0).max(1) {
            lines.push(row(cells.iter().map(|cell| cell.get(line).map_or("", String::as_str)).collect()));
        }
    }
    lines.push(rule);
    lines.extend(foot.iter().cloned());
    lines
}

#[cfg(test)]
mod tests {
    use super::{Column, duration, size, table};

    #[test]
    fn numbers_look_as_restic_writes_them() {
        assert_eq!(
            [size(0), size(886), size(1710), size(300_018)],
            ["0 B", "886 B", "1.670 KiB", "292.986 KiB"]
        );
        assert_eq!([duration(0.9), duration(67.0), duration(3723.0)], ["0:00", "1:07", "1:02:03"]);
    }

    #[test]
    fn a_cell_may_have_several_lines() {
        let cells = |cells: &[&[&str]]| {
            cells.iter().map(|lines| lines.iter().map(|line| (*line).to_owned()).collect()).collect()
        };
        let columns = [
            Column { head: "ID", cells: cells(&[&["a"], &["b"]]) },
            Column { head: "Tags  ", cells: cells(&[&["x", "y"], &[]]) },
        ];
        assert_eq!(table(&columns, &[]), ["ID  Tags", "----------", "a   x", "    y", "b", "----------"]);
    }
}
