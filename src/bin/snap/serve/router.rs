//! Routes requests to their responses.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use dav_server::DavHandler;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, header};
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::export;
use snap_backup::repo::repository::Repository;
use snap_backup::repo::snapshots::Snapshot;
use snap_backup::{Error, Result};
use tokio::sync::{AcquireError, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::pages::Shown;
use super::{StatusOf, pages};
use crate::serve::admission::Door;
use crate::serve::auth::Access;
use crate::serve::request::PageRequest;
use crate::serve::response::{Body, HttpError};
use crate::serve::server::TIMEOUT;
use crate::serve::sessions::{SessionPool, SharedSession};
use crate::serve::{admission, response, webdav};

/// Maximum length in bytes of a request's body: a PROPFIND names a few properties.
const LONGEST: usize = 64 << 10;
/// Number of concurrent accesses to single paths; each may use memory for a few blocks.
const LOOKS: usize = 2;
/// Number of concurrent walks through whole snapshots.
const WALKS: usize = 2;
/// Number of concurrent archives: each reads far ahead and compresses on all processors.
const ARCHIVES: usize = 1;

const STYLE: &str = include_str!("style.css");
const ICON: &str = include_str!("icon.svg");

/// The state that responses are built from.
pub(super) struct AppState {
    pub(super) session_pool: SessionPool,
    access: Access,
    status: StatusOf,
    dav: DavHandler,
    /// Title of the pages.
    pub(super) title: String,
    looks: Semaphore,
    walks: Semaphore,
    archives: Arc<Semaphore>,
}

/// Sets the flag when it is dropped, because the client has disconnected.
struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl AppState {
    pub(super) fn new(repo: &Repository, access: Access, status: StatusOf, json: bool) -> Self {
        let location = repo.location();
        let title = Path::new(&location).file_name().map(|name| name.to_string_lossy().into_owned());
        let session_pool = SessionPool::new(repo, json);
        Self {
            session_pool,
            access,
            status,
            dav: DavHandler::default(),
            title: title.unwrap_or(location),
            looks: Semaphore::new(LOOKS),
            walks: Semaphore::new(WALKS),
            archives: Arc::new(Semaphore::new(ARCHIVES)),
        }
    }

    pub(super) fn idle(&self) -> Option<Arc<SharedSession>> {
        self.session_pool.idle()
    }

    pub(super) fn close(&self) {
        self.session_pool.close();
    }

    /// Returns the state of the repository.
    pub(super) fn status(&self, visit: &SharedSession) -> Result<String> {
        (self.status)(visit.repo())
    }

    /// Runs work that accesses a single path on a blocking thread; at most [`LOOKS`] at once.
    pub(super) async fn look<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _place = self.looks.acquire().await.map_err(|_| Error::Stopped)?;
        let site = Arc::clone(self);
        spawn_blocking(move || work(&site)).await.map_err(|_| Error::Stopped)?
    }
}

/// Answers a request. `is_known` is set once the request is authenticated.
pub(super) async fn answer(
    site: &Arc<AppState>,
    request: Request<Incoming>,
    is_known: &AtomicBool,
) -> Response<Body> {
    let (mut parts, mut body) = request.into_parts();
    let answered = match admission::pass(&site.access, &mut parts, &mut body, is_known).await {
        Ok(Door::Answered(response)) => response,
        Err(refusal) => response::text(refusal.status, &refusal.why),
        Ok(Door::Open { asked, base }) => {
            let for_people = asked.first() != b"dav";
            match admitted(site, parts, body, asked, &base).await {
                Ok(response) => response,
                Err(refusal) if for_people => pages::refusal(&site.title, &refusal, &base),
                Err(refusal) => response::text(refusal.status, &refusal.why),
            }
        }
    };
    response::guarded(answered)
}

async fn admitted(
    site: &Arc<AppState>,
    parts: Parts,
    body: Incoming,
    asked: PageRequest,
    base: &str,
) -> Result<Response<Body>, HttpError> {
    if body.size_hint().lower() > LONGEST as u64 {
        return Err(HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, too_long()));
    }
    let is_dav = asked.first() == b"dav";
    let methods: &[&str] = if is_dav { &["GET", "HEAD", "OPTIONS", "PROPFIND"] } else { &["GET", "HEAD"] };
    if !methods.contains(&parts.method.as_str()) {
        let why = format!("nothing is written here: only {} are answered", methods.join(", "));
        let mut response = response::text(StatusCode::METHOD_NOT_ALLOWED, &why);
        if let Ok(methods) = HeaderValue::from_str(&methods.join(", ")) {
            response.headers_mut().insert(header::ALLOW, methods);
        }
        return Ok(response);
    }
    if is_dav {
        let request = Request::from_parts(parts, Full::new(whole(body).await?));
        return Ok(webdav(site, &asked, request).await);
    }
    page(site, asked, &parts.method, base).await
}

/// Waits for a permit, but not forever: its holder may read for hours.
async fn in_turn<T>(place: impl Future<Output = Result<T, AcquireError>>) -> Result<T, HttpError> {
    let busy = "others are being answered: try again when they have what they asked for";
    let busy = |_| HttpError::new(StatusCode::SERVICE_UNAVAILABLE, busy);
    timeout(TIMEOUT, place).await.map_err(busy)?.map_err(|_| Error::Stopped.into())
}

fn too_long() -> String {
    format!("a request's body has at most {LONGEST} bytes")
}

/// Reads a body up to its maximum length, with a timeout.
async fn whole(body: Incoming) -> Result<Bytes, HttpError> {
    let body = timeout(TIMEOUT, Limited::new(body, LONGEST).collect()).await;
    let late = |_| HttpError::new(StatusCode::REQUEST_TIMEOUT, "the request did not come to its end");
    match body.map_err(late)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, too_long()))
        }
        Err(_) => Err(HttpError::new(StatusCode::BAD_REQUEST, "the request broke off")),
    }
}

async fn webdav(
    site: &Arc<AppState>,
    asked: &PageRequest,
    mut request: Request<Full<Bytes>>,
) -> Response<Body> {
    // A thousand ranges would mean a thousand files in one response. Without the header, the client gets the
    // whole file.
    if request.headers().get(header::RANGE).is_some_and(|range| range.as_bytes().contains(&b',')) {
        request.headers_mut().remove(header::RANGE);
    }
    let is_file = matches!(*request.method(), Method::GET | Method::HEAD);
    let response = site.dav.handle_with(webdav::config(site), request).await;
    let mut response = response.map(BodyExt::boxed_unsync);
    if response.headers().contains_key("dav") {
        // Announces neither locks nor other features for writing.
        response.headers_mut().insert("dav", HeaderValue::from_static("1"));
    }
    match asked.path.last() {
        Some(name) if is_file && response.status().is_success() => response::attach(&mut response, name),
        _ if is_file && response.status() == StatusCode::NOT_FOUND => {
            return response::text(StatusCode::NOT_FOUND, "the snapshot holds no such file");
        }
        _ if is_file && response.status() == StatusCode::METHOD_NOT_ALLOWED => {
            let why = "a directory is listed by PROPFIND, and downloaded as an archive from its page";
            return response::text(StatusCode::METHOD_NOT_ALLOWED, why);
        }
        _ => {}
    }
    response
}

async fn page(
    site: &Arc<AppState>,
    asked: PageRequest,
    method: &Method,
    base: &str,
) -> Result<Response<Body>, HttpError> {
    let build: Shown = match asked.first() {
        b"" => pages::snapshots,
        b"s" => pages::browse,
        b"versions" => pages::versions,
        b"search" => pages::search,
        b"compare" => pages::compare,
        b"stats" => pages::stats,
        b"status" => pages::status,
        b"tar" => return archive(site, &asked, method).await,
        b"style.css" => return Ok(response::of(StatusCode::OK, "text/css; charset=utf-8", STYLE)),
        b"icon.svg" => return Ok(response::of(StatusCode::OK, "image/svg+xml", ICON)),
        _ => return Err(HttpError::not_found("there is no such page")),
    };
    let walks = matches!(asked.first(), b"versions" | b"search" | b"compare" | b"stats");
    let places = if walks { &site.walks } else { &site.looks };
    let _place = in_turn(places.acquire()).await?;
    let abandoned = Abandoned(Arc::default());
    let (stop, site) = (Arc::clone(&abandoned.0), Arc::clone(site));
    let built = spawn_blocking(move || {
        let visit = site.session_pool.visit()?;
        let page = build(&site, &visit, &asked, &stop);
        site.session_pool.pass_on_warnings();
        page
    });
    Ok(response::page(StatusCode::OK, built.await.map_err(|_| HttpError::from(Error::Stopped))??, base))
}

/// Returns the snapshot that the URL names by its full id.
pub(super) fn snapshot<'a>(visit: &'a SharedSession, asked: &PageRequest) -> Result<&'a Snapshot, HttpError> {
    let id = asked.path.get(1).and_then(|id| std::str::from_utf8(id).ok());
    let id = id.and_then(|id| SnapshotId::parse(id).ok());
    let gone = || HttpError::not_found("there is no such snapshot: it may have been forgotten since");
    id.and_then(|id| visit.browser.snapshot(&id)).ok_or_else(gone)
}

/// Returns `id:path` as a selector for operations; the path may contain any bytes.
pub(super) fn selector(id: &SnapshotId, path: &[u8]) -> Vec<u8> {
    let id = id.hex().into_bytes();
    if path.is_empty() { id } else { [&id, b":".as_slice(), path].concat() }
}

/// Responds with a snapshot or a part of it as tar.gz.
async fn archive(
    site: &Arc<AppState>,
    asked: &PageRequest,
    method: &Method,
) -> Result<Response<Body>, HttpError> {
    let path = asked.stored(2);
    let visit = site.look(|site| site.session_pool.visit()).await?;
    let id = snapshot(&visit, asked)?.id;
    let (read, sought) = (Arc::clone(&visit), path.clone());
    let found = site.look(move |_| {
        let snapshot = read.browser.snapshot(&id).ok_or(Error::Stopped)?;
        read.browser.entry(snapshot, &sought)
    });
    let nothing = || HttpError::not_found("the snapshot holds no such thing");
    found.await?.ok_or_else(nothing)?;
    let (mut pipe, body) = response::pipe();
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/gzip"));
    let short = id.short().into_bytes();
    let name = asked.path.get(2..).and_then(<[_]>::last).unwrap_or(&short);
    response::attach(&mut response, &[name.as_slice(), b".tar.gz"].concat());
    if method == Method::HEAD {
        return Ok(response);
    }
    let place = in_turn(Arc::clone(&site.archives).acquire_owned()).await?;
    let options = export::Options { selector: selector(&id, &path), ..export::Options::default() };
    let site = Arc::clone(site);
    spawn_blocking(move || {
        // A client that disconnects ends the export, because writes fail then.
        let never = AtomicBool::new(false);
        let done = export::run(visit.repo(), &options, &mut pipe, &site.session_pool, &never);
        pipe.end(done.is_ok());
        drop(place);
        site.session_pool.pass_on_warnings();
    });
    Ok(response)
}
