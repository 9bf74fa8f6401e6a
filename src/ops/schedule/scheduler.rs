//! Decides which job starts now, from the current time and the remembered state alone.
//!
//! - A job that is due starts once. Times that were missed are made up for by one start in total.
//! - A job that becomes due while it runs or waits is skipped for that time.
//! - Jobs of one lane, which is a repository, run one at a time, in the order of the times from which they
//!   may start. Missed jobs may start from the moment they are found, all together and ordered by rank: after
//!   a gap, backups (the first of which creates the repository) come before the cleanup. No job waits for one
//!   that became due after it was found.
//! - A failed job is retried a few times, with a delay. If it becomes due again before, that replaces the
//!   retry.
//! - A run that started but did not end is started again: it is in the state that is saved before it starts.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::codec::crypto::hash;
use crate::ops::schedule::cron::Cron;
use crate::ops::schedule::window::Window;

/// How late a start may be and still count as in time: a busy machine was not switched off.
pub const GRACE: SignedDuration = SignedDuration::from_mins(15);
/// Maximum wait before a retry.
const LONGEST: Duration = Duration::from_secs(3600);
/// Maximum number of missed times that are counted.
const COUNTED: u64 = 1000;
/// If the remembered state is ahead of the clock by more than this, the clock was wrong then.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// What is to run, and when.
#[derive(Debug, Clone)]
pub struct Job {
    /// Name of the job, by which its state is remembered.
    pub name: String,
    /// The resource that it needs exclusively: the repository.
    pub lane: String,
    /// When it is due.
    pub cron: Cron,
    /// Time zone of the cron expression.
    pub zone: TimeZone,
    /// Each start is delayed by a pseudo-random time up to this long.
    pub jitter: Duration,
    /// Whether missed times are made up for.
    pub catch_up: bool,
    /// Number of retries after a failure.
    pub retries: u32,
    /// Wait before the first retry. It doubles for each further one.
    pub retry_wait: Duration,
    /// The hours of the day in which it may start; at other times it waits.
    pub window: Option<Window>,
    /// Order among jobs that may start from the same time on; the lowest starts first.
    pub rank: usize,
}

/// The remembered state of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobState {
    /// Times up to and including this one have been handled.
    pub handled: Timestamp,
    /// A run that is to be started, or was started and has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
}

/// A run that is owed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The time for which it is due.
    pub due: Timestamp,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// Earliest start.
    pub at: Timestamp,
}

/// A decision of [`Scheduler::tick`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Start this job.
    Start {
        /// Index of the job.
        job: usize,
        /// The time for which it is due.
        due: Timestamp,
        /// Number of the attempt, from 1.
        attempt: u32,
        /// Number of missed times before this one.
        missed: u64,
    },
    /// The window of this job is closed: it starts when that opens.
    Wait {
        /// Index of the job.
        job: usize,
        /// When the window opens.
        until: Timestamp,
    },
    /// Some times of this job pass without a run.
    Skip {
        /// Index of the job.
        job: usize,
        /// The last of these times.
        due: Timestamp,
        /// Number of these times.
        times: u64,
        /// The reason.
        why: Skip,
    },
}

/// Why a time passes without a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// The previous run has not ended.
    Running,
    /// The previous run has not started, as its lane is in use or its window closed.
    Waiting,
    /// It could not start within the grace period: the scheduler was not running, or another job of its lane
    /// was. Missed times are not made up for.
    Missed,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing more to do.
    Done,
    /// It failed and may be retried.
    Failed,
    /// It was stopped and is still owed.
    Interrupted,
}

/// The jobs and their remembered state.
#[derive(Debug)]
pub struct Scheduler {
    jobs: Vec<Job>,
    states: BTreeMap<String, JobState>,
    /// Running jobs by name, with their lanes.
    running: BTreeMap<String, String>,
    /// Number of missed times of waiting jobs.
    missed: BTreeMap<String, u64>,
    seed: String,
}

impl Scheduler {
    /// Makes a scheduler from jobs and their remembered states. A job without a state starts now and has
    /// missed nothing. `seed` makes the jitter differ between machines.
    pub fn new(jobs: Vec<Job>, states: BTreeMap<String, JobState>, now: Timestamp, seed: &str) -> Self {
        let mut scheduler = Self {
            jobs: Vec::new(),
            states,
            running: BTreeMap::new(),
            missed: BTreeMap::new(),
            seed: seed.to_owned(),
        };
        scheduler.replace(jobs, now);
        scheduler
    }

    /// Replaces the jobs. Those that are running continue.
    pub fn replace(&mut self, jobs: Vec<Job>, now: Timestamp) {
        let known = |name: &String| jobs.iter().any(|job| job.name == *name);
        self.states.retain(|name, _| known(name));
        self.missed.retain(|name, _| known(name));
        for job in &jobs {
            let state = self.states.entry(job.name.clone()).or_insert(JobState { handled: now, open: None });
            if state.handled > later(now, AHEAD) {
                state.handled = now;
            }
            if let Some(open) = &mut state.open {
                open.at = open.at.min(later(now, AHEAD));
            }
        }
        self.jobs = jobs;
    }

    /// The jobs.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Returns the states to remember. They must be durable before the steps of `tick` are carried out.
    pub fn states(&self) -> &BTreeMap<String, JobState> {
        &self.states
    }

    /// Returns whether any job is running.
    pub fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// Returns what to do now. Started jobs count as running from here on.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Step> {
        let mut steps = Vec::new();
        for at in 0..self.jobs.len() {
            steps.extend(self.next_step(at, now));
        }
        for at in 0..self.jobs.len() {
            steps.extend(self.wait_for_window(at, now));
        }
        let mut waiting: Vec<(Timestamp, usize, usize)> = Vec::new();
        for (at, job) in self.jobs.iter().enumerate() {
            let open = self.states.get(&job.name).and_then(|state| state.open.as_ref());
            if let Some(open) = open.filter(|open| open.at <= now && !self.running.contains_key(&job.name)) {
                waiting.push((open.at, job.rank, at));
            }
        }
        waiting.sort_unstable();
        for (_, _, at) in waiting {
            let Some(job) = self.jobs.get(at) else { continue };
            if self.running.values().any(|lane| *lane == job.lane) {
                continue;
            }
            let Some(open) = self.states.get(&job.name).and_then(|state| state.open.as_ref()) else {
                continue;
            };
            let (due, attempt) = (open.due, open.attempt);
            let missed = self.missed.remove(&job.name).unwrap_or_default();
            self.running.insert(job.name.clone(), job.lane.clone());
            steps.push(Step::Start { job: at, due, attempt, missed });
        }
        steps
    }

    /// Determines whether a job has become due since the last call.
    fn next_step(&mut self, at: usize, now: Timestamp) -> Option<Step> {
        let job = self.jobs.get(at)?;
        let state = self.states.get_mut(&job.name)?;
        let running = self.running.contains_key(&job.name);
        if let Some(open) =
            state.open.clone().filter(|open| !running && !job.catch_up && later(open.at, GRACE) < now)
        {
            state.open = None;
            return Some(Step::Skip { job: at, due: open.due, times: 1, why: Skip::Missed });
        }
        let due = ripe(job, &self.seed, state.handled, now)?;
        let times = count(job, state.handled, due);
        state.handled = due;
        let skip = |why| Some(Step::Skip { job: at, due, times, why });
        if running {
            return skip(Skip::Running);
        }
        if state.open.as_ref().is_some_and(|open| open.attempt == 1) {
            return skip(Skip::Waiting);
        }
        let begin = later(due, jitter(job, &self.seed, due));
        if !job.catch_up && later(begin, GRACE) < now {
            return skip(Skip::Missed);
        }
        let at = if later(begin, GRACE) < now { now } else { begin };
        state.open = Some(Open { due, attempt: 1, at });
        self.missed.insert(job.name.clone(), times.saturating_sub(1));
        None
    }

    /// Puts off a start until the window of the job opens.
    fn wait_for_window(&mut self, at: usize, now: Timestamp) -> Option<Step> {
        let job = self.jobs.get(at)?;
        let window = job.window.filter(|window| !window.is_open(now, &job.zone))?;
        let running = self.running.contains_key(&job.name);
        let open = self.states.get_mut(&job.name)?.open.as_mut()?;
        if running || open.at > now {
            return None;
        }
        open.at = window.opens(now, &job.zone);
        Some(Step::Wait { job: at, until: open.at })
    }

    /// Records that a run has ended. Returns the time of its retry, if there is one.
    pub fn finish(&mut self, name: &str, now: Timestamp, end: End) -> Option<Timestamp> {
        self.running.remove(name);
        let job = self.jobs.iter().find(|job| job.name == name)?;
        let state = self.states.get_mut(name)?;
        let open = state.open.as_mut()?;
        match end {
            End::Interrupted => open.at = now,
            End::Failed if open.attempt <= job.retries => {
                let factor = 1_u32.checked_shl(open.attempt - 1).unwrap_or(u32::MAX);
                let wait = job.retry_wait.saturating_mul(factor).min(LONGEST.max(job.retry_wait));
                open.attempt += 1;
                open.at = later(now, signed(wait));
                return Some(open.at);
            }
            End::Done | End::Failed => state.open = None,
        }
        None
    }

    /// Postpones a run that could not start because another process uses the repository.
    pub fn put_off(&mut self, name: &str, until: Timestamp) {
        self.running.remove(name);
        if let Some(open) = self.states.get_mut(name).and_then(|state| state.open.as_mut()) {
            open.at = until;
        }
    }

    /// Returns when to call `tick` again if no run ends before.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.jobs.iter().filter_map(|job| {
            let state = self.states.get(&job.name)?;
            let due = upcoming(job, &self.seed, state.handled);
            let open = state.open.as_ref().map(|open| open.at).filter(|at| *at > now);
            due.into_iter().chain(open).min()
        });
        times.min()
    }

    /// Returns the next time of a job, given its index.
    pub fn upcoming(&self, job: usize, now: Timestamp) -> Option<Timestamp> {
        let job = self.jobs.get(job)?;
        job.cron.after(now, &job.zone)
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// Returns the last time after `handled` whose start, including jitter, has come.
fn ripe(job: &Job, seed: &str, handled: Timestamp, now: Timestamp) -> Option<Timestamp> {
    let mut due = job.cron.latest(now, &job.zone)?;
    while due > handled {
        if later(due, jitter(job, seed, due)) <= now {
            return Some(due);
        }
        due = job.cron.latest(later(due, SignedDuration::from_secs(-1)), &job.zone)?;
    }
    None
}

/// Returns the start, including jitter, for the next time after `handled`.
fn upcoming(job: &Job, seed: &str, handled: Timestamp) -> Option<Timestamp> {
    let due = job.cron.after(handled, &job.zone)?;
    Some(later(due, jitter(job, seed, due)))
}

/// Counts the times after `from` up to and including `to`.
fn count(job: &Job, from: Timestamp, to: Timestamp) -> u64 {
    let (mut times, mut at) = (0, from);
    while let Some(next) = job.cron.after(at, &job.zone).filter(|next| *next <= to && times < COUNTED) {
        times += 1;
        at = next;
    }
    times
}

/// Returns the jitter of a time. It is deterministic, so that a restarted daemon does not delay a start
/// twice.
fn jitter(job: &Job, seed: &str, due: Timestamp) -> SignedDuration {
    let most = job.jitter.as_secs();
    if most == 0 {
        return SignedDuration::ZERO;
    }
    let digest = hash::sha256(format!("{seed}\n{}\n{}", job.name, due.as_second()).as_bytes());
    let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    SignedDuration::from_secs(i64::try_from(number % (most + 1)).unwrap_or_default())
}
