//! The state of `snap browse`, and what each key does.

use std::path::PathBuf;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use snap_backup::model::entry::Entry;
use snap_backup::model::id::SnapshotId;

use super::list::List;
use super::screen::{Dir, Screen, join, parent};
use super::worker::{Answer, Task};
use crate::terminal::output;

/// The action after a key or an answer of the worker.
#[derive(Debug)]
pub(super) enum Step {
    Ask(Task),
    Cancel,
    Quit,
    Wait,
}

/// A line of text that the user is entering, and its purpose.
#[derive(Debug)]
pub(super) struct Prompt {
    pub(super) label: String,
    pub(super) text: String,
    purpose: Purpose,
}

#[derive(Debug)]
enum Purpose {
    Find { snapshot: Option<SnapshotId> },
    Restore { snapshot: SnapshotId, paths: Vec<Vec<u8>> },
}

/// The whole state: a stack of screens, the newest on top.
#[derive(Debug)]
pub(super) struct App {
    pub(super) location: String,
    pub(super) screens: Vec<Screen>,
    pub(super) prompt: Option<Prompt>,
    pub(super) message: String,
    /// The running task, and for how many ticks it has been running.
    pub(super) busy: Option<(&'static str, usize)>,
    pub(super) shows_help: bool,
    /// Number of list rows that fit on the screen; set by `draw`.
    pub(super) page: usize,
    /// Name of the entry to put the cursor on when the directory has been loaded.
    wanted: Option<Vec<u8>>,
}

impl App {
    pub(super) fn new(location: &str) -> Self {
        Self {
            location: output::printable(location),
            screens: Vec::new(),
            prompt: None,
            message: String::new(),
            busy: None,
            shows_help: false,
            page: 10,
            wanted: None,
        }
    }

    /// Returns the first step.
    pub(super) fn begin(&mut self) -> Step {
        self.start("listing snapshots", Task::Snapshots)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.is_some()
    }

    pub(super) fn tick(&mut self) {
        if let Some((_, ticks)) = &mut self.busy {
            *ticks = ticks.wrapping_add(1);
        }
    }

    fn start(&mut self, what: &'static str, task: Task) -> Step {
        self.busy = Some((what, 0));
        self.message.clear();
        Step::Ask(task)
    }

    /// Shows the worker's answer.
    pub(super) fn show_answer(&mut self, answer: Answer) -> Step {
        self.busy = None;
        let screen = match answer {
            Answer::Failed(text) | Answer::Restored(text) => {
                self.message = output::printable(&text);
                return Step::Wait;
            }
            Answer::More { entries, next } => {
                if let Some(Screen::Dir(dir)) = self.screens.last_mut() {
                    dir.list.extend(entries);
                    dir.next = next;
                }
                return Step::Wait;
            }
            Answer::Snapshots(snapshots) => {
                self.screens.clear();
                Screen::Snapshots(List::new(snapshots))
            }
            Answer::Dir(mut dir) => {
                self.place_cursor(&mut dir);
                Screen::Dir(dir)
            }
            Answer::Text(text) => Screen::Text(text),
            Answer::Versions(versions) => Screen::Versions(versions),
            Answer::Found { title, list } => {
                if list.is_empty() {
                    self.message = format!("nothing matches {title}");
                    return Step::Wait;
                }
                Screen::Found { title, list: List::new(list) }
            }
            Answer::Diff(diff) => Screen::Diff(diff),
        };
        self.screens.push(screen);
        Step::Wait
    }

    fn place_cursor(&mut self, dir: &mut Dir) {
        if let Some(name) = self.wanted.take()
            && let Some(row) = dir.list.rows().iter().position(|entry| entry.name == name)
        {
            dir.list.move_to(row);
        }
    }

    /// Handles a key.
    pub(super) fn handle_key(&mut self, key: KeyEvent) -> Step {
        if key.modifiers.contains(KeyModifiers::CONTROL) && matches!(key.code, KeyCode::Char('c')) {
            return if self.is_busy() { Step::Cancel } else { Step::Quit };
        }
        if self.is_busy() {
            return if key.code == KeyCode::Esc { Step::Cancel } else { Step::Wait };
        }
        if self.prompt.is_some() {
            return self.edit_prompt(key.code);
        }
        if self.shows_help {
            self.shows_help = false;
            return Step::Wait;
        }
        self.message.clear();
        match key.code {
            KeyCode::Char('q') => Step::Quit,
            KeyCode::Char('?') => {
                self.shows_help = true;
                Step::Wait
            }
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left | KeyCode::Char('h') => self.back(),
            KeyCode::Enter | KeyCode::Right | KeyCode::Char('l') => self.open(),
            KeyCode::Char('/') => self.prompt_find(),
            KeyCode::Char('r') => self.prompt_restore(),
            KeyCode::Char('v') => self.find_versions(),
            KeyCode::Char('d') => self.compare(),
            KeyCode::Char('R') => self.begin(),
            code => self.move_cursor(code),
        }
    }

    fn back(&mut self) -> Step {
        match self.screens.last() {
            // Opens the parent directory, unless it is the screen below.
            Some(Screen::Dir(dir)) if !dir.path.is_empty() && !self.was_opened_from_below() => {
                let (snapshot, path) = (dir.snapshot.id, parent(&dir.path).to_vec());
                self.wanted =
                    dir.path.get(if path.is_empty() { 0 } else { path.len() + 1 }..).map(<[u8]>::to_vec);
                self.screens.pop();
                self.start("opening", Task::Open { snapshot, path })
            }
            Some(_) if self.screens.len() > 1 => {
                self.screens.pop();
                Step::Wait
            }
            _ => {
                self.message = "q quits".to_owned();
                Step::Wait
            }
        }
    }

    /// Returns whether the screen below is the parent directory, or another one that led to this directory.
    fn was_opened_from_below(&self) -> bool {
        let below = self.screens.len().checked_sub(2).and_then(|at| self.screens.get(at));
        !matches!(below, Some(Screen::Snapshots(_)) | None)
    }

    fn open(&mut self) -> Step {
        let task = match self.screens.last() {
            Some(Screen::Snapshots(list)) => {
                list.current().map(|snapshot| Task::Open { snapshot: snapshot.id, path: Vec::new() })
            }
            Some(Screen::Dir(dir)) => dir
                .list
                .current()
                .map(|entry| Task::Open { snapshot: dir.snapshot.id, path: join(&dir.path, &entry.name) }),
            Some(Screen::Versions(versions)) => versions
                .list
                .current()
                .map(|found| Task::View { snapshot: found.snapshot.id, path: found.path.clone() }),
            Some(Screen::Found { list, .. }) => list.current().map(|found| {
                let path = parent(&found.path).to_vec();
                self.wanted = Some(found.entry.name.clone());
                Task::Open { snapshot: found.snapshot.id, path }
            }),
            _ => None,
        };
        task.map_or(Step::Wait, |task| self.start("opening", task))
    }

    fn prompt_find(&mut self) -> Step {
        let snapshot = match self.screens.last() {
            Some(Screen::Dir(dir)) => Some(dir.snapshot.id),
            _ => None,
        };
        let place = snapshot.map_or_else(|| "all snapshots".to_owned(), |id| id.short().to_string());
        let label = format!("find in {place} (part of a name, or a pattern)");
        self.prompt = Some(Prompt { label, text: String::new(), purpose: Purpose::Find { snapshot } });
        Step::Wait
    }

    fn prompt_restore(&mut self) -> Step {
        let (snapshot, paths): (_, Vec<Vec<u8>>) = match self.screens.last() {
            Some(Screen::Snapshots(list)) => {
                let Some(snapshot) = list.current() else { return Step::Wait };
                (snapshot.id, Vec::new())
            }
            Some(Screen::Dir(dir)) => {
                (dir.snapshot.id, dir.list.chosen().into_iter().map(|entry| dir.path_of(entry)).collect())
            }
            Some(Screen::Versions(versions)) => {
                let Some(found) = versions.list.current() else { return Step::Wait };
                (found.snapshot.id, vec![found.path.clone()])
            }
            Some(Screen::Found { list, .. }) => {
                let Some(found) = list.current() else { return Step::Wait };
                (found.snapshot.id, vec![found.path.clone()])
            }
            _ => return Step::Wait,
        };
        let what = match &paths[..] {
            [] => format!("snapshot {}", snapshot.short()),
            [one] => output::path(one),
            many => format!("{} entries", many.len()),
        };
        self.prompt = Some(Prompt {
            label: format!("restore {what} below this directory (/ is where it was)"),
            text: "./restored".to_owned(),
            purpose: Purpose::Restore { snapshot, paths },
        });
        Step::Wait
    }

    fn edit_prompt(&mut self, code: KeyCode) -> Step {
        let Some(prompt) = &mut self.prompt else { return Step::Wait };
        match code {
            KeyCode::Esc => self.prompt = None,
            KeyCode::Backspace => drop(prompt.text.pop()),
            KeyCode::Char(c) => prompt.text.push(c),
            KeyCode::Enter if !prompt.text.trim().is_empty() => return self.submit(),
            _ => {}
        }
        Step::Wait
    }

    fn submit(&mut self) -> Step {
        let Some(Prompt { text, purpose, .. }) = self.prompt.take() else { return Step::Wait };
        match purpose {
            Purpose::Find { snapshot } => self.start("searching", Task::Find { pattern: text, snapshot }),
            Purpose::Restore { snapshot, paths } => {
                self.start("restoring", Task::Restore { snapshot, paths, target: PathBuf::from(text) })
            }
        }
    }

    fn find_versions(&mut self) -> Step {
        let path = match self.screens.last() {
            Some(Screen::Dir(dir)) => dir.list.current().map(|entry: &Entry| dir.path_of(entry)),
            Some(Screen::Found { list, .. }) => list.current().map(|found| found.path.clone()),
            _ => None,
        };
        path.map_or(Step::Wait, |path| self.start("looking for versions", Task::Versions { path }))
    }

    /// Compares two marked snapshots, or the current one with its predecessor of the same host and sources.
    fn compare(&mut self) -> Step {
        let Some(Screen::Snapshots(list)) = self.screens.last() else { return Step::Wait };
        let pair = if list.marked.is_empty() {
            list.current().and_then(|after| {
                let older = list.rows().get(list.cursor() + 1..)?;
                let before = older
                    .iter()
                    .find(|one| one.manifest.same_set(&after.manifest.host, &after.manifest.sources));
                before.map(|before| (before.id, after.id))
            })
        } else {
            match list.chosen()[..] {
                // The list is sorted newest first.
                [after, before] => Some((before.id, after.id)),
                _ => None,
            }
        };
        match pair {
            Some((before, after)) => self.start("comparing", Task::Diff { before, after }),
            None => {
                self.message = "nothing to compare with: mark two snapshots with space".to_owned();
                Step::Wait
            }
        }
    }

    /// Moves the cursor of the current list.
    fn move_cursor(&mut self, code: KeyCode) -> Step {
        let page = isize::try_from(self.page).unwrap_or(isize::MAX);
        let by = match code {
            KeyCode::Up | KeyCode::Char('k') => -1,
            KeyCode::Down | KeyCode::Char('j') => 1,
            KeyCode::PageUp => -page,
            KeyCode::PageDown => page,
            KeyCode::Home | KeyCode::Char('g') => isize::MIN,
            KeyCode::End | KeyCode::Char('G') => isize::MAX,
            KeyCode::Char(' ') => 0,
            _ => return Step::Wait,
        };
        match self.screens.last_mut() {
            Some(Screen::Snapshots(list)) => move_or_mark(list, by),
            Some(Screen::Dir(dir)) => {
                move_or_mark(&mut dir.list, by);
                if dir.list.is_at_end()
                    && let Some(from) = dir.next.take()
                {
                    let tree = dir.tree;
                    return self.start("reading", Task::More { tree, from });
                }
            }
            Some(Screen::Versions(versions)) => move_or_mark(&mut versions.list, by),
            Some(Screen::Found { list, .. }) => move_or_mark(list, by),
            Some(Screen::Diff(diff)) => move_or_mark(&mut diff.list, by),
            Some(Screen::Text(text)) => move_or_mark(&mut text.list, by),
            None => {}
        }
        Step::Wait
    }
}

/// Moves the cursor by this many rows; 0 toggles the mark.
fn move_or_mark<T>(list: &mut List<T>, by: isize) {
    if by == 0 {
        list.toggle();
    } else {
        list.move_by(by);
    }
}
