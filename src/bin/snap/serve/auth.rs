//! Who is let in: whoever knows a token, under an address or a name that is this server's.
//!
//! The printed address holds a token that is spent by the first browser that comes with it: its history then holds nothing of
//! use. The browser gets a cookie, and pages below a path that nobody can guess: cookies of an address go to every port
//! of it, and a page of another port's server must not be sent this one's. The lasting token is for WebDAV and scripts (the
//! password of Basic authentication, or a bearer token), and for the form by which further browsers come in. A page
//! of another site that has its own name point here (DNS rebinding) asks under that name, and is refused by it.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use headers::authorization::{Authorization, Basic, Bearer};
use headers::{Cookie, HeaderMapExt};
use hyper::header::HOST;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Uri};
use snap_backup::codec::crypto::cipher;
use snap_backup::{Error, Result};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::browsers::{Browsers, LONGEST};
use crate::terminal::output;

/// Bytes of randomness in what is made up.
const RANDOM: usize = 32;
/// Fewest characters of a token that is given.
const SHORTEST: usize = 20;

/// Something only friends know.
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    pub(super) fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// Takes as long whatever is wrong with it, but for its length.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

/// A new secret, in letters that a URL may hold.
///
/// # Errors
/// When the system gives no randomness.
pub(super) fn made_up() -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0u8; RANDOM]);
    cipher::random(bytes.as_mut()).map_err(Error::damaged("a new token"))?;
    let text = Zeroizing::new(output::base64(bytes.as_ref()));
    Ok(Zeroizing::new(text.trim_end_matches('=').replace('+', "-").replace('/', "_")))
}

/// Whether a token that somebody chose will do: long, and such that a URL may hold it as it is.
pub(crate) fn is_strong(token: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    token.len() >= SHORTEST && token.bytes().all(plain)
}

/// How somebody was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admission {
    /// By what came with the request.
    Known,
    /// Not at all.
    Refused,
}

/// The rules.
pub(super) struct Access {
    /// For WebDAV, scripts and the form.
    token: Secret,
    /// In the printed address, until it is used.
    once: Mutex<Option<Secret>>,
    browsers: Browsers,
    /// What the paths of browsers begin with: `/` and a word.
    base: String,
    names: Vec<String>,
}

impl Access {
    /// `once` is the token of the printed address, if there is one.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub(super) fn new(token: Secret, once: Option<Secret>, names: Vec<String>) -> Result<Self> {
        let names = names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        let base = format!("/{}", *made_up()?);
        Ok(Self { token, once: Mutex::new(once), browsers: Browsers::default(), base, names })
    }

    /// Whether a request means this server: an address cannot be somebody else's name.
    pub(super) fn is_meant(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
        let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
        let knows = |authority: &Authority| self.knows(authority.host());
        host.is_some_and(|host| knows(&host)) && uri.authority().is_none_or(knows)
    }

    fn knows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        host == "localhost" || bare.parse::<IpAddr>().is_ok() || self.names.contains(&host)
    }

    /// What the paths of signed-in browsers begin with.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// A path without that beginning, if it has it: it is a secret, so it is compared as one.
    pub(super) fn below_base<'a>(&self, path: &'a str) -> Option<&'a str> {
        let (base, rest) = path.split_at_checked(self.base.len())?;
        let is_ours: bool = base.as_bytes().ct_eq(self.base.as_bytes()).into();
        match rest {
            "" => is_ours.then_some("/"),
            rest => (is_ours && rest.starts_with('/')).then_some(rest),
        }
    }

    /// Who comes with the token, or, below the base, with a browser's cookie.
    pub(super) fn admit(&self, headers: &HeaderMap, is_below_base: bool, now: Instant) -> Admission {
        let basic = headers.typed_get::<Authorization<Basic>>();
        let bearer = headers.typed_get::<Authorization<Bearer>>();
        let cookie = cookie(headers).filter(|_| is_below_base);
        let is_known = cookie.is_some_and(|given| self.browsers.knows(given.as_bytes(), now))
            || basic.is_some_and(|given| self.is_token(given.password().as_bytes()))
            || bearer.is_some_and(|given| self.is_token(given.token().as_bytes()));
        if is_known { Admission::Known } else { Admission::Refused }
    }

    /// The lasting token; and that of the printed address, as long as no browser has spent it.
    fn is_token(&self, given: &[u8]) -> bool {
        let once = self.once.lock().unwrap_or_else(PoisonError::into_inner);
        self.token.is(given) | once.as_ref().is_some_and(|once| once.is(given))
    }

    /// Signs in a browser that came by the printed address, and spends its token: the cookie to set.
    pub(super) fn sign_in_once(&self, given: &[u8], now: Instant) -> Option<String> {
        let mut once = self.once.lock().unwrap_or_else(PoisonError::into_inner);
        once.take_if(|once| once.is(given))?;
        self.cookie_for(now)
    }

    /// Signs in a browser whose form held a token.
    pub(super) fn sign_in(&self, given: &[u8], now: Instant) -> Option<String> {
        self.sign_in_once(given, now).or_else(|| self.token.is(given).then(|| self.cookie_for(now))?)
    }

    fn cookie_for(&self, now: Instant) -> Option<String> {
        let value = self.browsers.sign_in(now).ok()?;
        Some(format!(
            "{COOKIE}={value}; HttpOnly; SameSite=Strict; Path={}; Max-Age={}",
            self.base,
            LONGEST.as_secs()
        ))
    }

    /// Signs a browser out: what takes its cookie away.
    pub(super) fn sign_out(&self, headers: &HeaderMap) -> String {
        if let Some(cookie) = cookie(headers) {
            self.browsers.sign_out(cookie.as_bytes());
        }
        format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path={}; Max-Age=0", self.base)
    }
}

const COOKIE: &str = "snap-session";

fn cookie(headers: &HeaderMap) -> Option<String> {
    headers.typed_get::<Cookie>()?.get(COOKIE).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        let secret = |text: &str| Secret::new(Zeroizing::new(text.to_owned()));
        Access::new(secret("token"), Some(secret("once")), vec!["NAS.local".to_owned()]).unwrap()
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_server_is_asked_for_by_address_or_by_a_name_that_is_its_own() {
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
            |is_below| access.admit(&headers(&[("cookie", &format!("a=b; {cookie}"))]), is_below, now);
        assert_eq!((admit(true), admit(false)), (Admission::Known, Admission::Refused));
        access.sign_out(&headers(&[("cookie", cookie)]));
        assert_eq!(admit(true), Admission::Refused);
    }

    #[test]
    fn only_tokens_and_cookies_let_in() {
        let (access, now) = (access(), Instant::now());
        let admit = |lines: &[(&'static str, &str)]| access.admit(&headers(lines), true, now);
        let known = [
            ("authorization", "Bearer token"),
            ("authorization", "Bearer once"),
            ("authorization", "Basic YW55Ym9keTp0b2tlbg=="),
        ];
        for line in known {
            assert_eq!(admit(&[line]), Admission::Known, "{line:?}");
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
    fn what_is_made_up_is_long_and_never_the_same() {
        let (one, other) = (made_up().unwrap(), made_up().unwrap());
        assert!(one.len() == 43 && is_strong(&one) && one != other);
        assert!(!is_strong("short") && !is_strong("long enough but with spaces"));
    }
}
