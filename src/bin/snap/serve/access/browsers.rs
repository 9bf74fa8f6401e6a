//! Signed-in browsers. Each has its own cookie, which expires.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use snap_backup::Result;
use zeroize::Zeroizing;

use super::{Secret, made_up};

/// A browser without requests for this long is signed out.
const IDLE: Duration = Duration::from_secs(3600);
/// Maximum time for which a browser stays signed in.
pub(super) const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// Maximum number of signed-in browsers. One more signs out the least recently used one.
const MOST: usize = 16;

struct Session {
    number: u64,
    cookie: Secret,
    /// Secret in the browser's forms, so that other sites cannot forge one.
    csrf: Zeroizing<String>,
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
pub(super) struct Browsers {
    sessions: Mutex<Vec<Session>>,
    /// Number of logins so far.
    logins: AtomicU64,
}

/// A signed-in browser, for the list of logins.
pub(in crate::serve) struct Login {
    pub(in crate::serve) number: u64,
    /// Time since it signed in.
    pub(in crate::serve) since: Duration,
    /// Time since its last request.
    pub(in crate::serve) used: Duration,
}

/// The browser that sent a request.
pub(super) struct Visitor {
    pub(super) number: u64,
    /// The secret for its forms.
    pub(super) csrf: String,
}

impl Browsers {
    /// Signs a browser in and returns the value of its cookie.
    ///
    /// # Errors
    /// The system's random generator fails.
    pub(super) fn sign_in(&self, now: Instant) -> Result<String> {
        let (value, csrf) = (made_up()?, made_up()?);
        let mut sessions = self.live(now);
        if sessions.len() >= MOST
            && let Some(oldest) = (0..sessions.len()).min_by_key(|at| sessions.get(*at).map(|one| one.used))
        {
            sessions.remove(oldest);
        }
        let number = self.logins.fetch_add(1, Ordering::Relaxed) + 1;
        sessions.push(Session { number, cookie: Secret::new(value.clone()), csrf, since: now, used: now });
        Ok(value.to_string())
    }

    /// Returns the signed-in browser with this cookie, and marks it as used with `touches`.
    pub(super) fn knows(&self, cookie: &[u8], touches: bool, now: Instant) -> Option<Visitor> {
        let mut known = None;
        for session in self.live(now).iter_mut().filter(|session| session.cookie.is(cookie)) {
            known = Some(Visitor { number: session.number, csrf: session.csrf.to_string() });
            session.used = if touches { now } else { session.used };
        }
        known
    }

    /// Signs a browser out.
    pub(super) fn sign_out(&self, cookie: &[u8]) {
        self.sessions().retain(|session| !session.cookie.is(cookie));
    }

    /// Returns all signed-in browsers, those that signed in last first.
    pub(super) fn all(&self, now: Instant) -> Vec<Login> {
        let login = |one: &Session| Login {
            number: one.number,
            since: now.duration_since(one.since),
            used: now.duration_since(one.used),
        };
        self.live(now).iter().rev().map(login).collect()
    }

    /// Signs out the browser with this login number.
    pub(super) fn end(&self, number: u64) {
        self.sessions().retain(|session| session.number != number);
    }

    fn live(&self, now: Instant) -> MutexGuard<'_, Vec<Session>> {
        let mut sessions = self.sessions();
        sessions.retain(|session| !session.is_over(now));
        sessions
    }

    fn sessions(&self) -> MutexGuard<'_, Vec<Session>> {
        self.sessions.lock()
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
            assert!(browsers.knows(busy.as_bytes(), true, at(half_hour * 1800)).is_some());
            // An automatic reload does not count as use.
            assert!(half_hour > 1 || browsers.knows(idle.as_bytes(), false, at(1800)).is_some());
        }
        assert!(browsers.knows(idle.as_bytes(), true, at(3600)).is_none());
        assert!(browsers.knows(busy.as_bytes(), true, at(12 * 3600)).is_none());
        let out = browsers.sign_in(at(50_000)).unwrap();
        let list = browsers.all(at(50_000));
        assert_eq!((list.len(), list[0].number), (1, 3));
        browsers.end(2);
        assert!(browsers.knows(out.as_bytes(), true, at(50_000)).is_some_and(|visitor| visitor.number == 3));
        browsers.end(3);
        browsers.sign_out(out.as_bytes());
        for cookie in [out.as_bytes(), b""] {
            assert!(browsers.knows(cookie, true, at(50_000)).is_none());
        }
    }

    #[test]
    fn number_of_browser_sessions_is_limited() {
        let (browsers, start) = (Browsers::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let first = browsers.sign_in(start).unwrap();
        for number in 1..=MOST as u64 {
            browsers.sign_in(at(number)).unwrap();
        }
        assert!(browsers.knows(first.as_bytes(), true, at(20)).is_none());
        assert_eq!(browsers.all(at(20)).len(), MOST);
    }
}
