//! Authentication: clients must know a token, and must use an address or a name that belongs to this
//! server.
//!
//! The printed URL contains a token that is invalidated by the first browser that uses it, so that the
//! browser's history contains nothing useful. The browser gets a cookie, and pages below an unguessable
//! path: browsers send cookies of a host to all its ports, so a server on another port must not receive
//! this one's cookie. The permanent token is for WebDAV and scripts (as the password of Basic
//! authentication or as a bearer token), and for the login form for further browsers. A page of another
//! site whose DNS name resolves to this server (DNS rebinding) sends its own name as host, and is rejected
//! because of that.

mod browsers;
mod credentials;
pub(crate) mod password;

use std::path::PathBuf;
use std::time::Instant;

use hyper::header::HOST;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Uri};
use parking_lot::Mutex;
use snap_backup::codec::crypto::cipher;
use snap_backup::util::host;
use snap_backup::{Error, Result};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use self::browsers::{Browsers, LONGEST, Login};
use self::password::{Passwords, Tried};
use crate::terminal::output;

/// Bytes of randomness in generated secrets.
const RANDOM: usize = 32;
/// Minimum length in characters of a token that the user chooses.
const SHORTEST: usize = 20;

/// A secret that is compared in constant time.
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    pub(super) fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// Compares in constant time for secrets of the same length.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

/// Generates a secret from characters that need no encoding in a URL.
///
/// # Errors
/// The system's random generator fails.
pub(super) fn made_up() -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0u8; RANDOM]);
    loop {
        cipher::random(bytes.as_mut()).map_err(Error::damaged("a new token"))?;
        let text = Zeroizing::new(output::base64(bytes.as_ref()));
        let text = Zeroizing::new(text.trim_end_matches('=').replace('+', "-").replace('/', "_"));
        // As an argument of a program it would be an option.
        if !text.starts_with('-') {
            return Ok(text);
        }
    }
}

/// Returns whether a token chosen by the user is long enough and needs no encoding in a URL.
pub(crate) fn is_strong(token: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    token.len() >= SHORTEST && token.bytes().all(plain)
}

/// The result of authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admission {
    /// The request contained a token.
    Token,
    /// The request came from a signed-in browser, whose forms contain the secret `csrf`.
    Browser { number: u64, csrf: String },
    /// The request contained no valid credentials.
    Refused,
}

/// The secrets and rules for access.
pub(super) struct Access {
    /// The permanent token for WebDAV, scripts and the login form.
    token: Secret,
    /// The token in the printed URL, until it is used.
    once: Mutex<Option<Secret>>,
    passwords: Passwords,
    browsers: Browsers,
    /// Prefix of the paths for browsers: `/` and a secret word.
    base: String,
    names: Vec<String>,
}

impl Access {
    /// Creates the rules. `once` is the token in the printed URL, if there is one. `password` is a file that
    /// may contain the hash of a password.
    ///
    /// # Errors
    /// The system's random generator fails.
    pub(super) fn new(
        (token, once): (Secret, Option<Secret>),
        password: Option<PathBuf>,
        names: Vec<String>,
    ) -> Result<Self> {
        let names = names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        let base = format!("/{}", *made_up()?);
        let passwords = Passwords::at(password);
        Ok(Self { token, once: Mutex::new(once), passwords, browsers: Browsers::default(), base, names })
    }

    /// Returns whether the request's host is this server: a known name, or an IP address, which cannot be
    /// another site's DNS name.
    pub(super) fn is_meant(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
        let knows = |authority: &Authority| host::is_own_name(authority.host(), &self.names);
        host.is_some_and(|host| knows(&host)) && uri.authority().is_none_or(knows)
    }

    /// Returns the prefix of the paths for signed-in browsers.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Removes the prefix from a path, if it is there. The prefix is a secret, so it is compared in constant
    /// time.
    pub(super) fn below_base<'a>(&self, path: &'a str) -> Option<&'a str> {
        let (base, rest) = path.split_at_checked(self.base.len())?;
        let is_ours: bool = base.as_bytes().ct_eq(self.base.as_bytes()).into();
        match rest {
            "" => is_ours.then_some("/"),
            rest => (is_ours && rest.starts_with('/')).then_some(rest),
        }
    }

    /// Checks the credentials of a request: a token, or for paths below the prefix a browser's cookie.
    /// `touches` extends the browser's session.
    pub(super) fn admit(
        &self,
        headers: &HeaderMap,
        is_below_base: bool,
        touches: bool,
        now: Instant,
    ) -> Admission {
        let cookie = credentials::cookie(headers, COOKIE).filter(|_| is_below_base);
        if let Some(known) = cookie.and_then(|given| self.browsers.knows(given.as_bytes(), touches, now)) {
            return Admission::Browser { number: known.number, csrf: known.csrf };
        }
        let is_token = credentials::authorization(headers).is_some_and(|given| self.is_token(&given));
        if is_token { Admission::Token } else { Admission::Refused }
    }

    /// Returns whether this is the permanent token, or the one in the printed URL if it is still unused.
    fn is_token(&self, given: &[u8]) -> bool {
        let once = self.once.lock();
        self.token.is(given) | once.as_ref().is_some_and(|once| once.is(given))
    }

    /// Signs in a browser with the token in the printed URL and invalidates the token. Returns the cookie to
    /// set.
    pub(super) fn sign_in_once(&self, given: &[u8], now: Instant) -> Option<String> {
        let mut once = self.once.lock();
        once.take_if(|once| once.is(given))?;
        self.cookie_for(now)
    }

    /// Signs in a browser that sent a token in the login form.
    pub(super) fn sign_in(&self, given: &[u8], now: Instant) -> Option<String> {
        self.sign_in_once(given, now).or_else(|| self.token.is(given).then(|| self.cookie_for(now))?)
    }

    /// Signs in a browser that sent the password in the login form.
    pub(super) async fn sign_in_by_password(&self, given: &[u8], now: Instant) -> (Tried, Option<String>) {
        let tried = self.passwords.try_one(given).await;
        (tried, (tried == Tried::Right).then(|| self.cookie_for(now)).flatten())
    }

    fn cookie_for(&self, now: Instant) -> Option<String> {
        let value = self.browsers.sign_in(now).ok()?;
        Some(format!(
            "{COOKIE}={value}; HttpOnly; SameSite=Strict; Path={}; Max-Age={}",
            self.base,
            LONGEST.as_secs()
        ))
    }

    /// Returns the signed-in browsers.
    pub(super) fn logins(&self, now: Instant) -> Vec<Login> {
        self.browsers.all(now)
    }

    /// Signs out the browser with this login number.
    pub(super) fn end(&self, number: u64) {
        self.browsers.end(number);
    }

    /// Signs a browser out and returns the cookie header that deletes its cookie.
    pub(super) fn sign_out(&self, headers: &HeaderMap) -> String {
        if let Some(cookie) = credentials::cookie(headers, COOKIE) {
            self.browsers.sign_out(cookie.as_bytes());
        }
        format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path={}; Max-Age=0", self.base)
    }
}

const COOKIE: &str = "snap-session";

#[cfg(test)]
mod tests {
    use super::credentials::tests::headers;
    use super::*;

    fn access() -> Access {
        let secret = |text: &str| Secret::new(Zeroizing::new(text.to_owned()));
        let tokens = (secret("token"), Some(secret("once")));
        Access::new(tokens, None, vec!["NAS.local".to_owned()]).unwrap()
    }

    #[test]
    fn host_header_must_be_an_address_or_an_allowed_name() {
        let access = access();
        let meant = |uri: &str, hosts: &[&str]| {
            let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            access.is_meant(&uri.parse().unwrap(), &headers(&hosts))
        };
        for host in ["127.0.0.1", "127.0.0.1:80", "[::1]:8080", "LOCALHOST:1", "nas.local:1", "10.0.0.1"] {
            assert!(meant("/", &[host]), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:1234", "nas", ""] {
            assert!(!meant("/", &[host]), "{host}");
        }
        assert!(!meant("/", &[]) && !meant("/", &["127.0.0.1", "localhost"]));
        assert!(!meant("http://evil.example/", &["127.0.0.1"]));
    }

    #[test]
    fn no_token_begins_like_an_option() {
        assert!((0..1000).all(|_| !made_up().unwrap().starts_with('-')));
    }

    #[test]
    fn the_token_of_the_address_lets_one_browser_in() {
        let (access, now) = (access(), Instant::now());
        assert_eq!(access.sign_in_once(b"token", now), None);
        assert_eq!(access.sign_in_once(b"onne", now), None);
        let set = access.sign_in_once(b"once", now).unwrap();
        assert!(
            set.ends_with(&format!("; HttpOnly; SameSite=Strict; Path={}; Max-Age=43200", access.base())),
            "{set}"
        );
        assert_eq!(access.sign_in_once(b"once", now), None);
        assert_eq!(access.sign_in(b"once", now), None);
        assert!(access.sign_in(b"token", now).is_some());
        let cookie = set.split(';').next().unwrap();
        let admit =
            |is_below| access.admit(&headers(&[("cookie", &format!("a=b; {cookie}"))]), is_below, true, now);
        assert!(matches!(admit(true), Admission::Browser { csrf, .. } if csrf.len() == 43));
        assert_eq!(admit(false), Admission::Refused);
        access.sign_out(&headers(&[("cookie", cookie)]));
        assert_eq!(admit(true), Admission::Refused);
    }

    #[test]
    fn only_tokens_and_cookies_authenticate() {
        let (access, now) = (access(), Instant::now());
        let admit = |lines: &[(&'static str, &str)]| access.admit(&headers(lines), true, true, now);
        let known = [
            ("authorization", "Bearer token"),
            ("authorization", "Bearer once"),
            ("authorization", "Basic YW55Ym9keTp0b2tlbg=="),
        ];
        for line in known {
            assert_eq!(admit(&[line]), Admission::Token, "{line:?}");
        }
        let strangers = [
            ("cookie", "snap-session=token"),
            ("cookie", "snap-session="),
            ("authorization", "Bearer session"),
            ("authorization", "Basic dG9rZW46YW55Ym9keQ=="),
            ("authorization", "token"),
            ("x", "y"),
        ];
        for line in strangers {
            assert_eq!(admit(&[line]), Admission::Refused, "{line:?}");
        }
        access.sign_in_once(b"once", now).unwrap();
        assert_eq!(admit(&[("authorization", "Bearer once")]), Admission::Refused, "it is spent");
    }

    #[test]
    fn paths_of_browsers_begin_with_a_secret() {
        let access = access();
        let base = access.base().to_owned();
        assert_eq!(access.below_base(&base), Some("/"));
        assert_eq!(access.below_base(&format!("{base}/s/x")), Some("/s/x"));
        for path in ["/", "/s/x", &format!("{base}x"), &base[..10], ""] {
            assert_eq!(access.below_base(path), None, "{path}");
        }
    }

    #[test]
    fn generated_secrets_are_long_and_unique() {
        let (one, other) = (made_up().unwrap(), made_up().unwrap());
        assert!(one.len() == 43 && is_strong(&one) && one != other);
        assert!(!is_strong("short") && !is_strong("long enough but with spaces"));
    }
}
