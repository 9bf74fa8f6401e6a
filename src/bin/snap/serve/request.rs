//! Parses URLs to bytes, because names need not be UTF-8.

use hyper::{StatusCode, Uri};
use percent_encoding::percent_decode;

use crate::serve::response::HttpError;
use crate::serve::url::{encoded, encoded_path};

/// A parsed URL.
#[derive(Debug)]
pub(super) struct PageRequest {
    /// Decoded components of the path. None is empty, `.` or `..`, or contains a slash or a NUL.
    pub(super) path: Vec<Vec<u8>>,
    query: Form,
    /// Secret for the forms of a signed-in browser; `None` if the request was authenticated by a token.
    pub(super) csrf: Option<String>,
    /// Number of the browser's login.
    pub(super) login: Option<u64>,
}

/// Names and values of a query or of a form that was sent.
#[derive(Debug, Default)]
pub(super) struct Form(Vec<(Vec<u8>, Vec<u8>)>);

impl Form {
    /// Parses the encoding of forms (`application/x-www-form-urlencoded`).
    ///
    /// # Errors
    /// It is invalid.
    pub(super) fn parse(text: &[u8]) -> Result<Self, HttpError> {
        let mut pairs = Vec::new();
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut sides = pair.splitn(2, |byte| *byte == b'=');
            let mut next = || {
                let blank = |byte: &u8| if *byte == b'+' { b' ' } else { *byte };
                decoded(&sides.next().unwrap_or_default().iter().map(blank).collect::<Vec<u8>>())
            };
            pairs.push((next()?, next()?));
        }
        Ok(Self(pairs))
    }

    /// Returns all values of this name.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let found = self.0.iter().filter(move |(known, _)| known == name.as_bytes());
        found.map(|(_, value)| value.as_slice())
    }

    /// Returns the first value of this name.
    pub(super) fn value(&self, name: &str) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// Returns the value as trimmed text; empty if there is none.
    pub(super) fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(self.value(name).unwrap_or_default()).trim().to_owned()
    }
}

impl PageRequest {
    /// Parses a URL.
    ///
    /// # Errors
    /// The URL is invalid or contains `..`.
    pub(super) fn of(uri: &Uri) -> Result<Self, HttpError> {
        let mut path = Vec::new();
        for part in uri.path().split('/').filter(|part| !part.is_empty()) {
            let part = decoded(part.as_bytes())?;
            if part == b"." || part == b".." {
                return Err(HttpError::new(
                    StatusCode::BAD_REQUEST,
                    "paths in snapshots do not contain '..'",
                ));
            }
            if part.iter().any(|byte| matches!(byte, b'/' | 0)) {
                let why = "a name cannot contain a slash or a NUL";
                return Err(HttpError::new(StatusCode::BAD_REQUEST, why));
            }
            path.push(part);
        }
        let query = Form::parse(uri.query().unwrap_or_default().as_bytes())?;
        Ok(Self { path, query, csrf: None, login: None })
    }

    /// Returns the first value of this query parameter.
    pub(super) fn value(&self, name: &str) -> Option<&[u8]> {
        self.query.value(name)
    }

    /// Returns all values of this query parameter.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.query.values(name)
    }

    /// Returns the value as trimmed text; empty if there is none.
    pub(super) fn text(&self, name: &str) -> String {
        self.query.text(name)
    }

    /// Returns the URL of the same page with these query parameters; an empty value removes one.
    pub(super) fn again(&self, changes: &[(&str, &str)]) -> String {
        let kept = self.query.0.iter().filter(|(name, value)| {
            !value.is_empty() && !changes.iter().any(|(changed, _)| changed.as_bytes() == name)
        });
        let kept = kept.map(|(name, value)| (name.as_slice(), value.as_slice()));
        let added = changes.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let pairs: Vec<String> = kept
            .chain(added.filter(|(_, value)| !value.is_empty()))
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        let path = format!("/{}", encoded_path(&self.path.join(&b'/')));
        if pairs.is_empty() { path } else { format!("{path}?{}", pairs.join("&")) }
    }

    /// Returns a key for the page that does not depend on query parameters.
    pub(super) fn key(&self) -> String {
        encoded_path(&self.path.join(&b'/'))
    }

    /// Returns the first component of the path.
    pub(super) fn first(&self) -> &[u8] {
        self.path.first().map_or(&[], Vec::as_slice)
    }

    /// Returns a component of the path as text; empty if there is none.
    pub(super) fn text_at(&self, at: usize) -> String {
        self.path.get(at).map(|part| String::from_utf8_lossy(part).into_owned()).unwrap_or_default()
    }

    /// Returns the components from this one on as a stored path.
    pub(super) fn stored(&self, from: usize) -> Vec<u8> {
        self.path.get(from..).unwrap_or_default().join(&b'/')
    }
}

/// Decodes percent-encoding.
///
/// # Errors
/// It is invalid.
pub(super) fn decoded(text: &[u8]) -> Result<Vec<u8>, HttpError> {
    let hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let sound = |at: usize| hex(text.get(at + 1)) && hex(text.get(at + 2));
    let mut marks = text.iter().enumerate().filter(|(_, byte)| **byte == b'%').map(|(at, _)| at);
    if marks.all(sound) {
        Ok(percent_decode(text).collect())
    } else {
        Err(HttpError::new(StatusCode::BAD_REQUEST, "a % in an address must be followed by two hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uri: &str) -> Result<PageRequest, HttpError> {
        PageRequest::of(&uri.parse().unwrap())
    }

    #[test]
    fn names_are_bytes_and_roundtrip() {
        let path = b"a b/\xff%2e/\xc3\xa9:?#&\"<".to_vec();
        let uri = format!("/versions/{}", encoded_path(&path));
        assert_eq!(asked(&uri).unwrap().stored(1), path);
        let found = asked("/x?q=a+b%2B%ff&q=2&e").unwrap();
        assert_eq!(found.value("q"), Some(b"a b+\xff".as_slice()));
        assert_eq!((found.text("e"), found.value("none")), (String::new(), None));
    }

    #[test]
    fn paths_never_lead_upwards() {
        for uri in
            ["/s/../x", "/s/%2e%2e/x", "/..", "/s/.%2E", "/a%2fb", "/a%00", "/%", "/%4", "/%zz", "/?a=%g"]
        {
            assert!(asked(uri).is_err(), "{uri}");
        }
        assert_eq!(asked("//a///b/").unwrap().stored(0), b"a/b");
        assert!(asked("/a..b/...").is_ok());
    }
}
