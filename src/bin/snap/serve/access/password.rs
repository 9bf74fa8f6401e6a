//! A password that the login form accepts besides the token, set by `snap serve passwd`. Its hash (Argon2id)
//! is kept in a file of the user's state directory. Wrong attempts are limited for all clients together,
//! because all that reach a server on 127.0.0.1 have the same address.

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use parking_lot::Mutex;
use snap_backup::codec::crypto::cipher;
use snap_backup::codec::crypto::kdf::{self, KdfParams};
use snap_backup::util::new_file;
use snap_backup::{Error, Result};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

/// Minimum length of a password in characters. Guessing through the form is slow, but somebody who has the
/// file can guess offline.
const SHORTEST: usize = 12;
/// Maximum length of a password in bytes: it must fit into a form.
const LONGEST: usize = 1024;
/// Cost of an attempt. It uses little memory, because the server should stay small.
const COSTS: KdfParams = KdfParams { memory: 32 << 10, passes: 4, lanes: 1 };
/// Maximum length of the file in bytes.
const FILE: u64 = 1024;
/// Maximum number of wrong attempts in a row.
const TRIES: u32 = 10;
/// Time after which one more attempt is allowed.
const BACK: Duration = Duration::from_secs(30);

/// Name of the file in the state directory.
pub(crate) const NAME: &str = "serve-password";

/// Stores the hash of a password.
///
/// # Errors
/// The password is too short or too long, or the file cannot be written.
pub(crate) fn set(path: &Path, password: &str) -> Result<()> {
    if password.chars().count() < SHORTEST || password.len() > LONGEST {
        return Err(Error::Usage(format!(
            "the password must have at least {SHORTEST} characters and at most {LONGEST} bytes"
        )));
    }
    let mut salt = [0; 32];
    cipher::random(&mut salt).map_err(Error::damaged("a new salt"))?;
    let hash = kdf::derive(password.as_bytes(), &salt, COSTS).map_err(Error::damaged("a new password"))?;
    let KdfParams { memory, passes, lanes } = COSTS;
    let [salt, hash] = [&salt[..], &hash[..]].map(|bytes| STANDARD_NO_PAD.encode(bytes));
    let line = format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}\n");
    if let Some(dir) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(Error::io("create", dir))?;
    }
    new_file::replace(path, line.as_bytes()).map_err(Error::io("write", path))
}

/// Removes the password. Returns whether there was one.
///
/// # Errors
/// The file cannot be removed.
pub(crate) fn remove(path: &Path) -> Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

/// A stored hash.
struct Hash {
    costs: KdfParams,
    salt: [u8; 32],
    hash: Zeroizing<Vec<u8>>,
}

impl Hash {
    /// Reads the file; `None` if there is none.
    ///
    /// # Errors
    /// The file cannot be read, is readable by others, or is invalid.
    fn read(path: &Path) -> Result<Option<Self>> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        let mode = file.metadata().map_err(Error::io("read", path))?.mode();
        if mode & 0o077 != 0 {
            let path = path.display();
            let why = format!(
                "{path} is accessible to other users and is ignored: `chmod 600 {path}` fixes \
                               this"
            );
            return Err(Error::Refused(why));
        }
        let mut text = Zeroizing::new(String::new());
        file.take(FILE).read_to_string(&mut text).map_err(Error::io("read", path))?;
        let odd = || {
            let path = path.display();
            Error::Refused(format!("{path} contains no password: `snap serve passwd` writes a new one"))
        };
        Self::parse(text.trim_end()).ok_or_else(odd).map(Some)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.strip_prefix("$argon2id$v=19$")?.split('$');
        let (costs, salt, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let mut costs = costs.split(',');
        let mut cost = |name: &str| costs.next()?.strip_prefix(name)?.parse::<u32>().ok();
        let costs = KdfParams { memory: cost("m=")?, passes: cost("t=")?, lanes: cost("p=")? };
        let salt = STANDARD_NO_PAD.decode(salt).ok()?.try_into().ok()?;
        let hash = Zeroizing::new(STANDARD_NO_PAD.decode(hash).ok()?);
        (hash.len() == 64).then_some(Self { costs, salt, hash })
    }

    fn is(&self, given: &[u8]) -> bool {
        let derived = kdf::derive(given, &self.salt, self.costs);
        derived.is_ok_and(|derived| derived.as_slice().ct_eq(&self.hash).into())
    }
}

/// A rate limit: each wrong attempt uses up one of the remaining attempts, and they are restored one by one.
#[derive(Debug)]
struct Tries {
    left: u32,
    since: Option<Instant>,
}

impl Tries {
    fn take(&mut self, now: Instant) -> std::result::Result<(), Duration> {
        let since = *self.since.get_or_insert(now);
        let back = now.duration_since(since).as_secs() / BACK.as_secs();
        if back > 0 {
            self.left = self.left.saturating_add(u32::try_from(back).unwrap_or(TRIES)).min(TRIES);
            self.since = Some(since + BACK * u32::try_from(back).unwrap_or(u32::MAX).min(1 << 20));
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return Err(BACK.saturating_sub(now.duration_since(self.since.unwrap_or(now)))),
        }
        if self.left == TRIES - 1 {
            self.since = Some(now);
        }
        Ok(())
    }

    fn give_back(&mut self) {
        self.left = (self.left + 1).min(TRIES);
    }
}

/// The result of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::serve) enum Tried {
    Right,
    /// The password is wrong, or none is set.
    Wrong,
    /// The password was not checked, because of too many wrong attempts. The next one is allowed after this
    /// time.
    TooMany(Duration),
}

/// Checks passwords, one at a time.
pub(super) struct Passwords {
    path: Option<PathBuf>,
    tries: Mutex<Tries>,
    turn: Semaphore,
}

impl Passwords {
    /// Checks passwords against the file at this path, which is read at each attempt.
    pub(super) fn at(path: Option<PathBuf>) -> Self {
        Self { path, tries: Mutex::new(Tries { left: TRIES, since: None }), turn: Semaphore::new(1) }
    }

    /// Checks a password.
    pub(super) async fn try_one(&self, given: &[u8]) -> Tried {
        let Some(Ok(Some(hash))) = self.path.as_deref().map(Hash::read) else { return Tried::Wrong };
        if given.is_empty() || given.len() > LONGEST {
            return Tried::Wrong;
        }
        // Counted before the check, so that parallel attempts cannot exceed the limit.
        if let Err(wait) = self.tries(|tries| tries.take(Instant::now())) {
            return Tried::TooMany(wait);
        }
        let Ok(_turn) = self.turn.acquire().await else { return Tried::Wrong };
        let given = Zeroizing::new(given.to_vec());
        match spawn_blocking(move || hash.is(&given)).await {
            Ok(true) => {
                self.tries(Tries::give_back);
                Tried::Right
            }
            _ => Tried::Wrong,
        }
    }

    fn tries<T>(&self, work: impl FnOnce(&mut Tries) -> T) -> T {
        work(&mut self.tries.lock())
    }
}

/// Checks that the file, if there is one, is valid.
///
/// # Errors
/// It cannot be used.
pub(crate) fn expect_sound(path: &Path) -> Result<()> {
    Hash::read(path).map(drop)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn wrong_attempts_are_limited_and_recover_one_by_one() {
        let (mut tries, start) = (Tries { left: TRIES, since: None }, Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for _ in 0..TRIES {
            tries.take(at(0)).unwrap();
        }
        assert_eq!(tries.take(at(0)), Err(BACK));
        assert_eq!(tries.take(at(29)), Err(Duration::from_secs(1)));
        // A correct password uses up no attempt.
        tries.take(at(30)).unwrap();
        tries.give_back();
        tries.take(at(31)).unwrap();
        assert!(tries.take(at(59)).is_err());
        // After a long time the full number is restored, but no more.
        let many = (0..100).filter(|_| tries.take(at(100_000)).is_ok()).count();
        assert_eq!(many, TRIES as usize);
        assert_eq!(tries.take(at(100_000)), Err(BACK));
    }

    #[test]
    fn password_file_must_be_valid_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/serve-password");
        assert!(Hash::read(&path).unwrap().is_none());
        assert!(set(&path, "too short!!").is_err() && set(&path, &"x".repeat(LONGEST + 1)).is_err());
        set(&path, "correct horse").unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(dir.path().join("new").metadata().unwrap().mode() & 0o777, 0o700);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("horse"));
        let hash = Hash::read(&path).unwrap().unwrap();
        assert!(hash.is(b"correct horse") && !hash.is(b"correct horsf") && !hash.is(b""));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(expect_sound(&path).is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let too_costly = text.replace("m=32768", "m=4294967295");
        assert!(!Hash::parse(too_costly.trim()).unwrap().is(b"correct horse"));
        for odd in ["", "correct horse", &text[..40], &text.replace("argon2id", "argon2i")] {
            std::fs::write(&path, odd).unwrap();
            assert!(expect_sound(&path).is_err(), "{odd}");
        }
        assert!(remove(&path).unwrap() && !remove(&path).unwrap());
    }
}
