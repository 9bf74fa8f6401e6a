//! Which job starts now: decided from the clock and from what is remembered, and from nothing else.
//!
//! - A time that is due makes a job start once. Times that were missed make it start once more, together.
//! - A job that is due while it still runs, or still waits for its turn, is skipped for this time.
//! - Jobs of one lane, which is a repository, run one at a time, in the order of the times from which they may start. What
//!   was missed may start from the moment it is found, all of it together and by rank: after a gap the backups, the first
//!   of which makes the repository, come before the cleanup. No job waits for one that became due after it was found.
//! - A job that failed starts again after a while, a few times; if it is due anew before, that takes the place of the retry.
//! - What was begun and did not end is begun again: it is part of what is remembered from before it starts.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::codec::crypto::hash;
use crate::ops::schedule::cron::Cron;

/// How late a start may be and still be in time: a machine that is busy is not one that was off.
pub const GRACE: SignedDuration = SignedDuration::from_mins(15);
/// The longest wait before a retry.
const LONGEST: Duration = Duration::from_secs(3600);
/// Missed times that are counted; what is more is more.
const COUNTED: u64 = 1000;
/// A clock that was this far ahead once is not believed.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// What is to run, and when.
#[derive(Debug, Clone)]
pub struct Job {
    /// Names it: what is remembered is found by it.
    pub name: String,
    /// What it must have for itself: the repository.
    pub lane: String,
    /// When it is due.
    pub cron: Cron,
    /// Where these times hold.
    pub zone: TimeZone,
    /// A start is put off by up to so much.
    pub jitter: Duration,
    /// Whether what was missed is made up for.
    pub catch_up: bool,
    /// How often it is tried again after a failure.
    pub retries: u32,
    /// How long before the first retry; each next one waits twice as long.
    pub retry_wait: Duration,
    /// Its place among jobs that may start from the same moment on; the lowest goes first.
    pub rank: usize,
}

/// What is remembered of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Times up to here have been seen to.
    pub handled: Timestamp,
    /// What is to be started, or was started and has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Open>,
}

/// One run that is owed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The time that it is for.
    pub due: Timestamp,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Not before.
    pub at: Timestamp,
}

/// What a look at the clock comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Start this job.
    Start {
        /// Which, by its place in the list.
        job: usize,
        /// The time that it is for.
        due: Timestamp,
        /// Which attempt, from 1.
        attempt: u32,
        /// Times that were missed before this one.
        missed: u64,
    },
    /// Some times of this job pass without a run.
    Skip {
        /// Which, by its place in the list.
        job: usize,
        /// The last of them.
        due: Timestamp,
        /// How many.
        times: u64,
        /// Why.
        why: Skip,
    },
}

/// Why a time passes without a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// The run before is not over.
    Running,
    /// The run before has not begun: something else has the repository.
    Waiting,
    /// Nobody was there at the time, and what is missed is not made up for.
    Missed,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// There is nothing more to do.
    Done,
    /// It may go better the next time.
    Failed,
    /// It was stopped and is still owed.
    Interrupted,
}

/// The jobs and what is remembered of them.
#[derive(Debug)]
pub struct Scheduler {
    jobs: Vec<Job>,
    states: BTreeMap<String, State>,
    /// Names, and the lanes that they have.
    running: BTreeMap<String, String>,
    /// Missed times of what waits.
    missed: BTreeMap<String, u64>,
    seed: String,
}

impl Scheduler {
    /// Of jobs, and what is remembered from before. A job that nobody remembers begins now: it has missed nothing. `seed`
    /// makes the jitter of one machine another than that of the next.
    pub fn new(jobs: Vec<Job>, states: BTreeMap<String, State>, now: Timestamp, seed: &str) -> Self {
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

    /// Other jobs from here on. Those that run go on.
    pub fn replace(&mut self, jobs: Vec<Job>, now: Timestamp) {
        let known = |name: &String| jobs.iter().any(|job| job.name == *name);
        self.states.retain(|name, _| known(name));
        self.missed.retain(|name, _| known(name));
        for job in &jobs {
            let state = self.states.entry(job.name.clone()).or_insert(State { handled: now, open: None });
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

    /// What is to be remembered: to be made safe before what `tick` says is done.
    pub fn states(&self) -> &BTreeMap<String, State> {
        &self.states
    }

    /// Whether anything runs.
    pub fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    /// What is to be done now. What is started counts as running from here on.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Step> {
        let mut steps = Vec::new();
        for at in 0..self.jobs.len() {
            steps.extend(self.look(at, now));
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

    /// Whether a time of this job has come since it was last looked at.
    fn look(&mut self, at: usize, now: Timestamp) -> Option<Step> {
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

    /// A run has ended. When it is tried again, if it is.
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

    /// What was to start could not, since somebody else has the repository: later.
    pub fn put_off(&mut self, name: &str, until: Timestamp) {
        self.running.remove(name);
        if let Some(open) = self.states.get_mut(name).and_then(|state| state.open.as_mut()) {
            open.at = until;
        }
    }

    /// When to look again if nothing ends before.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let times = self.jobs.iter().filter_map(|job| {
            let state = self.states.get(&job.name)?;
            let due = upcoming(job, &self.seed, state.handled);
            let open = state.open.as_ref().map(|open| open.at).filter(|at| *at > now);
            due.into_iter().chain(open).min()
        });
        times.min()
    }

    /// The next times of a job, by its place in the list.
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

/// The last time after `handled` whose start has come.
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

/// When the next time after `handled` begins.
fn upcoming(job: &Job, seed: &str, handled: Timestamp) -> Option<Timestamp> {
    let due = job.cron.after(handled, &job.zone)?;
    Some(later(due, jitter(job, seed, due)))
}

/// Times after `from` up to and including `to`.
fn count(job: &Job, from: Timestamp, to: Timestamp) -> u64 {
    let (mut times, mut at) = (0, from);
    while let Some(next) = job.cron.after(at, &job.zone).filter(|next| *next <= to && times < COUNTED) {
        times += 1;
        at = next;
    }
    times
}

/// The same for the same time however often one asks: a daemon that is started anew puts nothing off twice.
fn jitter(job: &Job, seed: &str, due: Timestamp) -> SignedDuration {
    let most = job.jitter.as_secs();
    if most == 0 {
        return SignedDuration::ZERO;
    }
    let digest = hash::sha256(format!("{seed}\n{}\n{}", job.name, due.as_second()).as_bytes());
    let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    SignedDuration::from_secs(i64::try_from(number % (most + 1)).unwrap_or_default())
}
