//! Connections: their number, their timeouts, and how much an unauthenticated client may send.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::TcpListener as Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet, spawn_blocking};
use tokio::time::{Sleep, sleep, timeout};

use crate::serve::app_state::AppState;
use crate::serve::response::TIMEOUT;
use crate::serve::router;

/// Maximum number of connections; more wait until one ends.
const CONNECTIONS: usize = 64;
/// Maximum number of connections without an authenticated request. One more closes the oldest of them.
const STRANGERS: usize = 16;
/// Buffer size in bytes for a request's head; `admission` enforces the exact limit.
const HEAD: usize = 32 << 10;
/// Maximum number of header lines in a request.
const LINES: usize = 64;
/// A client that has not sent a complete head after this long is disconnected.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum delay before a signal is noticed.
const TICK: Duration = Duration::from_millis(100);

/// Accepts connections until `stop` is set.
///
/// # Errors
/// The listener cannot be used.
pub(super) async fn serve(listener: Bound, site: &Arc<AppState>, stop: &AtomicBool) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut strangers = Strangers::default();
    while !stop.load(Ordering::Relaxed) {
        while connections.try_join_next().is_some() {}
        if let Some(visit) = site.idle() {
            spawn_blocking(move || drop(visit));
        }
        // Without a permit, a connection waits in the kernel's backlog.
        let Ok(place) = Arc::clone(&room).try_acquire_owned() else {
            sleep(TICK).await;
            continue;
        };
        let Ok(accepted) = timeout(TICK, listener.accept()).await else { continue };
        match accepted {
            Ok((stream, _)) => {
                let (site, is_known) = (Arc::clone(site), Arc::new(AtomicBool::new(false)));
                let known = Arc::clone(&is_known);
                let task = connections.spawn(async move {
                    let _place = place;
                    // A disconnected client is not an error of the server.
                    let _ = converse(stream, site, known).await;
                });
                strangers.add(is_known, task);
            }
            // For instance too many open files: retry later instead of spinning.
            Err(_) => sleep(TICK).await,
        }
    }
    connections.shutdown().await;
    Ok(())
}

/// Connections without an authenticated request. A client that opens many idle ones must not lock out others,
/// so their number is limited, and a new connection replaces the oldest.
#[derive(Default)]
struct Strangers(VecDeque<(Arc<AtomicBool>, AbortHandle)>);

impl Strangers {
    fn add(&mut self, is_known: Arc<AtomicBool>, task: AbortHandle) {
        self.0.retain(|(is_known, task)| !is_known.load(Ordering::Relaxed) && !task.is_finished());
        if self.0.len() >= STRANGERS
            && let Some((_, oldest)) = self.0.pop_front()
        {
            oldest.abort();
        }
        self.0.push_back((is_known, task));
    }
}

async fn converse(stream: TcpStream, site: Arc<AppState>, is_known: Arc<AtomicBool>) -> hyper::Result<()> {
    // Responses are written in large pieces, so Nagle's algorithm would only delay them.
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request| {
        let (site, is_known) = (Arc::clone(&site), Arc::clone(&is_known));
        async move { Ok::<_, Infallible>(router::answer(&site, request, &is_known).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(LINES)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(Patient { stream, stalled: None }), answer)
        .await
}

/// A stream that fails if the client accepts no data for too long, because an unfinished response keeps a
/// session open.
struct Patient {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn check_deadline<T>(
        &mut self,
        context: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.stalled = None;
            return done;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(TIMEOUT)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.check_deadline(context, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.check_deadline(context, done)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// All but the sixteen newest unauthenticated connections are closed, however many arrive. Authenticated
    /// ones are not affected.
    #[test]
    fn unauthenticated_clients_have_16_slots_newest_first() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let hung_up: Vec<usize> = runtime.block_on(async {
            let mut tasks = JoinSet::new();
            let mut strangers = Strangers::default();
            let known = Arc::new(AtomicBool::new(true));
            let handles: Vec<AbortHandle> = (0..40)
                .map(|number| {
                    let handle = tasks.spawn(std::future::pending::<()>());
                    let is_known = if number == 3 { Arc::clone(&known) } else { Arc::default() };
                    strangers.add(is_known, handle.clone());
                    handle
                })
                .collect();
            // Aborted tasks end only when they are scheduled.
            for _ in 0..handles.len() {
                tokio::task::yield_now().await;
            }
            (0..handles.len()).filter(|at| handles[*at].is_finished()).collect()
        });
        let wanted: Vec<usize> = (0..24).filter(|at| *at != 3).collect();
        assert_eq!(hung_up, wanted);
    }
}
