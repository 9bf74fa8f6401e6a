//! A repository on a server that speaks restic's REST protocol, version 2: rest-server, or `rclone serve
//! restic` and with it any storage that rclone supports. Such servers know five types of objects; `names`
//! maps our object kinds to them.
//!
//! The protocol has no exclusive creation, so it is unsafe for concurrent garbage collection.

mod names;
pub mod url;

use std::io::{self, BufReader, Read};
use std::sync::{Arc, OnceLock};

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::storage::http::{HeaderValue, Http, Method, Parts, Response};
use crate::storage::rate_limit::RateLimits;
use crate::storage::rest::url::RestUrl;
use crate::storage::retry::{Failure, Retrier, RetryPolicy};
use crate::storage::tls::Tls;
use crate::storage::{
    CreateOutcome, Listed, ObjectKind, Storage, buffer, check_name, has_content, http, too_long, too_short,
};

/// The `Accept` header for a listing with sizes.
const VERSION: HeaderValue = HeaderValue::from_static("application/vnd.x.restic.rest.v2");

/// A repository on such a server.
#[derive(Debug)]
pub struct RestStorage {
    place: RestUrl,
    http: Http,
    retrier: Arc<Retrier>,
    /// Set after the server was asked to create the repository.
    created: OnceLock<()>,
}

/// An item of a listing.
#[derive(Debug, Deserialize)]
struct Item {
    name: String,
    size: u64,
}

impl RestStorage {
    /// Creates a storage at `place` without any request.
    pub fn new(place: RestUrl, limits: Arc<RateLimits>, retry_policy: RetryPolicy, tls: &Tls) -> Self {
        let retrier = Arc::new(Retrier::new(place.to_string(), retry_policy));
        let http = Http::new(Arc::clone(&retrier), retry_policy, limits, tls);
        Self { place, http, retrier, created: OnceLock::new() }
    }

    fn url(&self, area: ObjectKind, name: &str) -> Result<String> {
        check_name(area, name)?;
        Ok(self.place.url(&format!("{}/{}", names::kind(area), names::encode(area, name))))
    }

    /// Sends a request. Returns success responses, and error statuses that the caller interprets.
    fn request(
        &self,
        (doing, what): (&'static str, &str),
        (method, url): (Method, &str),
        header: Option<(&'static str, HeaderValue)>,
        body: Option<(&mut dyn Read, u64)>,
        expected: &[u16],
    ) -> Result<Response, Failure> {
        let mut head = http::request(method, url);
        if let Some((name, value)) = header {
            head.headers.insert(name, value);
        }
        if let Some(login) = self.place.authorization()
            && let Ok(mut value) = HeaderValue::from_str(&login)
        {
            value.set_sensitive(true);
            head.headers.insert("authorization", value);
        }
        let mut answer = self.http.send(head, body).map_err(|lost| Failure::Transient(lost.0))?;
        if answer.is_success() || expected.contains(&answer.status.as_u16()) {
            return Ok(answer);
        }
        let text = answer.error_text();
        Err(self.refused(doing, what, answer.status.as_u16(), text.trim()))
    }

    fn refused(&self, doing: &'static str, what: &str, status: u16, text: &str) -> Failure {
        // HTML pages are for browsers.
        let text = if text.len() > 400 || text.starts_with('<') { "" } else { text };
        let why = format!("the server answered {status} {text}").trim_end().to_owned();
        let (kind, why) = match status {
            401 => {
                let which = "the server rejected the user or password (`RestUrl::with_login`)";
                (io::ErrorKind::PermissionDenied, format!("{why}: {which}"))
            }
            403 | 405 => (io::ErrorKind::PermissionDenied, why),
            413 | 507 => (io::ErrorKind::StorageFull, why),
            408 | 425 | 429 | 500..=599 => return Failure::Transient(why),
            _ => (io::ErrorKind::Other, why),
        };
        Failure::Permanent(Error::io(doing, self.retrier.full_path(what))(io::Error::new(kind, why)))
    }

    fn exists(&self, area: ObjectKind, name: &str) -> Result<bool> {
        let (url, what) = (self.url(area, name)?, area.path(name));
        self.retrier.retry("check for", &what, |_| {
            let answer = self.request(("check for", &what), (Method::HEAD, &url), None, None, &[404])?;
            Ok(answer.is_success())
        })
    }

    /// Writes an object; `false` if the server answers 403, as it does if the name is taken.
    fn post(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<bool> {
        let (url, what) = (self.url(area, name)?, area.path(name));
        let len = parts.iter().map(|part| part.len() as u64).sum();
        self.retrier.retry("write", &what, |_| {
            let mut source = Parts::new(parts);
            let body: Option<(&mut dyn Read, u64)> = Some((&mut source, len));
            let answer = self.request(("write", &what), (Method::POST, &url), None, body, &[400, 403])?;
            match answer.status.as_u16() {
                400 => Err(self.refused_content(&what, answer)),
                _ => Ok(answer.is_success()),
            }
        })
    }

    /// Describes why a server rejects content whose hash differs from its name.
    fn refused_content(&self, what: &str, mut answer: Response) -> Failure {
        let text = answer.error_text();
        let hint = "it may verify that names are hashes of contents, as rest-server does unless it is \
                    started with --no-verify-upload; start it with that option (snap verifies all it reads)";
        self.refused("write", what, 400, &format!("{}: {hint}", text.trim().trim_end_matches(':')))
    }

    /// Creates the folders of a repository, which some servers do only on request.
    fn create_repository(&self) -> Result<()> {
        if self.created.get().is_some() {
            return Ok(());
        }
        let url = self.place.url("?create=true");
        self.retrier.retry("make", "", |_| {
            self.request(("make", ""), (Method::POST, &url), None, None, &[]).map(drop)
        })?;
        self.probe_name()?;
        let _ = self.created.set(());
        Ok(())
    }

    /// Writes an object whose name is not the hash of its content, so that a server that verifies names fails
    /// before half a repository exists. The object is the end marker of a session that never existed; gc
    /// would remove it.
    fn probe_name(&self) -> Result<()> {
        let name = format!("{:032}{}", 0, crate::storage::names::END_MARKER);
        self.post(ObjectKind::Sessions, &name, &[b"snap"])?;
        self.remove(ObjectKind::Sessions, &name)
    }

    fn forbidden(&self, doing: &'static str, what: &str) -> Error {
        let why = "the server answered 403 Forbidden: it may be append-only";
        Error::io(doing, self.retrier.full_path(what))(io::Error::new(io::ErrorKind::PermissionDenied, why))
    }
}

/// Fills `out`; a body that ends early is requested again.
fn fill(answer: &mut Response, out: &mut [u8]) -> Result<(), Failure> {
    answer.body.read_exact(out).map_err(|err| Failure::Transient(err.to_string()))
}

impl Storage for RestStorage {
    fn location(&self) -> String {
        self.place.to_string()
    }

    fn list(&self, area: ObjectKind) -> Result<Vec<Listed>> {
        let (url, what) = (self.place.url(&format!("{}/", names::kind(area))), area.folder());
        let items = self.retrier.retry("list", what, |_| {
            let accept = Some(("accept", VERSION));
            // Before there is a repository, there may be no folder to list.
            let first = matches!(area, ObjectKind::Config | ObjectKind::Keys);
            let missing: &[u16] = if first { &[404] } else { &[] };
            let answer = self.request(("list", what), (Method::GET, &url), accept, None, missing)?;
            if !answer.is_success() {
                return Ok(Vec::new());
            }
            let items = serde_json::from_reader::<_, Option<Vec<Item>>>(BufReader::new(answer.body));
            items
                .map(Option::unwrap_or_default)
                .map_err(|err| Failure::Transient(format!("the listing cannot be read: {err}")))
        })?;
        let listed = items.into_iter().filter_map(|item| {
            Some(Listed { name: names::decode(area, &item.name)?, len: item.size, modified: None })
        });
        let mut listed: Vec<Listed> = listed.collect();
        listed.sort();
        listed.dedup_by(|next, before| next.name == before.name);
        Ok(listed)
    }

    fn read(&self, area: ObjectKind, name: &str, limit: u64) -> Result<Vec<u8>> {
        let (url, what) = (self.url(area, name)?, area.path(name));
        self.retrier.retry("read", &what, |_| {
            let mut answer = self.request(("read", &what), (Method::GET, &url), None, None, &[404])?;
            if !answer.is_success() {
                return Err(Failure::Permanent(Error::Missing { what: what.clone() }));
            }
            let len = answer
                .len()
                .ok_or_else(|| Failure::Transient("the server does not report the length".into()))?;
            if len > limit {
                return Err(too_long(&what).into());
            }
            let mut bytes = buffer(len).map_err(Error::io("read", self.retrier.full_path(&what)))?;
            bytes.resize(len as usize, 0);
            fill(&mut answer, &mut bytes)?;
            Ok(bytes)
        })
    }

    fn read_range(&self, area: ObjectKind, name: &str, offset: u64, out: &mut [u8]) -> Result<()> {
        let (url, what) = (self.url(area, name)?, area.path(name));
        let possible = offset.checked_add(out.len() as u64).filter(|end| *end <= i64::MAX as u64);
        let Some(end) = possible.filter(|_| !out.is_empty()) else {
            // An empty range needs no request, but the object must exist.
            if !self.exists(area, name)? {
                return Err(Error::Missing { what });
            } else if out.is_empty() {
                return Ok(());
            }
            return Err(too_short(what));
        };
        let range = format!("bytes={offset}-{}", end - 1);
        let wanted = format!("bytes {offset}-{}/", end - 1);
        self.retrier.retry("read", &what, |_| {
            let header = HeaderValue::from_str(&range).ok().map(|range| ("range", range));
            let mut answer = self.request(("read", &what), (Method::GET, &url), header, None, &[404, 416])?;
            let given = answer.headers.get(http::CONTENT_RANGE).and_then(|given| given.to_str().ok());
            match (answer.status.as_u16(), given) {
                (404, _) => Err(Failure::Permanent(Error::Missing { what: what.clone() })),
                (206, Some(given)) if given.starts_with(&wanted) => fill(&mut answer, out),
                (206, Some(_)) | (416, _) => Err(too_short(&what).into()),
                _ => Err(self.refused("read", &what, 400, "without the requested range")),
            }
        })
    }

    fn create(&self, area: ObjectKind, name: &str, parts: &[&[u8]]) -> Result<CreateOutcome> {
        if matches!(area, ObjectKind::Config | ObjectKind::Keys) {
            self.create_repository()?;
        }
        if self.exists(area, name)? {
            return Ok(CreateOutcome::Exists);
        }
        let posted = self.post(area, name, parts)?;
        // Rejected: another process was faster, or an earlier attempt succeeded and its response was lost.
        if !posted && !self.exists(area, name)? {
            return Err(self.forbidden("write", &area.path(name)));
        }
        // A pack's name determines its content; for other objects a later writer may have replaced it.
        if posted && area == ObjectKind::Packs || has_content(self, area, name, parts) {
            return Ok(CreateOutcome::New);
        }
        Ok(CreateOutcome::Exists)
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn replace(&self, area: ObjectKind, name: &str, bytes: &[u8]) -> Result<()> {
        if self.post(area, name, &[bytes])? {
            return Ok(());
        }
        // Append-only servers allow deleting locks, which is the type that heartbeats have there.
        self.remove(area, name)?;
        if self.post(area, name, &[bytes])? { Ok(()) } else { Err(self.forbidden("write", &area.path(name))) }
    }

    fn is_held(&self, area: ObjectKind, name: &str) -> Result<Option<bool>> {
        Ok(if self.exists(area, name)? { None } else { Some(false) })
    }

    fn weakness(&self) -> Result<Option<String>> {
        Ok(Some("a REST server, which may let two writers create the same name".to_owned()))
    }

    fn remove(&self, area: ObjectKind, name: &str) -> Result<()> {
        let (url, what) = (self.url(area, name)?, area.path(name));
        self.retrier.retry("remove", &what, |_| {
            self.request(("remove", &what), (Method::DELETE, &url), None, None, &[404]).map(drop)
        })
    }

    /// Does nothing: the server's response is the only confirmation there is.
    fn sync(&self, _area: ObjectKind) -> Result<()> {
        Ok(())
    }
}
