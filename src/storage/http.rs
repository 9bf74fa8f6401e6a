//! A blocking HTTP client for remote storage, with one request at a time per thread. TLS is rustls.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use ureq::http::header::CONTENT_LENGTH;
pub(crate) use ureq::http::header::CONTENT_RANGE;
use ureq::http::{HeaderMap, Request};
pub(crate) use ureq::http::{HeaderValue, Method, StatusCode};
use ureq::{SendBody, http};

use crate::error::UNTRUSTED;
use crate::storage::rate_limit::{PIECE, RateLimits};
use crate::storage::retry::{Retrier, RetryPolicy};
use crate::storage::tls::Tls;

/// Timeout for name resolution and connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of idle connections.
const MAX_IDLE: usize = 16;
/// Maximum bytes of an error response that are read.
const MAX_ERROR_TEXT: u64 = 64 << 10;

/// A client of one server.
#[derive(Debug)]
pub(crate) struct Http {
    agent: ureq::Agent,
    limits: Arc<RateLimits>,
    retrier: Arc<Retrier>,
}

pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// Reading fails if the body ends early.
    pub(crate) body: Box<dyn Read + Send>,
}

/// No response was received; whether the request was carried out is unknown.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Lost(pub(crate) String);

impl Http {
    pub(crate) fn new(
        retrier: Arc<Retrier>,
        retry_policy: RetryPolicy,
        limits: Arc<RateLimits>,
        tls: &Tls,
    ) -> Self {
        let timeout = Some(retry_policy.timeout);
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .tls_config(tls.config())
            .user_agent(concat!("snap/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(CONNECT_TIMEOUT))
            .timeout_connect(Some(CONNECT_TIMEOUT.min(retry_policy.timeout)))
            .timeout_per_read(timeout)
            .timeout_per_write(timeout)
            .max_idle_connections(MAX_IDLE)
            .max_idle_connections_per_host(MAX_IDLE)
            .build()
            .into();
        Self { agent, limits, retrier }
    }

    /// Sends a request and waits for the response's headers. A body is given with its length.
    pub(crate) fn send(
        &self,
        mut head: http::request::Parts,
        body: Option<(&mut dyn Read, u64)>,
    ) -> Result<Response, Lost> {
        let has_body = matches!(head.method, Method::PUT | Method::POST);
        let answer = if has_body {
            let mut none = io::empty();
            let (source, len) = body.unwrap_or((&mut none, 0));
            head.headers.insert(CONTENT_LENGTH, len.into());
            let mut limited = RequestBody { source, limits: &self.limits };
            self.agent.run(Request::from_parts(head, SendBody::from_reader(&mut limited)))
        } else {
            self.agent.run(Request::from_parts(head, SendBody::none()))
        };
        let answer = answer.map_err(|err| Lost(describe_error(&err)))?;
        self.retrier.record_answer();
        let (head, body) = answer.into_parts();
        let body = Box::new(ResponseBody { source: body.into_reader(), limits: Arc::clone(&self.limits) });
        Ok(Response { status: head.status, headers: head.headers, body })
    }
}

pub(crate) fn request(method: Method, url: &str) -> http::request::Parts {
    let mut head = Request::new(()).into_parts().0;
    head.method = method;
    // An invalid URL makes the request fail when it is sent.
    head.uri = url.parse().unwrap_or_default();
    head
}

impl Response {
    /// Returns the length of the body, if the server reports it.
    pub(crate) fn len(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// Returns whether the status is a success.
    pub(crate) fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// Returns the text of an error response, as much of it as can be read.
    pub(crate) fn error_text(&mut self) -> String {
        let mut text = Vec::new();
        // A truncated text is better than none.
        let _ = self.body.by_ref().take(MAX_ERROR_TEXT).read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// A rate-limited request body.
struct RequestBody<'a> {
    source: &'a mut dyn Read,
    limits: &'a RateLimits,
}

impl Read for RequestBody<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = if self.limits.shapes_sending() { PIECE.min(out.len()) } else { out.len() };
        let count = self.source.read(out.split_at_mut(most).0)?;
        self.limits.send(count);
        Ok(count)
    }
}

/// A rate-limited response body.
struct ResponseBody<R> {
    source: R,
    limits: Arc<RateLimits>,
}

impl<R: Read> Read for ResponseBody<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = if self.limits.shapes_receiving() { PIECE.min(out.len()) } else { out.len() };
        let count = self.source.read(out.split_at_mut(most).0)?;
        self.limits.receive(count);
        Ok(count)
    }
}

/// Reads slices one after the other.
pub(crate) struct Parts<'a> {
    rest: std::slice::Iter<'a, &'a [u8]>,
    current: &'a [u8],
}

impl<'a> Parts<'a> {
    pub(crate) fn new(parts: &'a [&'a [u8]]) -> Self {
        Self { rest: parts.iter(), current: &[] }
    }
}

impl Read for Parts<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            let Some(next) = self.rest.next() else { return Ok(0) };
            self.current = next;
        }
        self.current.read(out)
    }
}

fn describe_error(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => "the server does not respond".to_owned(),
        ureq::Error::HostNotFound => "its host name cannot be resolved".to_owned(),
        ureq::Error::Io(err) => rephrase_certificate_error(err.to_string()),
        other => rephrase_certificate_error(other.to_string()),
    }
}

/// Rephrases rustls's message about a certificate.
fn rephrase_certificate_error(message: String) -> String {
    match message.split_once("invalid peer certificate: ") {
        Some((_, why)) => format!("{UNTRUSTED} ({why})"),
        None => message,
    }
}
