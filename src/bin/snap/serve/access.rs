//! Who is let in: whoever knows the token, under an address or a name that is this server's.
//!
//! The token comes as `?token=` once and is exchanged for a cookie, so that it stays in no address bar; as the password of
//! Basic authentication, for WebDAV; or as a bearer token. A page of another site that has its own name point here (DNS
//! rebinding) asks under that name, and is refused by it.

use std::net::IpAddr;

use headers::authorization::{Authorization, Basic, Bearer};
use headers::{Cookie, HeaderMapExt};
use hyper::header::HOST;
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Uri};
use snap_backup::codec::cipher;
use snap_backup::{Error, Result};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::asked::Asked;
use crate::output;

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
    fn is(&self, given: &[u8]) -> bool {
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
    /// By the token in the address: this cookie will do from now on.
    New(String),
    /// Not at all.
    Refused,
}

/// The rules.
pub(super) struct Access {
    token: Secret,
    session: Secret,
    /// Cookies are shared by all ports of a host.
    cookie: String,
    names: Vec<String>,
}

impl Access {
    pub(super) fn new(token: Secret, session: Secret, port: u16, names: Vec<String>) -> Self {
        let names = names.into_iter().map(|name| name.to_ascii_lowercase()).collect();
        Self { token, session, cookie: format!("snap-{port}"), names }
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

    /// Who comes with the token, or with what it was exchanged for.
    pub(super) fn admit(&self, asked: &Asked, headers: &HeaderMap) -> Admission {
        if let Some(given) = asked.value("token") {
            return match self.token.is(given) {
                true => Admission::New(self.set_cookie()),
                false => Admission::Refused,
            };
        }
        let cookie = headers.typed_get::<Cookie>();
        let cookie = cookie.as_ref().and_then(|cookie| cookie.get(&self.cookie));
        let basic = headers.typed_get::<Authorization<Basic>>();
        let bearer = headers.typed_get::<Authorization<Bearer>>();
        let is_known = cookie.is_some_and(|given| self.session.is(given.as_bytes()))
            || basic.is_some_and(|given| self.token.is(given.password().as_bytes()))
            || bearer.is_some_and(|given| self.token.is(given.token().as_bytes()));
        if is_known { Admission::Known } else { Admission::Refused }
    }

    fn set_cookie(&self) -> String {
        format!("{}={}; HttpOnly; SameSite=Strict; Path=/", self.cookie, *self.session.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access {
        let secret = |text: &str| Secret::new(Zeroizing::new(text.to_owned()));
        Access::new(secret("token"), secret("session"), 1234, vec!["NAS.local".to_owned()])
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
    fn only_the_token_and_its_cookie_let_in() {
        let access = access();
        let admit = |uri: &str, lines: &[(&'static str, &str)]| {
            access.admit(&Asked::of(&uri.parse().unwrap()).unwrap(), &headers(lines))
        };
        let cookie = "snap-1234=session; HttpOnly; SameSite=Strict; Path=/".to_owned();
        assert_eq!(admit("/?token=token", &[]), Admission::New(cookie));
        assert_eq!(admit("/?token=tokem", &[("cookie", "snap-1234=session")]), Admission::Refused);
        let known = [
            ("cookie", "a=b; snap-1234=session"),
            ("authorization", "Bearer token"),
            ("authorization", "Basic YW55Ym9keTp0b2tlbg=="),
        ];
        for line in known {
            assert_eq!(admit("/", &[line]), Admission::Known, "{line:?}");
        }
        let strangers = [
            ("cookie", "snap-1234=token"),
            ("cookie", "snap-1=session"),
            ("authorization", "Bearer session"),
            ("authorization", "Basic dG9rZW46YW55Ym9keQ=="),
            ("authorization", "token"),
            ("x", "y"),
        ];
        for line in strangers {
            assert_eq!(admit("/", &[line]), Admission::Refused, "{line:?}");
        }
        assert_eq!(admit("/?token=", &[]), Admission::Refused);
    }

    #[test]
    fn what_is_made_up_is_long_and_never_the_same() {
        let (one, other) = (made_up().unwrap(), made_up().unwrap());
        assert!(one.len() == 43 && is_strong(&one) && one != other);
        assert!(!is_strong("short") && !is_strong("long enough but with spaces"));
    }
}
