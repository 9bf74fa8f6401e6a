//! `snap daemon --metrics`: the metrics of `snap status`, over HTTP, as Prometheus asks for them. It answers one after the
//! other and to nothing but `GET /metrics`; a caller that is slow or says too much is left.

use std::io;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use snap_backup::{Error, Result};

use crate::args::global::Global;

/// Bytes of a request that are read at most.
const LONGEST: usize = 8 << 10;
/// How long a caller may take for each step.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Reads of one request: who drips bytes is left, too.
const READS: usize = 64;

/// `9187`, `127.0.0.1:9187`, `[::1]:9187`: without an address only this machine is answered.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| "a port, or an address and a port: 9187, 127.0.0.1:9187, [::1]:9187".to_owned())
}

/// Begins to answer, in a thread that ends with the process. Where it listens.
///
/// # Errors
/// When the address cannot be had, or no thread.
pub(crate) fn serve(address: SocketAddr, global: Global) -> Result<SocketAddr> {
    let failed = |err| Error::io("listen on", address.to_string())(err);
    let listener = TcpListener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    snap_backup::util::threads::detached("metrics", move || {
        for stream in listener.incoming() {
            match stream {
                // A disconnected client is not an error of the server.
                Ok(stream) => drop(answer(stream, &global)),
                // For instance too many open files: retry later instead of spinning.
                Err(_) => std::thread::sleep(Duration::from_secs(1)),
            }
        }
    })?;
    Ok(bound)
}

fn answer(mut stream: TcpStream, global: &Global) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = request(&mut stream)?;
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, text) = match (method, path) {
        (b"GET" | b"HEAD", b"/metrics") => match super::metrics_of(global) {
            Ok(text) => ("200 OK", text),
            Err(error) => ("500 Internal Server Error", format!("{}\n", error.chain())),
        },
        (b"GET" | b"HEAD", _) => ("404 Not Found", "the metrics are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "only GET is answered\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes())?;
    if method != b"HEAD" {
        stream.write_all(text.as_bytes())?;
    }
    stream.flush()
}

/// Up to the empty line; what follows is not asked for.
fn request(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 1024];
    for _ in 0..READS {
        let read = stream.read(&mut buffer)?;
        bytes.extend(buffer.iter().take(read));
        if read == 0 || bytes.windows(4).any(|end| end == b"\r\n\r\n") {
            return Ok(bytes);
        }
        if bytes.len() > LONGEST {
            break;
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_of_this_machine_only() {
        assert_eq!(address("9187").unwrap().to_string(), "127.0.0.1:9187");
        assert_eq!(address("0.0.0.0:1").unwrap().to_string(), "0.0.0.0:1");
        assert!(address("host:1").is_err() && address("99999").is_err());
    }
}
