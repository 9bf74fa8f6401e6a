//! One SFTP connection with pipelined requests: responses are matched to requests by number. Any number of
//! threads may send requests concurrently, and one thread may send many before it waits.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::{Mutex, MutexGuard};

use crate::storage::rate_limit::{PIECE, RateLimits};
use crate::storage::sftp::protocol::{self, Reply, Request};

/// A server that is silent for this long is considered lost. Syncing a pack on a busy disk takes seconds.
const SILENCE: Duration = Duration::from_secs(300);
/// Bytes per read or write that every server supports (section 3 of the draft).
const ALWAYS: u64 = 32 << 10;
/// Maximum bytes per read or write, however much a server would accept.
const MOST: u64 = 255 << 10;

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Fail {
    /// The connection is lost; whether the request was carried out is unknown.
    Lost(String),
    /// The server returned an error.
    Status {
        /// An `SSH_FX_` code.
        code: u32,
        message: String,
    },
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Channel {
    child: Mutex<Child>,
    input: Mutex<Option<ChildStdin>>,
    shared: Arc<Mutex<Waiting>>,
    extensions: Vec<String>,
    /// Bytes per read, and per write.
    sizes: (u64, u64),
    limits: Arc<RateLimits>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u32,
    answers: HashMap<u32, Sender<Reply>>,
    lost: Option<String>,
}

#[derive(Debug)]
pub(super) struct Pending {
    answer: Receiver<Reply>,
    shared: Arc<Mutex<Waiting>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

impl Channel {
    /// Starts the command and performs the handshake with the server behind it.
    pub(super) fn open(mut command: Command, limits: Arc<RateLimits>) -> Result<Self, Fail> {
        let lost = |err: io::Error| Fail::Lost(format!("ssh cannot be started: {err}"));
        // ssh's messages (a changed host key, a rejected key) go to the user's terminal.
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(lost)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(mut input), Some(mut output)) = (input, output) else {
            return Err(Fail::Lost("ssh has no input or output".into()));
        };
        // A program that is not a server may have closed its input; what it printed is the better error
        // message.
        let sent = input.write_all(&protocol::greeting()).and_then(|()| input.flush());
        let greeted = packet(&mut output).and_then(|packet| sent.map(|()| packet));
        let greeted = greeted.and_then(|packet| protocol::extensions(&packet).map_err(io::Error::other));
        let extensions = match greeted {
            Ok(extensions) => extensions,
            Err(err) => {
                drop(input);
                if err.kind() != io::ErrorKind::UnexpectedEof {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(Fail::Lost(format!("the SFTP handshake failed: {err}")));
                }
                // ssh has printed the reason, or is about to.
                let code = end(&mut child).and_then(|status| status.code());
                let how = code.map_or("closed the connection".to_owned(), |code| {
                    format!(
                        "exited with code \
                     {code}"
                    )
                });
                return Err(Fail::Lost(format!("ssh {how} before the SFTP server responded")));
            }
        };
        let shared = Arc::new(Mutex::new(Waiting::default()));
        let waiting = Arc::clone(&shared);
        let receiver =
            std::thread::Builder::new().name("sftp".into()).spawn(move || receive(&mut output, &waiting));
        receiver.map_err(|err| Fail::Lost(format!("cannot start a thread for responses: {err}")))?;
        let (child, input) = (Mutex::new(child), Mutex::new(Some(input)));
        let mut channel = Self { child, input, shared, extensions, sizes: (ALWAYS, ALWAYS), limits };
        if channel.knows("limits@openssh.com")
            && let Reply::Extended(bytes) = channel.ask(&Request::Limits)?
            && let Ok((read, write)) = protocol::limits(&bytes)
        {
            let size = |limit: u64| if limit == 0 { MOST } else { limit.clamp(1, MOST) };
            channel.sizes = (size(read), size(write));
        }
        Ok(channel)
    }

    /// Returns whether the server has an extension.
    pub(super) fn knows(&self, extension: &str) -> bool {
        self.extensions.iter().any(|known| known == extension)
    }

    pub(super) fn read_size(&self) -> u64 {
        if self.limits.shapes_receiving() { PIECE as u64 } else { self.sizes.0 }
    }

    pub(super) fn write_size(&self) -> u64 {
        if self.limits.shapes_sending() { PIECE as u64 } else { self.sizes.1 }
    }

    /// Returns the rate limits for file data.
    pub(super) fn limits(&self) -> &RateLimits {
        &self.limits
    }

    /// Sends a request without waiting for the response.
    pub(super) fn send(&self, request: &Request<'_>) -> Result<Pending, Fail> {
        let (send, answer) = bounded(1);
        let id = {
            let mut waiting = lock(&self.shared);
            if let Some(why) = &waiting.lost {
                return Err(Fail::Lost(why.clone()));
            }
            let id = waiting.next;
            waiting.next = id.wrapping_add(1);
            waiting.answers.insert(id, send);
            id
        };
        let mut input = lock(&self.input);
        let written =
            input.as_mut().map(|input| input.write_all(&request.packet(id)).and_then(|()| input.flush()));
        match written {
            Some(Ok(())) => Ok(Pending { answer, shared: Arc::clone(&self.shared) }),
            Some(Err(err)) => Err(Fail::Lost(err.to_string())),
            None => Err(Fail::Lost("the connection was closed".into())),
        }
    }

    /// Sends a request and waits for its response.
    pub(super) fn ask(&self, request: &Request<'_>) -> Result<Reply, Fail> {
        self.send(request)?.wait()
    }

    /// Like [`Self::ask`], for requests whose response is only a status.
    pub(super) fn order(&self, request: &Request<'_>) -> Result<(), Fail> {
        self.send(request)?.done()
    }

    /// Opens a file or folder and returns its handle.
    pub(super) fn handle(&self, request: &Request<'_>) -> Result<Vec<u8>, Fail> {
        self.send(request)?.handle()
    }

    /// Closes a handle without waiting.
    pub(super) fn close(&self, handle: &[u8]) {
        // If this fails, the connection is lost, which the next request will report.
        drop(self.send(&Request::Close { handle }));
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // The server exits when its input is closed.
        *lock(&self.input) = None;
        end(&mut lock(&self.child));
    }
}

/// Waits for a program that has nothing more to do. It is killed if it does not exit within two seconds.
fn end(child: &mut Child) -> Option<ExitStatus> {
    for _ in 0..100 {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            ended => return ended.ok().flatten(),
        }
    }
    let _ = child.kill();
    child.wait().ok()
}

impl Pending {
    /// Waits for the response; an error status is a failure.
    pub(super) fn wait(self) -> Result<Reply, Fail> {
        match self.answer.recv_timeout(SILENCE) {
            Ok(Reply::Status { code, message }) if code != 0 => Err(Fail::Status { code, message }),
            Ok(reply) => Ok(reply),
            Err(_) => {
                let mut waiting = lock(&self.shared);
                let why = waiting.lost.get_or_insert_with(|| "the server does not respond".into());
                Err(Fail::Lost(why.clone()))
            }
        }
    }

    /// Waits for the status of the request.
    pub(super) fn done(self) -> Result<(), Fail> {
        match self.wait()? {
            Reply::Status { .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    pub(super) fn handle(self) -> Result<Vec<u8>, Fail> {
        match self.wait()? {
            Reply::Handle(handle) => Ok(handle),
            other => Err(unexpected(&other)),
        }
    }
}

/// A response that does not match its request: nothing on this connection can be trusted.
pub(super) fn unexpected(reply: &Reply) -> Fail {
    let kind = match reply {
        Reply::Status { .. } => "a status",
        Reply::Handle(_) => "a handle",
        Reply::Data(_) => "data",
        Reply::Names(_) => "names",
        Reply::Attributes(_) => "attributes",
        Reply::Extended(_) => "an extended reply",
    };
    Fail::Lost(format!("the server sent {kind} in response to another kind of request"))
}

/// Reads a packet and strips its length.
fn packet(output: &mut ChildStdout) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    output.read_exact(&mut len)?;
    let len = u32::from_be_bytes(len);
    if len > protocol::MAX_REPLY {
        return Err(io::Error::other(
            "the response is not from an SFTP server: the login shell of the server \
                                     may print text",
        ));
    }
    let mut bytes = vec![0; len as usize];
    output.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The receiver: dispatches responses until the connection ends.
fn receive(output: &mut ChildStdout, shared: &Mutex<Waiting>) {
    let why = loop {
        let heard = packet(output).and_then(|packet| protocol::reply(&packet).map_err(io::Error::other));
        match heard {
            Ok((id, reply)) => {
                // The requester may no longer wait.
                if let Some(asker) = lock(shared).answers.remove(&id) {
                    let _ = asker.send(reply);
                }
            }
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => {
                break "the connection was closed".to_owned();
            }
            Err(err) => break err.to_string(),
        }
    };
    let mut waiting = lock(shared);
    waiting.lost.get_or_insert(why);
    // Wakes all waiting requesters with an error.
    waiting.answers.clear();
}
