//! The HTTP transport for `object_store`: each request is made on the thread that waits for it, so no async
//! runtime is needed.

use std::future::Future;
use std::io::{self, Read};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use parking_lot::Mutex;

use crate::storage::http::{CONTENT_RANGE, Http, Lost, Response, StatusCode};

/// Bytes of a response body that are passed on at once.
const CHUNK: usize = 64 << 10;

/// Runs a future on this thread. Its requests block the thread; it is pending only while it waits for an
/// access token that another thread requests.
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// An error response. It is passed as an error through `object_store`, which would otherwise drop the reason.
#[derive(Debug, thiserror::Error)]
#[error("the server answered {status} {code}")]
pub(super) struct Refused {
    pub(super) status: u16,
    /// The server's error code, such as `NoSuchBucket`; empty if it has none.
    pub(super) code: String,
    /// The server's message, if there is one.
    pub(super) message: String,
}

/// Creates clients that share one agent.
#[derive(Debug)]
pub(super) struct Connector(pub(super) Arc<Http>);

impl HttpConnector for Connector {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Service(Arc::clone(&self.0))))
    }
}

#[derive(Debug)]
struct Service(Arc<Http>);

impl HttpService for Service {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(std::future::ready(self.request(request)))
    }
}

impl Service {
    fn request(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, body) = request.into_parts();
        let len = body.content_length() as u64;
        let mut source = RequestBody { body, current: Bytes::new() };
        let answer = self.0.send(head, Some((&mut source, len)));
        let mut answer = answer.map_err(|lost| HttpError::new(HttpErrorKind::Unknown, lost))?;
        if !answer.is_success() {
            return Err(HttpError::new(HttpErrorKind::Unknown, refused(answer)));
        }
        // Some servers send partial responses with status 200.
        if answer.status == StatusCode::OK && answer.headers.contains_key(CONTENT_RANGE) {
            answer.status = StatusCode::PARTIAL_CONTENT;
        }
        let body = HttpResponseBody::new(ResponseBody(Mutex::new(answer.body)));
        let mut response = HttpResponse::new(body);
        *response.headers_mut() = answer.headers;
        *response.status_mut() = answer.status;
        Ok(response)
    }
}

fn refused(mut answer: Response) -> Refused {
    let text = answer.error_text();
    let between = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once("</").map(|(text, _)| text.trim().to_owned())
    };
    let header = answer.headers.get("x-ms-error-code").and_then(|code| code.to_str().ok()).map(str::to_owned);
    let code = header.or_else(|| between("Code")).unwrap_or_default();
    let message = between("Message").unwrap_or_default();
    Refused { status: answer.status.as_u16(), code, message }
}

/// A request body as a reader.
struct RequestBody {
    body: HttpRequestBody,
    current: Bytes,
}

impl Read for RequestBody {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            // All of the body is in memory, so polling never waits.
            match Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(frame))) => self.current = frame.into_data().unwrap_or_default(),
                Poll::Ready(Some(Err(err))) => return Err(io::Error::other(err)),
                Poll::Ready(None) => return Ok(0),
                Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
            }
        }
        let count = self.current.len().min(out.len());
        if let Some(out) = out.get_mut(..count) {
            self.current.copy_to_slice(out);
        }
        Ok(count)
    }
}

/// A response body. The mutex is never contended; it only makes the reader `Sync`.
struct ResponseBody(Mutex<Box<dyn Read + Send>>);

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        let source = self.get_mut().0.get_mut();
        let mut chunk = vec![0; CHUNK];
        let read = loop {
            match source.read(&mut chunk) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        Poll::Ready(match read {
            Ok(0) => None,
            Ok(count) => {
                chunk.truncate(count);
                Some(Ok(Frame::data(chunk.into())))
            }
            Err(err) => Some(Err(HttpError::new(HttpErrorKind::Interrupted, Lost(err.to_string())))),
        })
    }
}
