//! A proxy between snap and a server: it counts requests, and disturbs some.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// The fate of a request.
pub enum Fate {
    /// It reaches the server, and the response comes back.
    Pass,
    /// The connection is closed, and the server gets nothing.
    Reset,
    /// The server executes it, and the response is lost.
    Lose,
    /// The proxy responds in place of the server: a status such as `503 Slow Down`, and a code for its XML.
    Say(&'static str, &'static str),
    /// Nothing comes, for so long.
    Stall(Duration),
    /// The response ends after so many bytes of its body.
    Cut(usize),
}

type Rule = Box<dyn FnMut(&str) -> Fate + Send>;

/// A proxy of one server.
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
    listener: Option<JoinHandle<()>>,
}

struct State {
    rule: Rule,
    seen: Vec<String>,
    ended: bool,
}

impl Proxy {
    /// In front of the server on this port; passes everything.
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { rule: Box::new(|_| Fate::Pass), seen: Vec::new(), ended: false };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let listener = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().unwrap().ended {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&shared)) else { continue };
                // A proxy that breaks connections on purpose must tolerate broken ones.
                std::thread::spawn(move || drop(answer(stream, server, &shared)));
            }
        });
        Self { port, state, listener: Some(listener) }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From here on this function decides, by `METHOD /path`.
    pub fn set(&self, rule: impl FnMut(&str) -> Fate + Send + 'static) {
        self.state.lock().unwrap().rule = Box::new(rule);
    }

    /// Returns all requests since the last call.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.lock().unwrap().ended = true;
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.listener.take().unwrap().join();
    }
}

fn answer(mut client: TcpStream, server: u16, state: &Mutex<State>) -> std::io::Result<()> {
    let Some((head, body)) = request(&mut client)? else { return Ok(()) };
    let line = head.lines().next().unwrap_or_default();
    let line = line.strip_suffix(" HTTP/1.1").unwrap_or(line).to_owned();
    let fate = {
        let mut state = state.lock().unwrap();
        state.seen.push(line.clone());
        (state.rule)(&line)
    };
    match fate {
        Fate::Reset => return client.shutdown(Shutdown::Both),
        Fate::Stall(time) => {
            std::thread::sleep(time);
            return client.shutdown(Shutdown::Both);
        }
        Fate::Say(status, code) => {
            let xml = format!(
                "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>said so</Message></Error>"
            );
            let xml = if line.starts_with("HEAD") { String::new() } else { xml };
            let len = xml.len();
            let close = "Connection: close\r\nContent-Type: application/xml";
            return write!(client, "HTTP/1.1 {status}\r\n{close}\r\nContent-Length: {len}\r\n\r\n{xml}");
        }
        Fate::Pass | Fate::Lose | Fate::Cut(_) => {}
    }
    let mut upstream = TcpStream::connect(("127.0.0.1", server))?;
    let (first, rest) = head.split_once("\r\n").unwrap();
    upstream.write_all(format!("{first}\r\nConnection: close\r\n{rest}\r\n\r\n").as_bytes())?;
    upstream.write_all(&body)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    match fate {
        Fate::Lose => client.shutdown(Shutdown::Both),
        Fate::Cut(most) => {
            let body = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(0) + 4;
            let end = answer.len().min(body + most);
            client.write_all(&answer[..end])
        }
        _ => client.write_all(&answer),
    }
}

/// Returns a request's head without the empty line, and its body.
fn request(client: &mut TcpStream) -> std::io::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::new();
    let mut some = [0; 16 << 10];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        match client.read(&mut some)? {
            0 => return Ok(None),
            count => bytes.extend_from_slice(&some[..count]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut body = bytes.split_off(end + 4);
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    while body.len() < length.unwrap_or(0) {
        match client.read(&mut some)? {
            0 => return Ok(None),
            count => body.extend_from_slice(&some[..count]),
        }
    }
    Ok(Some((head, body)))
}
