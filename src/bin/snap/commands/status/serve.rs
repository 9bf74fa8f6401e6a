//! `snap daemon --metrics`: serves the metrics of `snap status` over HTTP for Prometheus. Handles one
//! connection at a time, and answers only `GET /metrics`. Slow clients and long requests are disconnected.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use snap_backup::util::host;
use snap_backup::{Error, Result};

use crate::args::global::Global;
use crate::terminal::wording;

/// Maximum length of a request in bytes.
const LONGEST: usize = 8 << 10;
/// Timeout for each read and write.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of reads for a request, so that a client that sends single bytes is disconnected as well.
const READS: usize = 64;

/// Parses `9187`, `127.0.0.1:9187` or `[::1]:9187`. Without an address, only this machine can connect.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| "a port, or an address and a port: 9187, 127.0.0.1:9187, [::1]:9187".to_owned())
}

/// Starts to serve in a thread that ends with the process. Returns the address that it listens on.
///
/// # Errors
/// The address is not available, or no thread can be started.
pub(crate) fn serve(address: SocketAddr, names: Vec<String>, global: Global) -> Result<SocketAddr> {
    let failed = |err| Error::io("listen on", address.to_string())(err);
    let listener = TcpListener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    snap_backup::util::threads::detached("metrics", move || {
        for stream in listener.incoming() {
            match stream {
                // A disconnected client is not an error of the server.
                Ok(stream) => drop(answer(stream, &names, &global)),
                // For instance too many open files: retry later instead of spinning.
                Err(_) => std::thread::sleep(Duration::from_secs(1)),
            }
        }
    })?;
    Ok(bound)
}

fn answer(mut stream: TcpStream, names: &[String], global: &Global) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = request(&mut stream)?;
    let line = request.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, text) = match (method, path) {
        _ if !is_meant(&request, names) => {
            let why = "this server accepts requests only by address or as localhost; --allow-host adds \
                       names\n";
            ("421 Misdirected Request", why.to_owned())
        }
        (b"GET" | b"HEAD", b"/metrics") => match super::metrics_of(global) {
            Ok(text) => ("200 OK", text),
            Err(error) => ("500 Internal Server Error", format!("{}\n", wording::chain(&error))),
        },
        (b"GET" | b"HEAD", _) => ("404 Not Found", "the metrics are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "only GET is allowed\n".to_owned()),
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

/// Returns whether the request names this machine. A web page cannot leave out the `Host` header; a simple
/// scraper may.
fn is_meant(request: &[u8], names: &[String]) -> bool {
    let hosts = request.split(|byte| *byte == b'\n').filter_map(|line| {
        let (name, value) = line.split_at_checked(line.iter().position(|byte| *byte == b':')?)?;
        name.trim_ascii().eq_ignore_ascii_case(b"host").then(|| value.get(1..).unwrap_or(value).trim_ascii())
    });
    let all: Vec<&[u8]> = hosts.collect();
    all.len() < 2
        && all.iter().all(|host| {
            std::str::from_utf8(host).is_ok_and(|host| host::is_own_name(without_port(host), names))
        })
}

/// Removes the port from a host. The colons of an IPv6 address are within brackets.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Reads a request up to the empty line. A body is ignored.
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

    #[test]
    fn a_request_is_for_an_address_localhost_or_an_allowed_name() {
        let names = ["backup.lan".to_owned()];
        let ask = |head: &str| is_meant(format!("GET /metrics HTTP/1.1\r\n{head}\r\n").as_bytes(), &names);
        for head in [
            "",
            "Host: 127.0.0.1:9187\r\n",
            "host: localhost\r\n",
            "Host: [::1]:1\r\n",
            "HOST: Backup.LAN:9\r\n",
        ] {
            assert!(ask(head), "{head}");
        }
        for head in [
            "Host: evil.example:9187\r\n",
            "Host: \r\n",
            "Host: localhost\r\nHost: evil.example\r\n",
            "Host: localhost.evil.example\r\n",
            "Host : evil.example\r\n",
        ] {
            assert!(!ask(head), "{head}");
        }
    }
}
