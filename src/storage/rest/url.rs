//! Locations on servers that speak restic's REST protocol: `rest:http://user:password@host:port/path/`.

use std::fmt;
use std::net::IpAddr;

use base64::prelude::{BASE64_STANDARD, Engine};
use percent_encoding::percent_decode_str;

/// A location on such a server.
#[derive(Clone, PartialEq, Eq)]
pub struct RestUrl {
    /// Without user and password, and with a slash at its end.
    url: String,
    login: Option<(String, String)>,
}

impl fmt::Debug for RestUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RestUrl({self})")
    }
}

impl fmt::Display for RestUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rest:{}", self.url.trim_end_matches('/'))
    }
}

impl RestUrl {
    /// Returns whether a text is meant as such a location, valid or not.
    pub fn is_meant(text: &[u8]) -> bool {
        text.starts_with(b"rest:")
    }

    /// Parses `rest:http[s]://[USER[:PASSWORD]@]HOST[:PORT]/PATH`.
    ///
    /// # Errors
    /// The reason why it is invalid, for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = text.strip_prefix("rest:").ok_or("it does not begin with rest:")?;
        let (scheme, rest) = url.split_once("://").ok_or("write rest:https://host/path")?;
        if !matches!(scheme, "http" | "https") {
            return Err("only http and https are supported: rest:https://host/path".into());
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login.split_once(':').unwrap_or((login, ""))), host),
            None => (None, authority),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        if host.is_empty() || !host.chars().all(plain) {
            return Err("the host is missing: rest:https://host/path".into());
        }
        let path = path.trim_matches('/');
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
        if !path.chars().all(plain) || path.split('/').any(|part| matches!(part, "." | "..")) {
            return Err("its path must be written as in a URL, without . and ..".into());
        }
        let end = if path.is_empty() { "" } else { "/" };
        let login = login.map(|(user, password)| (unescaped(user), unescaped(password)));
        Ok(Self { url: format!("{scheme}://{host}/{path}{end}"), login })
    }

    /// Sets user and password, unless the URL has its own.
    #[must_use]
    pub fn with_login(mut self, user: Option<String>, password: Option<String>) -> Self {
        if self.login.is_none() && (user.is_some() || password.is_some()) {
            self.login = Some((user.unwrap_or_default(), password.unwrap_or_default()));
        }
        self
    }

    /// Returns whether the login crosses a network unencrypted: there is one, the scheme is `http`, and the
    /// host is not this machine.
    pub fn exposes_login(&self) -> bool {
        let Some(rest) = self.url.strip_prefix("http://").filter(|_| self.login.is_some()) else {
            return false;
        };
        let authority = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        let host = match authority.strip_prefix('[').and_then(|host| host.split_once(']')) {
            Some((host, _)) => host,
            None => authority.split_once(':').map_or(authority, |(host, _)| host),
        };
        let host = host.to_ascii_lowercase();
        let is_loopback = host.parse::<IpAddr>().is_ok_and(|host| host.is_loopback());
        !is_loopback && host != "localhost" && !host.ends_with(".localhost")
    }

    pub(super) fn url(&self, what: &str) -> String {
        format!("{}{what}", self.url)
    }

    /// Returns the value of the `Authorization` header (RFC 7617).
    pub(super) fn authorization(&self) -> Option<String> {
        let (user, password) = self.login.as_ref()?;
        Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
    }
}

fn unescaped(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urls_roundtrip_without_their_secrets() {
        for (text, shown, url, login) in [
            ("rest:http://h:8000/a/b/", "rest:http://h:8000/a/b", "http://h:8000/a/b/x", None),
            ("rest:https://h", "rest:https://h", "https://h/x", None),
            ("rest:https://me:p%40ss@h/r", "rest:https://h/r", "https://h/r/x", Some("Basic bWU6cEBzcw==")),
        ] {
            let place = RestUrl::parse(text).unwrap();
            assert_eq!((place.to_string().as_str(), place.url("x").as_str()), (shown, url));
            assert_eq!(place.authorization().as_deref(), login);
            assert!(!format!("{place:?}").contains("ss"));
        }
        let place = RestUrl::parse("rest:http://h/").unwrap().with_login(Some("u".into()), Some("pw".into()));
        assert_eq!(place.authorization().as_deref(), Some("Basic dTpwdw=="));
    }

    #[test]
    fn a_login_is_exposed_by_http_to_another_machine_only() {
        for (text, is_exposed) in [
            ("rest:http://u:p@h:8000/", true),
            ("rest:http://u:p@192.168.1.2/", true),
            ("rest:http://u:p@[fd00::1]:80/", true),
            ("rest:http://u:p@localhost.example/", true),
            ("rest:https://u:p@h/", false),
            ("rest:http://h/", false),
            ("rest:http://u:p@LOCALHOST:8000/", false),
            ("rest:http://u:p@127.8.0.1/", false),
            ("rest:http://u:p@[::1]:8000/", false),
        ] {
            assert_eq!(RestUrl::parse(text).unwrap().exposes_login(), is_exposed, "{text}");
        }
    }

    #[test]
    fn invalid_urls_are_refused() {
        for text in [
            "rest:h/a",
            "rest:ftp://h/a",
            "rest:http:///a",
            "rest:http://h/../a",
            "rest:http://h/a?b",
            "http://h",
        ] {
            assert!(RestUrl::parse(text).is_err(), "{text}");
        }
    }
}
