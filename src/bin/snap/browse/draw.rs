//! Draws the state. Everything is redrawn after each key, for the current size of the terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line as Text;
use ratatui::widgets::{Clear, Paragraph, Row, Table, TableState};
use snap_backup::model::entry::{Entry, Kind};
use snap_backup::repo::snapshots::Snapshot;

use super::app::App;
use super::list::List;
use super::screen::{Found, Screen};
use crate::terminal::output;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);
const SPINNER: [char; 4] = ['|', '/', '-', '\\'];

const HELP: &[&str] = &[
    "up, down, k, j      move; page up and down, home, end",
    "enter, right, l     open a snapshot, a directory or a file",
    "left, backspace, h  back",
    "space               mark; restore and diff use what is marked",
    "/                   find by name, here or in all snapshots",
    "v                   versions of a file in all snapshots",
    "d                   diff of two marked snapshots, or with the previous one",
    "r                   restore; existing files are kept",
    "R                   list the snapshots again",
    "esc, ctrl-c         stop the current operation",
    "q                   quit",
    "",
    "any key closes this",
];

/// Draws the whole screen.
pub(super) fn all(frame: &mut Frame<'_>, app: &mut App) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)])
            .areas(frame.area());
    app.page = usize::from(body.height.saturating_sub(2)).max(1);
    frame.render_widget(Paragraph::new(title(app)).style(BOLD), head);
    if let Some(screen) = app.screens.last_mut() {
        draw_screen(frame, body, screen);
    }
    if app.shows_help {
        let lines: Vec<Text<'_>> = HELP.iter().map(|line| Text::from(*line)).collect();
        frame.render_widget(Clear, body);
        frame.render_widget(Paragraph::new(lines), body);
    }
    frame.render_widget(Paragraph::new(footer(app)).style(REVERSED), foot);
}

fn title(app: &App) -> String {
    match app.screens.last() {
        None => app.location.clone(),
        Some(Screen::Snapshots(list)) => {
            format!("{}: {}", app.location, output::count(list.rows().len() as u64, "snapshot", "snapshots"))
        }
        Some(Screen::Dir(dir)) => {
            let more = if dir.next.is_some() { "+" } else { "" };
            format!(
                "{} {} /{}  ({}{more})",
                dir.snapshot.id.short(),
                output::local(dir.snapshot.manifest.started),
                output::path(&dir.path),
                dir.list.rows().len(),
            )
        }
        Some(Screen::Versions(versions)) => format!(
            "{} of {}",
            output::count(versions.list.rows().len() as u64, "version", "versions"),
            output::path(&versions.path)
        ),
        Some(Screen::Found { title, .. }) => title.clone(),
        Some(Screen::Diff(diff)) => {
            let cut = if diff.is_cut { " (not all is shown)" } else { "" };
            let lines = output::count(diff.list.rows().len() as u64, "difference", "differences");
            format!("{} to {}: {lines}{cut}", diff.before.short(), diff.after.short())
        }
        Some(Screen::Text(text)) => {
            let cut = if text.is_cut { " (the first MiB)" } else { "" };
            format!("{}{cut}", text.title)
        }
    }
}

fn footer(app: &App) -> String {
    if let Some(prompt) = &app.prompt {
        return format!("{}: {}_", prompt.label, output::printable(&prompt.text));
    }
    if let Some((what, ticks)) = app.busy {
        let sign = SPINNER.get(ticks % SPINNER.len()).copied().unwrap_or(' ');
        return format!("{sign} {what}; esc stops");
    }
    if !app.message.is_empty() {
        return app.message.clone();
    }
    match app.screens.last() {
        Some(Screen::Snapshots(_)) => "enter open  space mark  d diff  / find  r restore  ? help  q quit",
        Some(Screen::Dir(_)) => "enter open  space mark  r restore  v versions  / find  ? help  q quit",
        Some(Screen::Versions(_) | Screen::Found { .. }) => {
            "enter open  r restore  left back  ? help  q quit"
        }
        _ => "left back  ? help  q quit",
    }
    .to_owned()
}

fn draw_screen(frame: &mut Frame<'_>, area: Rect, screen: &mut Screen) {
    match screen {
        Screen::Snapshots(list) => draw_list(
            frame,
            area,
            list,
            &["ID", "Time", "Host", "Kind", "Size", "Paths"],
            &[8, 19, 12, 12, 10, 0],
            snapshot_cells,
        ),
        Screen::Dir(dir) => {
            draw_list(
                frame,
                area,
                &mut dir.list,
                &["Mode", "Size", "Modified", "Name"],
                &[10, 10, 19, 0],
                entry_cells,
            );
        }
        Screen::Versions(versions) => draw_list(
            frame,
            area,
            &mut versions.list,
            &["Snapshot", "Count", "Size", "Modified", "Mode"],
            &[8, 5, 10, 19, 0],
            version_cells,
        ),
        Screen::Found { list, .. } => {
            draw_list(frame, area, list, &["Snapshot", "Count", "Size", "Path"], &[8, 5, 10, 0], found_cells);
        }
        Screen::Diff(diff) => {
            draw_list(frame, area, &mut diff.list, &["", "Size", "Path"], &[1, 10, 0], |line| {
                vec![line.change.letter().to_string(), output::size(line.size), output::path(&line.path)]
            })
        }
        Screen::Text(text) => draw_list(frame, area, &mut text.list, &[], &[0], |line| vec![line.clone()]),
    }
}

/// Draws a list. Only visible rows are formatted, because a directory may have a million entries. A width
/// of 0 takes the remaining columns.
fn draw_list<T>(
    frame: &mut Frame<'_>,
    area: Rect,
    list: &mut List<T>,
    head: &[&'static str],
    widths: &[u16],
    cells: impl Fn(&T) -> Vec<String>,
) {
    let height = usize::from(area.height.saturating_sub(u16::from(!head.is_empty())));
    let cursor = list.cursor();
    list.offset = list.offset.min(cursor).max((cursor + 1).saturating_sub(height.max(1)));
    let rows = list.rows().iter().enumerate().skip(list.offset).take(height).map(|(at, row)| {
        let mark = if list.marked.contains(&at) { "*" } else { " " };
        Row::new(std::iter::once(mark.to_owned()).chain(cells(row)))
    });
    let widths = std::iter::once(Constraint::Length(1)).chain(widths.iter().map(|width| match width {
        0 => Constraint::Min(10),
        width => Constraint::Length(*width),
    }));
    let mut table = Table::new(rows, widths).row_highlight_style(REVERSED).column_spacing(1);
    if !head.is_empty() {
        table = table.header(Row::new(std::iter::once("").chain(head.iter().copied())).style(BOLD));
    }
    let selected = (!list.rows().is_empty()).then(|| cursor - list.offset);
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(selected));
}

fn snapshot_cells(snapshot: &Snapshot) -> Vec<String> {
    let manifest = &snapshot.manifest;
    let paths: Vec<String> = manifest.sources.iter().map(|source| output::path(source)).collect();
    vec![
        snapshot.id.short().to_string(),
        output::local(manifest.started),
        output::printable(&manifest.host),
        manifest.kind.to_string(),
        output::size(manifest.counts.bytes_total),
        paths.join(" "),
    ]
}

fn entry_cells(entry: &Entry) -> Vec<String> {
    let mut name = output::path(&entry.name);
    match &entry.kind {
        Kind::Dir { .. } => name.push('/'),
        Kind::Symlink { target } => name += &format!(" -> {}", output::path(target)),
        _ => {}
    }
    vec![output::permissions(entry), size_of(entry), output::local(entry.meta.mtime), name]
}

fn version_cells(found: &Found) -> Vec<String> {
    vec![
        found.snapshot.id.short().to_string(),
        found.count.to_string(),
        size_of(&found.entry),
        output::local(found.entry.meta.mtime),
        output::permissions(&found.entry),
    ]
}

fn found_cells(found: &Found) -> Vec<String> {
    vec![
        found.snapshot.id.short().to_string(),
        found.count.to_string(),
        size_of(&found.entry),
        output::path(&found.path),
    ]
}

fn size_of(entry: &Entry) -> String {
    if matches!(entry.kind, Kind::File { .. }) { output::size(entry.size()) } else { String::new() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use snap_backup::model::id::SnapshotId;
    use snap_backup::ops::diff::DifferenceKind;

    use super::super::screen::{Diff, Line, Text};
    use super::*;

    fn name() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            ".{0,20}".prop_map(String::into_bytes),
            Just("\u{202e}\x1b[2J日e\u{301}".repeat(300).into_bytes()),
        ]
    }

    proptest! {
        /// Any name can be drawn in a window of any size, and no name can send control codes to the terminal.
        #[test]
        fn windows_of_every_size_show_any_name(
            names in prop::collection::vec(name(), 0..6),
            size in (1..301_u16, 1..40_u16),
            down in 0..9_isize,
            shows_help in any::<bool>(),
            message in name(),
        ) {
            let mut app = App::new(&String::from_utf8_lossy(&message));
            app.message = output::path(&message);
            app.shows_help = shows_help;
            let rows = names.iter().map(|name| Line { change: DifferenceKind::Added, path: name.clone(), size: u64::MAX });
            let id = SnapshotId::new([7; 16]);
            let mut diff = Diff { before: id, after: id, list: List::new(rows.collect()), is_cut: true };
            diff.list.move_by(down);
            let lines = names.iter().map(|name| output::path(name)).collect();
            let text = Text { title: output::path(&message), list: List::new(lines), is_cut: false };
            for screen in [Screen::Diff(diff), Screen::Text(text)] {
                app.screens.push(screen);
                let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
                terminal.draw(|frame| all(frame, &mut app)).unwrap();
                for cell in terminal.backend().buffer().content() {
                    assert_eq!(output::printable(cell.symbol()), cell.symbol());
                }
            }
        }
    }
}
