//! One SFTP connection with pipelined requests: responses are matched to requests by number. Any number of
//! threads may send requests concurrently, and one thread may send many before it waits.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use crate::storage::rate_limit::{PIECE, RateLimits};
use crate::storage::sftp::protocol::{self, Reply, Request};

/// A server that is silent for this long is considered lost. Syncing a pack on a busy disk takes seconds.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(300);
/// Bytes per read or write that every server supports (section 3 of the draft).
const GUARANTEED_SIZE: u64 = 32 << 10;
/// Maximum bytes per read or write, however much a server would accept.
const MAX_SIZE: u64 = 255 << 10;

/// Why a request failed.
#[derive(Debug)]
pub(super) enum RequestError {
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
    shared: Arc<Mutex<Requests>>,
    extensions: Vec<String>,
    /// Bytes per read, and per write.
    sizes: (u64, u64),
    limits: Arc<RateLimits>,
}

#[derive(Debug, Default)]
/// Requests that wait for their responses.
struct Requests {
    next_id: u32,
    senders: HashMap<u32, Sender<Reply>>,
    /// Why the connection was lost, if it was.
    lost: Option<String>,
}

/// A request that was sent.
#[derive(Debug)]
pub(super) struct Pending {
    reply: Receiver<Reply>,
    shared: Arc<Mutex<Requests>>,
}

impl Channel {
    /// Starts the command and performs the handshake with the server behind it.
    pub(super) fn open(mut command: Command, limits: Arc<RateLimits>) -> Result<Self, RequestError> {
        let lost = |err: io::Error| RequestError::Lost(format!("ssh cannot be started: {err}"));
        // ssh's messages (a changed host key, a rejected key) go to the user's terminal.
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(lost)?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(mut input), Some(mut output)) = (input, output) else {
            return Err(RequestError::Lost("ssh has no input or output".into()));
        };
        // A program that is not a server may have closed its input; what it printed is the better error
        // message.
        let sent = input.write_all(&protocol::init_packet()).and_then(|()| input.flush());
        let response = read_packet(&mut output).and_then(|packet| sent.map(|()| packet));
        let response = response.and_then(|packet| protocol::extensions(&packet).map_err(io::Error::other));
        let extensions = match response {
            Ok(extensions) => extensions,
            Err(err) => {
                drop(input);
                if err.kind() != io::ErrorKind::UnexpectedEof {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(RequestError::Lost(format!("the SFTP handshake failed: {err}")));
                }
                // ssh has printed the reason, or is about to.
                let code = wait_or_kill(&mut child).and_then(|status| status.code());
                let how = code
                    .map_or("closed the connection".to_owned(), |code| format!("exited with code {code}"));
                return Err(RequestError::Lost(format!("ssh {how} before the SFTP server responded")));
            }
        };
        let shared = Arc::new(Mutex::new(Requests::default()));
        let waiting = Arc::clone(&shared);
        let receiver =
            std::thread::Builder::new().name("sftp".into()).spawn(move || receive(&mut output, &waiting));
        receiver.map_err(|err| RequestError::Lost(format!("cannot start a thread for responses: {err}")))?;
        let (child, input) = (Mutex::new(child), Mutex::new(Some(input)));
        let mut channel =
            Self { child, input, shared, extensions, sizes: (GUARANTEED_SIZE, GUARANTEED_SIZE), limits };
        if channel.has_extension("limits@openssh.com")
            && let Reply::Extended(bytes) = channel.request(&Request::Limits)?
            && let Ok((read, write)) = protocol::limits(&bytes)
        {
            let size = |limit: u64| if limit == 0 { MAX_SIZE } else { limit.clamp(1, MAX_SIZE) };
            channel.sizes = (size(read), size(write));
        }
        Ok(channel)
    }

    /// Returns whether the server has an extension.
    pub(super) fn has_extension(&self, extension: &str) -> bool {
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
    pub(super) fn send(&self, request: &Request<'_>) -> Result<Pending, RequestError> {
        let (sender, reply) = bounded(1);
        let id = {
            let mut requests = self.shared.lock();
            if let Some(why) = &requests.lost {
                return Err(RequestError::Lost(why.clone()));
            }
            let id = requests.next_id;
            requests.next_id = id.wrapping_add(1);
            requests.senders.insert(id, sender);
            id
        };
        let mut input = self.input.lock();
        let written =
            input.as_mut().map(|input| input.write_all(&request.packet(id)).and_then(|()| input.flush()));
        match written {
            Some(Ok(())) => Ok(Pending { reply, shared: Arc::clone(&self.shared) }),
            Some(Err(err)) => Err(RequestError::Lost(err.to_string())),
            None => Err(RequestError::Lost("the connection was closed".into())),
        }
    }

    /// Sends a request and waits for its response.
    pub(super) fn request(&self, request: &Request<'_>) -> Result<Reply, RequestError> {
        self.send(request)?.wait()
    }

    /// Like [`Self::request`], for requests whose response is only a status.
    pub(super) fn run(&self, request: &Request<'_>) -> Result<(), RequestError> {
        self.send(request)?.wait_for_status()
    }

    /// Opens a file or folder and returns its handle.
    pub(super) fn handle(&self, request: &Request<'_>) -> Result<Vec<u8>, RequestError> {
        self.send(request)?.wait_for_handle()
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
        *self.input.lock() = None;
        wait_or_kill(&mut self.child.lock());
    }
}

/// Waits for a program that has nothing more to do. It is killed if it does not exit within two seconds.
fn wait_or_kill(child: &mut Child) -> Option<ExitStatus> {
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
    pub(super) fn wait(self) -> Result<Reply, RequestError> {
        match self.reply.recv_timeout(RESPONSE_TIMEOUT) {
            Ok(Reply::Status { code, message }) if code != 0 => Err(RequestError::Status { code, message }),
            Ok(reply) => Ok(reply),
            Err(_) => {
                let mut requests = self.shared.lock();
                let why = requests.lost.get_or_insert_with(|| "the server does not respond".into());
                Err(RequestError::Lost(why.clone()))
            }
        }
    }

    /// Waits for the status of the request.
    pub(super) fn wait_for_status(self) -> Result<(), RequestError> {
        match self.wait()? {
            Reply::Status { .. } => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits for the handle that the request opens.
    pub(super) fn wait_for_handle(self) -> Result<Vec<u8>, RequestError> {
        match self.wait()? {
            Reply::Handle(handle) => Ok(handle),
            other => Err(unexpected(&other)),
        }
    }
}

/// A response that does not match its request: nothing on this connection can be trusted.
pub(super) fn unexpected(reply: &Reply) -> RequestError {
    let kind = match reply {
        Reply::Status { .. } => "a status",
        Reply::Handle(_) => "a handle",
        Reply::Data(_) => "data",
        Reply::Names(_) => "names",
        Reply::Attributes(_) => "attributes",
        Reply::Extended(_) => "an extended reply",
    };
    RequestError::Lost(format!("the server sent {kind} in response to another kind of request"))
}

/// Reads a packet and strips its length.
fn read_packet(output: &mut ChildStdout) -> io::Result<Vec<u8>> {
    let mut len = [0; 4];
    output.read_exact(&mut len)?;
    let len = u32::from_be_bytes(len);
    if len > protocol::MAX_REPLY {
        return Err(io::Error::other(
            "the response is not from an SFTP server: the login shell of the server may print text",
        ));
    }
    let mut bytes = vec![0; len as usize];
    output.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Dispatches responses until the connection ends.
fn receive(output: &mut ChildStdout, shared: &Mutex<Requests>) {
    let why = loop {
        let received =
            read_packet(output).and_then(|packet| protocol::reply(&packet).map_err(io::Error::other));
        match received {
            Ok((id, reply)) => {
                // The requester may no longer wait.
                if let Some(sender) = shared.lock().senders.remove(&id) {
                    let _ = sender.send(reply);
                }
            }
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => {
                break "the connection was closed".to_owned();
            }
            Err(err) => break err.to_string(),
        }
    };
    let mut requests = shared.lock();
    requests.lost.get_or_insert(why);
    // Wakes all waiting requesters with an error.
    requests.senders.clear();
}
