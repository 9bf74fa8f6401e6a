//! Records this run in the run log: one line when it begins, one when it ends. Failing to write a record
//! only causes a warning.

use std::cell::{Cell, RefCell};

use snap_backup::model::entry::Time;
use snap_backup::run_log::{Ending, RunLog, RunRecord};
use snap_backup::{Error, ErrorKind, Result};

use crate::args::global::Global;
use crate::exit::{self, Outcome};
use crate::terminal::{output, wording};

/// The recorder of one process.
#[derive(Debug)]
pub(crate) struct Recorder {
    run_log: Option<RunLog>,
    json: bool,
    record: RefCell<Option<RunRecord>>,
    warned: Cell<bool>,
}

impl Recorder {
    /// Creates a recorder that writes nothing until a run begins.
    pub(crate) fn new(global: &Global) -> Self {
        let run_log = global.state().map(RunLog::new);
        Self { run_log, json: global.json, record: RefCell::default(), warned: Cell::new(false) }
    }

    /// Begins the record of a run. `write_start` writes it.
    pub(crate) fn begin(&self, verb: &str, repository: &str, fill: impl FnOnce(&mut RunRecord)) {
        let mut record = RunRecord::new(verb, repository);
        fill(&mut record);
        self.record.replace(Some(record));
    }

    /// Updates the record, if there is one.
    pub(crate) fn update(&self, change: impl FnOnce(&mut RunRecord)) {
        if let Some(record) = self.record.borrow_mut().as_mut() {
            change(record);
            // The error may be a message of the library, which names no commands and flags.
            record.error = record.error.take().map(|error| wording::translate(&error).into_owned());
        }
    }

    /// Returns a copy of the record, if there is one.
    pub(crate) fn record(&self) -> Option<RunRecord> {
        self.record.borrow().clone()
    }

    /// Returns whether the run log has a backup of this machine to `location`. Then a missing repository has
    /// disappeared, and otherwise it has not been created yet.
    pub(crate) fn saved_to(&self, location: &str) -> bool {
        let history = self.run_log.as_ref().and_then(|run_log| run_log.read().ok());
        let saved = |run: &RunRecord| {
            run.verb == "backup"
                && run.repository == location
                && matches!(run.exit, Some(0 | 3 | exit::ALARM))
        };
        history.is_some_and(|history| history.runs.iter().any(saved))
    }

    /// Writes that the run began. If no end follows, the process was killed.
    pub(crate) fn write_start(&self) {
        if let Some(record) = self.record.borrow().as_ref() {
            self.write(record);
        }
    }

    /// Writes how the run ended.
    pub(crate) fn end(&self, result: &Result<Outcome>) {
        let Some(mut record) = self.record.take() else { return };
        record.end = Some(Time::now());
        record.exit = Some(exit::exit_code(result));
        record.ending = Some(ending(result));
        if let Err(error) = result {
            record.set_error(&wording::chain(error));
        }
        self.write(&record);
    }

    fn write(&self, record: &RunRecord) {
        let written = match &self.run_log {
            Some(run_log) => run_log.append(record),
            None => {
                Err(Error::Usage("there is no directory for the records of runs: set SNAP_STATE_DIR".into()))
            }
        };
        if let Err(error) = written
            && !self.warned.replace(true)
        {
            output::warn(self.json, &format!("`snap status` will not show this run: {}", error.chain()));
        }
    }
}

fn ending(result: &Result<Outcome>) -> Ending {
    match result {
        Ok(Outcome::Done | Outcome::Overdue) => Ending::Done,
        // The snapshot exists and is usable.
        Ok(Outcome::Problems | Outcome::Alarm) => Ending::Problems,
        Ok(Outcome::Damage) => Ending::Damage,
        Ok(Outcome::Failed(_)) => Ending::Failed,
        Ok(Outcome::Skipped) => Ending::Skipped,
        Ok(Outcome::TimeUp) => Ending::TimeUp,
        Ok(Outcome::Interrupted) => Ending::Interrupted,
        Err(error) => match error.kind() {
            ErrorKind::TimeUp => Ending::TimeUp,
            ErrorKind::Interrupted => Ending::Interrupted,
            ErrorKind::OutputClosed => Ending::Done,
            ErrorKind::Damaged => Ending::Damage,
            _ => Ending::Failed,
        },
    }
}
