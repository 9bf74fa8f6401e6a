//! `snap browse`: shows snapshots, directories, versions and differences in the terminal, and restores from
//! there.
//!
//! The main thread draws and reads keys. A worker thread accesses the repository, so that the screen stays
//! responsive and Escape can cancel a task. `app` handles keys and does not access the terminal; `draw`
//! shows the state, and records in it only how many rows fit and which are visible.

mod app;
mod draw;
mod list;
mod screen;
mod worker;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use std::{io, thread};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{Event, KeyEventKind};
use ratatui::crossterm::{event, terminal};
use snap_backup::repo::repository::Repository;
use snap_backup::{Error, Result};

use app::{App, Step};
use worker::{Answer, Task};

/// How long to wait for a key before checking for answers of the worker.
const TICK: Duration = Duration::from_millis(50);
/// Maximum size of the window in cells: far more than any real screen, and tens of megabytes of memory.
const MAX_CELLS: u32 = 1 << 20;

/// Runs until the user quits.
///
/// # Errors
/// The terminal cannot be used, or an error of the worker ends the program.
pub(crate) fn run(repo: &Repository, location: &str, stop: &Arc<AtomicBool>) -> Result<()> {
    let (to_worker, tasks) = mpsc::channel();
    let (answers, from_worker) = mpsc::channel();
    // The current task checks `cancel`. `stop` is set by the signal handler and ends the whole program.
    let cancel = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        let cancelled = Arc::clone(&cancel);
        let worker = thread::Builder::new().name("browse".to_owned());
        worker
            .spawn_scoped(scope, move || worker::serve(repo, &tasks, &answers, &cancelled))
            .map_err(Error::io("start", "a thread"))?;
        check_size()?;
        let mut terminal = ratatui::try_init().map_err(Error::io("use", "the terminal"))?;
        let result = interact(&mut terminal, location, &to_worker, &from_worker, &cancel, stop);
        // Cancels the current task; the worker ends when the channel closes.
        cancel.store(true, Ordering::Relaxed);
        drop(to_worker);
        let restored = ratatui::try_restore().map_err(Error::io("restore", "the terminal"));
        result.and(restored)
    })
}

/// Refuses a window that is too large to be kept in memory.
///
/// # Errors
/// The terminal reports such a size.
fn check_size() -> Result<()> {
    match terminal::size() {
        Ok((columns, lines)) if u32::from(columns) * u32::from(lines) > MAX_CELLS => {
            Err(Error::Refused(format!(
                "the terminal reports {columns} columns and {lines} lines, which is too large: `stty \
                 columns 80 rows 24` corrects it"
            )))
        }
        _ => Ok(()),
    }
}

fn interact(
    terminal: &mut DefaultTerminal,
    location: &str,
    tasks: &Sender<Task>,
    answers: &Receiver<Answer>,
    cancel: &AtomicBool,
    stop: &AtomicBool,
) -> Result<()> {
    let mut app = App::new(location);
    let mut step = app.begin();
    loop {
        match step {
            Step::Ask(task) => {
                cancel.store(false, Ordering::Relaxed);
                tasks.send(task).map_err(|_| Error::Stopped)?;
            }
            Step::Cancel => cancel.store(true, Ordering::Relaxed),
            Step::Quit => return Ok(()),
            Step::Wait => {}
        }
        check_size()?;
        terminal.draw(|frame| draw::all(frame, &mut app)).map_err(Error::io("write to", "the terminal"))?;
        step = next(&mut app, answers, stop)?;
    }
}

/// Waits for an answer or a key, whichever comes first.
fn next(app: &mut App, answers: &Receiver<Answer>, stop: &AtomicBool) -> Result<Step> {
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(Step::Quit);
        }
        if let Ok(answer) = answers.try_recv() {
            return Ok(app.show_answer(answer));
        }
        if !poll().map_err(Error::io("read from", "the terminal"))? {
            if app.is_busy() {
                app.tick();
                return Ok(Step::Wait);
            }
            continue;
        }
        match event::read().map_err(Error::io("read from", "the terminal"))? {
            Event::Key(key) if key.kind != KeyEventKind::Release => return Ok(app.handle_key(key)),
            Event::Resize(..) => return Ok(Step::Wait),
            _ => {}
        }
    }
}

fn poll() -> io::Result<bool> {
    match event::poll(TICK) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
        polled => polled,
    }
}
