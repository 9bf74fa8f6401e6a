//! Signed-in browsers. Each has its own cookie, which expires.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use snap_backup::Result;

use crate::serve::auth::{Secret, made_up};

/// A browser without requests for this long is signed out.
const IDLE: Duration = Duration::from_secs(3600);
/// Maximum time for which a browser stays signed in.
pub(super) const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// Maximum number of signed-in browsers. One more signs out the least recently used one.
const MOST: usize = 16;

struct Session {
    cookie: Secret,
    since: Instant,
    used: Instant,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.used) >= IDLE || now.duration_since(self.since) >= LONGEST
    }
}

/// The sessions of all signed-in browsers.
#[derive(Default)]
pub(super) struct Browsers(Mutex<Vec<Session>>);

impl Browsers {
    /// Signs a browser in and returns the value of its cookie.
    ///
    /// # Errors
    /// The system's random generator fails.
    pub(super) fn sign_in(&self, now: Instant) -> Result<String> {
        let value = made_up()?;
        let mut sessions = self.live(now);
        if sessions.len() >= MOST
            && let Some(oldest) = (0..sessions.len()).min_by_key(|at| sessions.get(*at).map(|one| one.used))
        {
            sessions.remove(oldest);
        }
        sessions.push(Session { cookie: Secret::new(value.clone()), since: now, used: now });
        Ok(value.to_string())
    }

    /// Returns whether a cookie belongs to a signed-in browser, and marks it as used.
    pub(super) fn knows(&self, cookie: &[u8], now: Instant) -> bool {
        let mut known = false;
        for session in self.live(now).iter_mut().filter(|session| session.cookie.is(cookie)) {
            (session.used, known) = (now, true);
        }
        known
    }

    /// Signs a browser out.
    pub(super) fn sign_out(&self, cookie: &[u8]) {
        self.all().retain(|session| !session.cookie.is(cookie));
    }

    fn live(&self, now: Instant) -> MutexGuard<'_, Vec<Session>> {
        let mut sessions = self.all();
        sessions.retain(|session| !session.is_over(now));
        sessions
    }

    fn all(&self) -> MutexGuard<'_, Vec<Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_it_is_idle_old_or_signed_out() {
        let (browsers, start) = (Browsers::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let (idle, busy) = (browsers.sign_in(start).unwrap(), browsers.sign_in(start).unwrap());
        assert_ne!(idle, busy);
        for half_hour in 1..24 {
            assert!(browsers.knows(busy.as_bytes(), at(half_hour * 1800)));
        }
        assert!(!browsers.knows(idle.as_bytes(), at(3600)));
        assert!(!browsers.knows(busy.as_bytes(), at(12 * 3600)));
        let out = browsers.sign_in(at(50_000)).unwrap();
        browsers.sign_out(out.as_bytes());
        assert!(!browsers.knows(out.as_bytes(), at(50_000)) && !browsers.knows(b"", at(50_000)));
    }

    #[test]
    fn there_are_never_more_than_a_few() {
        let (browsers, start) = (Browsers::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let first = browsers.sign_in(start).unwrap();
        for number in 1..=MOST as u64 {
            browsers.sign_in(at(number)).unwrap();
        }
        assert!(!browsers.knows(first.as_bytes(), at(20)));
        assert_eq!(browsers.all().len(), MOST);
    }
}
