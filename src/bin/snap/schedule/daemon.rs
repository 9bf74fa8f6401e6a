//! Runs the schedule: waits, starts jobs, and handles their results. `snap daemon` runs until it is
//! stopped, `snap schedule run` until no job is due.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::ExitStatus;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use snap_backup::ops::schedule::scheduler::{Scheduler, Skip, Step};
use snap_backup::sys::host::monotonic_micros;
use snap_backup::sys::process::Signal;
use snap_backup::util::host;
use snap_backup::{Error, Result};

use super::Planned;
use crate::args::global::Global;
use crate::schedule::job_process::{self, Event};
use crate::schedule::sd_notify::notify;
use crate::schedule::state::ScheduleState;
use crate::terminal::output::{self, count};

/// Maximum time to sleep before the clock is read again, so that suspend and clock changes are noticed.
const CLOCK_CHECK: Duration = Duration::from_secs(20);
/// Delay before another attempt if another schedule is using the repository.
const BUSY_RETRY: SignedDuration = SignedDuration::from_secs(20);

/// Runs a schedule.
pub(crate) struct SchedulerDaemon<'a> {
    global: Global,
    planned: Vec<Planned>,
    scheduler: Scheduler,
    state: &'a ScheduleState,
    processes: BTreeMap<String, u32>,
    /// Locks of the repositories that running jobs use, by the name of the job.
    locks: BTreeMap<String, File>,
    events: (Sender<Event>, Receiver<Event>),
    stopping: bool,
    failures: u32,
    /// Called for a job that was killed or could not be started, and therefore sent no notification.
    on_killed: &'a dyn Fn(&Planned, &str),
}

impl<'a> SchedulerDaemon<'a> {
    /// Creates a daemon. Jobs are called with the options `global`.
    ///
    /// # Errors
    /// Signal handlers cannot be installed.
    pub(crate) fn new(
        global: Global,
        planned: Vec<Planned>,
        state: &'a ScheduleState,
        on_killed: &'a dyn Fn(&Planned, &str),
    ) -> Result<Self> {
        let (states, warning) = state.load();
        if let Some(warning) = warning {
            output::warn(global.json, &warning);
        }
        let jobs = planned.iter().map(|one| one.job.clone()).collect();
        let scheduler = Scheduler::new(jobs, states, Timestamp::now(), &host::host_name());
        let events = mpsc::channel();
        forward_signals(&events.0)?;
        Ok(Self {
            global,
            planned,
            scheduler,
            state,
            processes: BTreeMap::new(),
            locks: BTreeMap::new(),
            events,
            stopping: false,
            failures: 0,
            on_killed,
        })
    }

    /// Runs until a signal asks it to stop. `reload` reads the configuration again and returns its jobs.
    ///
    /// # Errors
    /// The state cannot be saved.
    pub(crate) fn run_until_stopped(&mut self, reload: &dyn Fn() -> Result<Vec<Planned>>) -> Result<()> {
        self.state.save(self.scheduler.states())?;
        notify("READY=1");
        while !self.stopping || self.scheduler.is_busy() {
            if !self.stopping {
                self.tick()?;
            }
            let now = Timestamp::now();
            let next = self.scheduler.next(now).map(|next| next.duration_since(now));
            let wait =
                next.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or(CLOCK_CHECK).min(CLOCK_CHECK);
            match self.events.1.recv_timeout(wait.max(Duration::from_millis(1))) {
                Ok(Event::Signal(SIGHUP)) => self.reload(reload),
                Ok(event) => self.handle(event)?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
        self.log_event("stopped", None, "the schedule has stopped");
        Ok(())
    }

    /// Runs until no job is due now. Retries are left to the next call of `schedule run`.
    ///
    /// # Errors
    /// The state cannot be saved.
    pub(crate) fn run_due(&mut self) -> Result<()> {
        self.state.save(self.scheduler.states())?;
        loop {
            if !self.stopping {
                self.tick()?;
            }
            if !self.scheduler.is_busy() {
                return Ok(());
            }
            if let Ok(event) = self.events.1.recv() {
                self.handle(event)?;
            }
        }
    }

    /// Returns the number of failed runs.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns whether a signal asked it to stop.
    pub(crate) fn was_stopped(&self) -> bool {
        self.stopping
    }

    fn tick(&mut self) -> Result<()> {
        let now = Timestamp::now();
        let steps = self.scheduler.tick(now);
        if !steps.is_empty() {
            // The state is saved before a job starts, so that an interrupted job is started again.
            self.state.save(self.scheduler.states())?;
        }
        for step in steps {
            match step {
                Step::Skip { job, due, times, why } => self.log_skipped(job, due, times, why),
                Step::Wait { job, until } => self.log_waiting(job, until),
                Step::Start { job, due, attempt, missed } => self.start(job, due, attempt, missed)?,
            }
        }
        Ok(())
    }

    fn log_skipped(&self, job: usize, due: Timestamp, times: u64, why: Skip) {
        let Some(planned) = self.planned.get(job) else { return };
        let what = if times == 1 { "skipped".to_owned() } else { format!("{times} times skipped") };
        let why = match why {
            Skip::Running => "the previous run has not ended",
            Skip::Waiting => "the previous run still waits for the repository, or for its window",
            Skip::Missed => "it could not start within 15 minutes of its time, and `catch-up` is off",
        };
        self.log_event(
            "skipped",
            Some(planned),
            &format!("{what}, last {}: {why}", format_time(due, &planned.job.zone)),
        );
    }

    fn log_waiting(&self, job: usize, until: Timestamp) {
        let Some(planned) = self.planned.get(job) else { return };
        let text =
            format!("waiting for its window, which opens at {}", format_time(until, &planned.job.zone));
        self.log_event("waiting", Some(planned), &text);
    }

    fn start(&mut self, job: usize, due: Timestamp, attempt: u32, missed: u64) -> Result<()> {
        let Some(planned) = self.planned.get(job).cloned() else { return Ok(()) };
        let Some(lock) = self.state.lock_repository(&planned.job.lane)? else {
            self.scheduler.put_off(&planned.job.name, Timestamp::now() + BUSY_RETRY);
            return Ok(());
        };
        self.locks.insert(planned.job.name.clone(), lock);
        let mut text = format!("started for {}", format_time(due, &planned.job.zone));
        if attempt > 1 {
            text += &format!(", attempt {attempt}");
        }
        if missed > 0 {
            text += &format!("; {} missed", count(missed, "earlier run was", "earlier runs were"));
        }
        self.log_event("started", Some(&planned), &text);
        if let Err(error) = job_process::start(&self.global, &planned, due, attempt, &self.events.0) {
            self.log_event("failed", Some(&planned), &error.chain());
            self.handle(Event::Ended(planned.job.name, None))?;
        }
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Started(name, process) => {
                if self.stopping {
                    job_process::signal(process, Signal::TERM);
                }
                self.processes.insert(name, process);
            }
            Event::Ended(name, status) => {
                self.processes.remove(&name);
                self.locks.remove(&name);
                self.finish(&name, status);
                self.state.save(self.scheduler.states())?;
            }
            Event::Signal(signal) if signal == SIGINT || signal == SIGTERM => self.stop(),
            Event::Signal(_) => {}
        }
        Ok(())
    }

    fn finish(&mut self, name: &str, status: Option<ExitStatus>) {
        let end = job_process::end_of(status, self.stopping);
        let again = self.scheduler.finish(name, Timestamp::now(), end);
        let Some(planned) = self.planned.iter().find(|one| one.job.name == name) else { return };
        let failure = job_process::failure(status);
        let text = match (&failure, again) {
            (None, _) => job_process::describe_end(status).to_owned(),
            (Some(why), None) => why.clone(),
            (Some(why), Some(at)) => format!("{why}; next attempt at {}", format_time(at, &planned.job.zone)),
        };
        let word = if failure.is_some() { "failed" } else { "done" };
        self.failures += u32::from(failure.is_some());
        self.log_event(word, Some(planned), &text);
        let mute = status.and_then(|status| status.code()).is_none();
        if let (Some(why), true, false, None) = (failure, mute, self.stopping, again) {
            (self.on_killed)(planned, &why);
        }
    }

    /// Stops the jobs: the first time with SIGTERM, so that they save what they have; the second time with
    /// SIGKILL.
    fn stop(&mut self) {
        let signal = if self.stopping { Signal::KILL } else { Signal::TERM };
        if !self.stopping {
            notify("STOPPING=1");
            self.log_event(
                "stopping",
                None,
                "stopping: jobs save their progress and continue at the next start",
            );
        }
        self.stopping = true;
        self.processes.values().for_each(|process| job_process::signal(*process, signal));
    }

    fn reload(&mut self, reload: &dyn Fn() -> Result<Vec<Planned>>) {
        notify(&format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_micros()));
        match reload() {
            Ok(planned) => {
                // Running jobs are matched by name when they end.
                let jobs = planned.iter().map(|one| one.job.clone()).collect();
                self.scheduler.replace(jobs, Timestamp::now());
                self.planned = planned;
                let number = count(self.planned.len() as u64, "job", "jobs");
                self.log_event("reloaded", None, &format!("reloaded the configuration: {number}"));
                if let Err(error) = self.state.save(self.scheduler.states()) {
                    output::warn(self.global.json, &error.chain());
                }
            }
            Err(error) => {
                let text = format!("the schedule was not changed: {}", error.chain());
                output::warn(self.global.json, &text);
            }
        }
        notify("READY=1");
    }

    fn log_event(&self, event: &str, planned: Option<&Planned>, text: &str) {
        if self.global.json {
            let job = planned.map(|one| one.job.name.as_str());
            output::eprint(
                &json!({"message_type": "schedule", "event": event, "job": job, "message": text}).to_string(),
            );
        } else if !self.global.quiet || matches!(event, "failed" | "skipped") {
            let job = planned.map(|one| format!("{}: ", one.job.name)).unwrap_or_default();
            output::eprint(&output::printable(&format!("snap: {job}{text}")));
        }
    }
}

/// Forwards signals as events.
fn forward_signals(events: &Sender<Event>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(Error::io("watch for", "signals"))?;
    let events = events.clone();
    let pass_on = move || {
        for signal in signals.forever() {
            if events.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("signals".to_owned()).spawn(pass_on);
    thread.map(drop).map_err(Error::io("start", "a thread"))
}

/// Formats a time: `2026-11-25 02:00:00 CET`.
pub(crate) fn format_time(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}
