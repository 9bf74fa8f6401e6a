//! Bodies of responses, and the headers that all responses have.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Response, StatusCode, header};
use maud::Markup;
use snap_backup::{Error, ErrorKind};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::advice;
use crate::serve::url::encoded;
use crate::terminal::output;

/// A client that accepts no data for this long is disconnected.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum number of pieces of an archive that are buffered.
const AHEAD: usize = 4;
/// Approximate size of such a piece in bytes.
const PIECE: usize = 64 << 10;

/// The body type of all responses.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Headers of all responses. No scripts, no external resources, no framing; no other site may read or embed
/// a response, and nothing may cache it.
const FOR_ALL: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src 'self'; frame-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // With `no-referrer`, browsers send `Origin: null` with the forms of this server's own pages.
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (header::VARY, "Cookie, Authorization"),
];

/// Status and message for a failed request.
#[derive(Debug)]
pub(super) struct HttpError {
    pub(super) status: StatusCode,
    pub(super) why: String,
}

impl HttpError {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    pub(super) fn not_found(why: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, why)
    }
}

/// Maps an error to a status, depending on whether the client or the server caused it.
impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        if let Error::NoRepository { location } = &error {
            let why = format!("there is no repository at {location} at the moment: is its disk connected?");
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, why);
        }
        let status = match error.kind() {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Usage => StatusCode::BAD_REQUEST,
            ErrorKind::Refused => StatusCode::CONFLICT,
            ErrorKind::Interrupted | ErrorKind::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, advice::message_with_hint(&error))
    }
}

/// Returns a plain text response.
pub(super) fn text(status: StatusCode, text: &str) -> Response<Body> {
    of(status, "text/plain; charset=utf-8", format!("{}\n", output::printable(text)))
}

/// Returns a redirect to another page, which the browser requests with GET.
///
/// # Errors
/// The URL cannot be a header.
pub(super) fn see_other(to: &str) -> Result<Response<Body>, HttpError> {
    let bad = |_| HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "there is no such address");
    let mut response = text(StatusCode::SEE_OTHER, "continue at the new location");
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_str(to).map_err(bad)?);
    Ok(response)
}

/// Returns a page in which links begin with `base`. All text in it is escaped, so a quotation mark before a
/// slash occurs only at the beginning of an attribute.
pub(super) fn page(status: StatusCode, page: Markup, base: &str) -> Response<Body> {
    let mut page = page.into_string();
    if !base.is_empty() {
        for attribute in ["href", "action", "src"] {
            page = page.replace(&format!("{attribute}=\"/"), &format!("{attribute}=\"{base}/"));
        }
    }
    of(status, "text/html; charset=utf-8", page)
}

/// Returns a response with a complete body of this type.
pub(super) fn of(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Adds the headers that all responses have. A response may have a policy of its own for its content.
pub(super) fn guarded(mut response: Response<Body>) -> Response<Body> {
    let own = response.headers_mut().remove(header::CONTENT_SECURITY_POLICY);
    for (name, value) in FOR_ALL {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Some(own) = own {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, own);
    }
    response
}

/// Makes the response a download with this file name, never shown inline.
pub(super) fn attach(response: &mut Response<Body>, name: &[u8]) {
    let text = String::from_utf8_lossy(name);
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.+ ".contains(c) { c } else { '_' };
    let ascii: String = text.chars().map(plain).collect();
    let value = format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{}", encoded(text.as_bytes()));
    if let Ok(value) = HeaderValue::from_str(&value) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
}

/// Returns both ends of a body that is written by a thread and sent as it is produced.
pub(super) fn pipe() -> (Pipe, Body) {
    let (sender, receiver) = channel(AHEAD);
    (Pipe { sender, waiting: Vec::new() }, Coming(receiver).boxed_unsync())
}

/// The writing end, for a thread that may block. Writes fail once the client has disconnected.
pub(super) struct Pipe {
    sender: Sender<io::Result<Bytes>>,
    waiting: Vec<u8>,
}

impl Pipe {
    fn send(&self, piece: io::Result<Bytes>) -> io::Result<()> {
        self.sender.blocking_send(piece).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Ends a complete body, or aborts an incomplete one, so that it is not mistaken for complete.
    pub(super) fn end(mut self, whole: bool) {
        // If the client has disconnected, the error cannot be reported to anybody.
        let _ = if whole { self.flush() } else { self.send(Err(io::ErrorKind::UnexpectedEof.into())) };
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.waiting);
        if piece.is_empty() { Ok(()) } else { self.send(Ok(piece.into())) }
    }
}

struct Coming(Receiver<io::Result<Bytes>>);

impl hyper::body::Body for Coming {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
