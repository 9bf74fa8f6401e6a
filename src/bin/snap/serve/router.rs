//! Routes requests to their responses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, header};
use maud::Markup;
use snap_backup::Error;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::pages::{self, Shown};
use crate::serve::admission::Checked;
use crate::serve::app_state::{AppState, in_turn};
use crate::serve::request::PageRequest;
use crate::serve::response::{Body, HttpError, TIMEOUT};
use crate::serve::{actions, admission, downloads, response, style, webdav};

/// Maximum length in bytes of a request's body; a PROPFIND lists a few properties.
const LONGEST: usize = 64 << 10;
/// Maximum length in bytes of a form, which may list all entries of a page.
const FORM: usize = 512 << 10;

/// Seconds after which the overview is reloaded.
const REFRESH: u32 = 60;
/// Seconds after which a page about running work is reloaded.
const PROGRESS: u32 = 1;

/// Sets the flag when it is dropped, because the client has disconnected.
struct Abandoned(Arc<AtomicBool>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
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
        Ok(Checked::Answered(response)) => response,
        Err(refusal) => response::text(refusal.status, &refusal.why),
        Ok(Checked::Admitted { asked, base }) => {
            let for_people = asked.first() != b"dav";
            // An overview that failed is reloaded as well.
            let again = refresh(site, &asked, &base);
            match admitted(site, parts, body, asked, &base).await {
                Ok(response) => response,
                Err(refusal) if for_people => refreshed(pages::refusal(&site.title, &refusal, &base), again),
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
    let is_dav = asked.first() == b"dav";
    let is_form = parts.method == Method::POST && actions::takes(&asked);
    let most = if is_form { FORM } else { LONGEST };
    if body.size_hint().lower() > most as u64 {
        return Err(HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, too_long(most)));
    }
    if is_form {
        let form = actions::checked(&parts, &whole(body, most).await?, &asked)?;
        return actions::answer(site, &asked, &form, base).await;
    }
    let methods: &[&str] = if is_dav { &["GET", "HEAD", "OPTIONS", "PROPFIND"] } else { &["GET", "HEAD"] };
    if !methods.contains(&parts.method.as_str()) {
        let why = format!("this server is read-only: only {} are allowed", methods.join(", "));
        let mut response = response::text(StatusCode::METHOD_NOT_ALLOWED, &why);
        if let Ok(methods) = HeaderValue::from_str(&methods.join(", ")) {
            response.headers_mut().insert(header::ALLOW, methods);
        }
        return Ok(response);
    }
    if is_dav {
        let request = Request::from_parts(parts, Full::new(whole(body, most).await?));
        return Ok(webdav(site, &asked, request).await);
    }
    page(site, asked, &parts.method, base).await
}

fn too_long(most: usize) -> String {
    format!("the body of a request can have at most {most} bytes")
}

/// Reads a body up to its maximum length, with a timeout.
async fn whole(body: Incoming, most: usize) -> Result<Bytes, HttpError> {
    let body = timeout(TIMEOUT, Limited::new(body, most).collect()).await;
    let late = |_| HttpError::new(StatusCode::REQUEST_TIMEOUT, "the request is incomplete");
    match body.map_err(late)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, too_long(most)))
        }
        Err(_) => Err(HttpError::new(StatusCode::BAD_REQUEST, "the request was aborted")),
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
        // Announces no locks or other write features.
        response.headers_mut().insert("dav", HeaderValue::from_static("1"));
    }
    match asked.path.last() {
        Some(name) if is_file && response.status().is_success() => response::attach(&mut response, name),
        _ if is_file && response.status() == StatusCode::NOT_FOUND => {
            return response::text(StatusCode::NOT_FOUND, "the snapshot has no such file");
        }
        _ if is_file && response.status() == StatusCode::METHOD_NOT_ALLOWED => {
            let why = "directories are listed with PROPFIND and downloaded as archives from their pages";
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
    let build = match asked.first() {
        b"tar" => return downloads::archive(site, &asked, method, downloads::Form::TarGz).await,
        b"zip" => return downloads::archive(site, &asked, method, downloads::Form::Zip).await,
        b"preview" => return downloads::preview(site, &asked).await,
        b"style.css" => return Ok(response::of(StatusCode::OK, "text/css; charset=utf-8", style::PAGES)),
        b"icon.svg" => return Ok(response::of(StatusCode::OK, "image/svg+xml", style::ICON)),
        first => shown(first).ok_or_else(|| HttpError::not_found("there is no such page"))?,
    };
    let walks = matches!(asked.first(), b"versions" | b"difference" | b"search" | b"compare")
        || asked.value("gone").is_some()
        || asked.first() == b"s" && asked.value("sort").is_some()
        || asked.value("sizes").is_some();
    let (key, here) = (asked.key(), asked.again(&[("auto", "on"), ("again", "")]));
    let mut again = refresh(site, &asked, base);
    let counts = matches!(asked.first(), b"stats" | b"usage");
    let page = built(site, asked, build, walks).await?;
    if counts && !site.background.is_done(&key) {
        again = HeaderValue::from_str(&format!("{PROGRESS};url={base}{here}")).ok();
    }
    Ok(refreshed(response::page(StatusCode::OK, page, base), again))
}

/// Makes the browser reload the page automatically.
fn refreshed(mut response: Response<Body>, again: Option<HeaderValue>) -> Response<Body> {
    if let Some(again) = again {
        response.headers_mut().insert(header::REFRESH, again);
    }
    response
}

/// Returns the function that builds the pages with this first path component.
fn shown(first: &[u8]) -> Option<Shown> {
    Some(match first {
        b"" => pages::overview,
        b"snapshots" => pages::snapshots,
        b"s" => pages::browse,
        b"versions" => pages::versions,
        b"difference" => pages::difference,
        b"search" => pages::search,
        b"compare" => pages::compare,
        b"stats" => pages::stats,
        b"usage" => pages::usage,
        b"status" => pages::status,
        b"jobs" => pages::jobs,
        b"logins" => pages::logins,
        _ => return None,
    })
}

/// Builds a page on a blocking thread.
async fn built(
    site: &Arc<AppState>,
    asked: PageRequest,
    build: Shown,
    walks: bool,
) -> Result<Markup, HttpError> {
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
    built.await.map_err(|_| HttpError::from(Error::Stopped))?
}

/// Returns when the browser reloads a page, and with which URL. This applies to the overview, unless the user
/// has turned it off, and to a running job. Such a request does not keep a browser signed in.
fn refresh(site: &AppState, asked: &PageRequest, base: &str) -> Option<HeaderValue> {
    let again = match asked.first() {
        b"" if asked.value("refresh") != Some(b"off") => format!("{REFRESH};url={base}/?auto=on"),
        b"jobs" => {
            let job = asked.text_at(1).parse::<u64>().ok().and_then(|id| site.jobs.job(id))?;
            job.end().is_none().then(|| format!("{PROGRESS};url={base}/jobs/{}?auto=on", job.id))?
        }
        _ => return None,
    };
    HeaderValue::from_str(&again).ok()
}
