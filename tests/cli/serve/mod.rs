//! `snap serve`: authentication, the content of pages, and that a download equals what was saved.
#![cfg(feature = "serve")]
#![allow(clippy::unwrap_used)]

mod browser;
mod forms;
mod mishaps;
mod passwords;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Random, Sandbox};

struct Serving {
    child: Child,
    address: String,
    /// The token of the printed address, valid for one browser.
    once: String,
    token: String,
    /// The header that authenticates a request.
    key: String,
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Serving {
    fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        let mut command = sandbox.bin();
        command.args(["-r", "repo", "serve"]).args(args).args(["--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let told: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line:?}"));
        let rest = told["url"].as_str().unwrap().strip_prefix("http://").unwrap();
        let (address, query) = rest.split_once('/').unwrap();
        let once = query.strip_prefix("?token=").unwrap_or_default().to_owned();
        let token = told["token"].as_str().unwrap_or_default().to_owned();
        let key = format!("Authorization: Bearer {token}\r\n");
        Self { child, address: address.to_owned(), once, token, key }
    }

    /// Sends these bytes, and returns what comes back until the other side closes.
    fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        // It may close before everything is sent.
        let _ = stream.write_all(request);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        Answer::of(&bytes)
    }

    fn ask(&self, method: &str, path: &str, lines: &str, body: &[u8]) -> Answer {
        let length = format!("Content-Length: {}\r\n", body.len());
        let length = if body.is_empty() { "" } else { &length };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{lines}{length}\r\n",
            self.address
        );
        self.raw(&[head.as_bytes(), body].concat())
    }

    /// Sends an authenticated request.
    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &self.key, b"")
    }

    /// Returns a page that must exist.
    fn page(&self, path: &str) -> String {
        let answer = self.get(path);
        let text = answer.text();
        assert_eq!(answer.status, 200, "{path}: {text}");
        text
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    fn of(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else { panic!("no answer: {:?}", String::from_utf8_lossy(bytes)) };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Self { status, head, body: bytes[end + 4..].to_vec() };
        if answer.header("transfer-encoding") == Some("chunked") {
            answer.body = unchunked(&answer.body);
        }
        answer
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Joins the chunks of a response; panics if one is truncated.
fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n");
        let Some(end) = end else { panic!("a body that broke off after {}", all.len()) };
        let len = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if len == 0 {
            return all;
        }
        all.extend_from_slice(&rest[end + 2..end + 2 + len]);
        rest = &rest[end + 2 + len + 2..];
    }
}

/// Returns the address of the link with this text.
fn link(page: &str, label: &str) -> String {
    let at = page.find(&format!("aria-label=\"{label}\"")).unwrap_or_else(|| panic!("no {label}: {page}"));
    let tag = &page[page[..at].rfind('<').unwrap()..];
    let href = tag.split_once("href=\"").unwrap().1;
    href.split('"').next().unwrap().replace("&amp;", "&")
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what} did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = (0..3).fold(0usize, |bits, at| bits << 8 | usize::from(*three.get(at).unwrap_or(&0)));
        for at in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * at) & 63]);
            out.push(if at <= three.len() { digit } else { '=' });
        }
    }
    out
}

#[test]
fn unauthenticated_requests_get_401_and_no_data() {
    let sandbox = Sandbox::with_tree(&[("secret-name", "secret text")]);
    let id = sandbox.backup(&[]);
    let serving = Serving::start(&sandbox, &[]);
    assert!(serving.address.starts_with("127.0.0.1:"), "only this machine is answered: {}", serving.address);
    assert_eq!(serving.token.len(), 43, "32 bytes");
    let wrong = format!("{}x", &serving.token[..42]);
    let basic = |password: &str| format!("Authorization: Basic {}\r\n", base64(&format!("me:{password}")));
    let paths = ["/", "/stats", "/status", "/style.css", "/nothing", "/dav/", "/dav/latest/src/secret-name"];
    let paths = paths.iter().map(|path| (*path).to_owned());
    for path in
        paths.chain([format!("/s/{id}/src"), format!("/tar/{id}"), "/versions/src/secret-name".into()])
    {
        for lines in [
            String::new(),
            format!("Authorization: Bearer {wrong}\r\n"),
            basic(&wrong),
            format!("Cookie: snap-session={}\r\n", serving.token),
        ] {
            let answer = serving.ask("GET", &path, &lines, b"");
            assert_eq!(answer.status, 401, "{path} {lines}");
            assert!(answer.header("www-authenticate").is_some());
            // The form leads to the requested page, and reveals nothing else.
            let text = answer.text().replace(&format!("value=\"{path}\""), "");
            assert!(!text.contains("secret") && !text.contains(&id[..8]), "{text}");
        }
    }
    assert_eq!(serving.ask("GET", &format!("/?token={wrong}"), "", b"").status, 401);
    assert_eq!(serving.ask("PROPFIND", "/dav/", "", b"").status, 401);
    assert_eq!(serving.ask("PUT", "/dav/latest/x", "", b"x").status, 401);

    for lines in [basic(&serving.token), serving.key.clone()] {
        let answer = serving.ask("GET", "/", &lines, b"");
        assert!(answer.status == 200 && answer.text().contains(&id[..8]), "{lines}");
    }
    // Another site's host name that resolves to this address.
    let request = format!("GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n{}\r\n", serving.key);
    let answer = serving.raw(request.as_bytes());
    assert!(answer.status == 421 && !answer.text().contains(&id[..8]), "{}", answer.head);
}

/// Returns the cookie and the path prefix that a browser gets.
fn signed_in(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 303, "{}", answer.text());
    let cookie = answer.header("set-cookie").unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Max-Age=43200"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let base = answer.header("location").unwrap().strip_suffix('/').unwrap();
    assert!(base.len() == 44 && cookie.contains(&format!("; Path={base};")), "{cookie} {base}");
    (format!("Cookie: other=1; {}\r\n", cookie.split(';').next().unwrap()), base.to_owned())
}

#[test]
fn printed_address_admits_one_browser_with_a_scoped_cookie() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let id = sandbox.backup(&[]);
    let serving = Serving::start(&sandbox, &[]);
    let address = format!("/?token={}", serving.once);
    let first = serving.ask("GET", &address, "", b"");
    assert!(!first.head.contains(&serving.once) && !first.head.contains(&serving.token), "{}", first.head);
    let (cookie, base) = signed_in(&first);
    let once = format!("Authorization: Bearer {}\r\n", serving.once);
    for (path, lines) in [(&address[..], ""), ("/", &cookie), ("/dav/", &cookie), ("/", &once)] {
        let answer = serving.ask("GET", path, lines, b"");
        assert_eq!(answer.status, 401, "{path} {lines}");
        assert!(!answer.text().contains(&id[..8]));
    }
    // Everything that a page links to is below the same prefix.
    let mut at = format!("{base}/snapshots");
    for label in [format!("Download {} as tar.gz", &id[..8]), String::new()] {
        let answer = serving.ask("GET", &at, &cookie, b"");
        assert_eq!(answer.status, 200, "{at}");
        let text = answer.text();
        for link in
            text.split("href=\"").chain(text.split("action=\"")).skip(1).filter(|rest| rest.starts_with('/'))
        {
            assert!(link.starts_with(&base), "{link}");
        }
        if !label.is_empty() {
            let archive = serving.ask("GET", &link(&text, &label), &cookie, b"");
            assert!(archive.status == 200 && archive.body == sandbox.ok(&["export", "latest"]).stdout);
            at = format!("{base}/s/{id}/src");
        }
    }
    let file = serving.ask("GET", &format!("{base}/dav/{id}/src/a"), &cookie, b"");
    assert_eq!(file.body, b"1");
    let nothing = serving.ask("GET", &format!("{base}/none"), &cookie, b"");
    assert!(nothing.status == 404 && nothing.text().contains(&format!("href=\"{base}/\"")));
    // Another browser needs the permanent token.
    let form = |token: &str| serving.ask("POST", "/login", "", format!("token={token}").as_bytes());
    for wrong in ["", "wrong", &serving.once] {
        assert_eq!(form(wrong).status, 401, "{wrong}");
    }
    let (other, _) = signed_in(&form(&serving.token));
    assert_ne!(cookie, other);
    let out = serving.ask("POST", &format!("{base}/logout"), &cookie, b"");
    assert!(out.status == 303 && out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(serving.ask("GET", &format!("{base}/"), &cookie, b"").status, 401);
    assert_eq!(serving.ask("GET", &format!("{base}/"), &other, b"").status, 200);
}

#[test]
fn idle_connections_keep_nobody_out() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let serving = Serving::start(&sandbox, &[]);
    let half = || {
        let mut stream = TcpStream::connect(&serving.address).unwrap();
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: local");
        stream
    };
    let held: Vec<TcpStream> = (0..100).map(|_| half()).collect();
    for _ in 0..5 {
        assert_eq!(serving.get("/dav/latest/src/a").body, b"1");
        assert_eq!(serving.ask("GET", "/", "", b"").status, 401);
    }
    // The oldest connections were closed to make room.
    let mut oldest = &held[0];
    assert!(matches!(oldest.read(&mut [0; 10]), Ok(0) | Err(_)));
}

#[test]
fn headers_and_addresses_are_limited_as_documented() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let serving = Serving::start(&sandbox, &[]);
    let path = |len: usize| format!("/{}", "x".repeat(len - 1));
    assert_eq!(serving.get(&path(16 << 10)).status, 404);
    for len in [(16 << 10) + 1, 20_000, 31_000] {
        assert_eq!(serving.get(&path(len)).status, 414, "{len}");
    }
    let line = |len: usize| format!("{}X: {}\r\n", serving.key, "y".repeat(len));
    assert_eq!(serving.ask("GET", "/style.css", &line(31_000), b"").status, 200);
    for len in [32_768, 33_000, 40_000, 60_000, 100_000] {
        assert_eq!(serving.ask("GET", "/style.css", &line(len), b"").status, 431, "{len}");
    }
}

#[test]
fn token_from_a_file_is_not_printed() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let file = sandbox.path("token");
    let path = file.to_str().unwrap();
    for weak in ["short", "", "this one has spaces but is long", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa/"] {
        fs::write(&file, weak).unwrap();
        sandbox.snap(&["serve", "--token-file", path]).expect(2);
    }
    fs::remove_file(&file).unwrap();
    sandbox.snap(&["serve", "--token-file", path]).expect(1);
    fs::write(&file, "correct-horse-battery-staple\n").unwrap();
    crate::support::chmod(&file, 0o600);
    let serving = Serving::start(&sandbox, &["--token-file", path, "--allow-host", "nas.example"]);
    assert_eq!((&serving.token[..], &serving.once[..]), ("", ""));
    let by_address = serving.ask("GET", "/?token=correct-horse-battery-staple", "", b"");
    assert_eq!(by_address.status, 401, "an address stays in the history");
    signed_in(&serving.ask("POST", "/login", "", b"token=correct-horse-battery-staple"));
    let request = "GET / HTTP/1.1\r\nHost: nas.example:80\r\nConnection: close\r\n\
        Authorization: Bearer correct-horse-battery-staple\r\n\r\n";
    assert_eq!(serving.raw(request.as_bytes()).status, 200);
    sandbox.snap(&["serve", "--port", serving.address.rsplit(':').next().unwrap()]).expect(1);
}

#[test]
fn requests_that_escape_exceed_or_write_are_refused() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let id = sandbox.backup(&[]);
    let serving = Serving::start(&sandbox, &[]);
    for path in [
        format!("/s/{id}/../../../../etc/passwd"),
        format!("/s/{id}/%2e%2e/%2E%2e/etc/passwd"),
        format!("/s/{id}/src%2f..%2fa"),
        format!("/s/{id}/src/a%00"),
        format!("/tar/{id}/.."),
        format!("/dav/{id}/../../etc/passwd"),
        format!("/dav/{id}/%2e%2e/{id}/src/a"),
        "/versions/..".to_owned(),
        "/%zz".to_owned(),
        "/..".to_owned(),
    ] {
        let answer = serving.get(&path);
        assert!(answer.status == 400 && !answer.text().contains("root:"), "{path}: {}", answer.head);
        assert!(!answer.body.is_empty(), "{path}: it says why");
    }
    for path in
        [format!("/s/{id}/etc/passwd"), "/s/latest/src".to_owned(), "/s/xyz".to_owned(), "/x".to_owned()]
    {
        assert_eq!(serving.get(&path).status, 404, "{path}");
    }
    let long = "x".repeat(200_000);
    let answer = serving.get(&format!("/{long}"));
    assert!([414, 431].contains(&answer.status), "{}", answer.head);
    let answer = serving.ask("GET", "/", &format!("{}X: {long}\r\n", serving.key), b"");
    assert_eq!(answer.status, 431);
    let answer = serving.ask("GET", "/", &format!("{}{}", serving.key, "X: y\r\n".repeat(500)), b"");
    assert_eq!(answer.status, 431);
    assert_eq!(serving.ask("PROPFIND", "/dav/", &serving.key, long.as_bytes()).status, 413);
    let chunked = format!("{}Transfer-Encoding: chunked\r\n", serving.key);
    let head = format!("PROPFIND /dav/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{chunked}\r\n");
    let answer = serving.raw(format!("{head}{:x}\r\n{long}\r\n0\r\n\r\n", long.len()).as_bytes());
    assert!(answer.status == 413 && answer.text().contains("at most 65536 bytes"), "{}", answer.text());
    for method in ["PUT", "DELETE", "MKCOL", "MOVE", "COPY", "PROPPATCH", "LOCK", "UNLOCK", "POST", "PATCH"] {
        let answer = serving.ask(method, "/dav/latest/src/a", &serving.key, b"x");
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS, PROPFIND"));
        assert_eq!(serving.ask(method, "/", &serving.key, b"x").status, 405, "{method}");
    }
    assert_eq!(serving.get("/dav/latest/src/a").body, b"1");
    sandbox.assert_clean();
}

#[test]
fn each_page_holds_what_it_should() {
    let odd = "<img src=x onerror=alert(1)>&\"'";
    let sandbox = Sandbox::with_tree(&[("dir/file.txt", "one"), ("gone", "x"), (odd, "odd")]);
    let first = sandbox.backup(&["--tag", "<b>tag"]);
    sandbox.write(&[("dir/file.txt", "two, longer"), ("new", "n")]);
    fs::remove_file(sandbox.src().join("gone")).unwrap();
    let second = sandbox.backup(&["--host", "other<host"]);
    let third = {
        sandbox.write(&[("dir/file.txt", "three")]);
        sandbox.backup(&[])
    };
    let serving = Serving::start(&sandbox, &[]);
    let pages = [
        (
            "/".to_owned(),
            vec![&second[..8], &third[..8], "2 sets have", "✓", "other&lt;host", "1 good", "Last check"],
        ),
        (
            "/snapshots".to_owned(),
            vec![&first[..8], &second[..8], &third[..8], "&lt;b&gt;tag", "<svg", "tar.gz", "3 snapshots"],
        ),
        ("/snapshots?host=other%3Chost".to_owned(), vec!["1 snapshot", &second[..8]]),
        ("/snapshots?tag=%3Cb%3Etag&kind=full&since=1h".to_owned(), vec!["1 snapshot", &first[..8]]),
        ("/snapshots?until=2020-01-01".to_owned(), vec!["No snapshot matches"]),
        (
            format!("/s/{third}"),
            vec!["src", "incremental", "Download as tar.gz", "Compare with the previous snapshot"],
        ),
        (
            format!("/s/{third}/src"),
            vec!["dir", "new", "&lt;img", "drwx", ">5 B</span>", "Days on which this directory changed"],
        ),
        (format!("/s/{third}/src?sort=size"), vec!["aria-sort=\"descending\"", ">5 B</span>"]),
        (format!("/s/{third}/src?sizes=all"), vec![">5 B</span>"]),
        (format!("/s/{third}/src/dir/file.txt"), vec!["<dd>5 B</dd>", "Versions", "-rw"]),
        ("/versions/src/dir/file.txt".to_owned(), vec!["3 versions", "Download version 3", &third[..8]]),
        ("/versions/src/gone".to_owned(), vec!["1 version", "Not in snapshot", &third[..8]]),
        ("/search".to_owned(), vec!["<form"]),
        ("/search?q=FILE".to_owned(), vec!["src/dir/file.txt", "1 path.", ">3</td>"]),
        ("/search?q=FILE&case=on".to_owned(), vec!["0 paths."]),
        ("/search?q=gone".to_owned(), vec!["src/gone", "deleted", "1 path.", "Last seen"]),
        ("/search?q=file&in=src%2Fdir".to_owned(), vec!["1 path."]),
        ("/search?q=file&in=src%2Fdi".to_owned(), vec!["0 paths."]),
        (format!("/s/{third}/src?gone=on"), vec!["Deleted from here", "gone", "What changed here since"]),
        (
            format!("/difference/src/dir/file.txt?a={first}&b={third}"),
            vec!["1 line added", "1 line removed", "three", "All versions"],
        ),
        ("/search?q=d*r&kind=directory".to_owned(), vec!["src/dir"]),
        ("/search?larger=9".to_owned(), vec!["1 path.", "file.txt"]),
        (
            format!("/compare?a={first}&b={second}"),
            vec![
                "+ added",
                "aria-label=\"src/new\"",
                "- removed",
                "aria-label=\"Before: src/gone\"",
                "M changed",
                "1 added, 1 removed, 1 changed",
                ">3 B</span>",
                ">11 B</span>",
            ],
        ),
        (format!("/compare?a={first}&b={first}"), vec!["There are no differences"]),
        (format!("/compare?a={first}&b={second}&path=src/new"), vec!["all of it was added", &first[..8]]),
        (format!("/compare?a={first}&b={second}&path=src/gone"), vec!["all of it was removed"]),
        (format!("/compare?a={first}&b={third}&path=src%2Fdir"), vec!["file.txt", "0 files added"]),
        (
            "/stats".to_owned(),
            vec![
                "3 snapshots",
                "deduplication",
                "Unique",
                &first[..8],
                "Storage per set",
                "other&lt;host",
                "stored for all snapshots",
                "original size",
            ],
        ),
        (format!("/usage/{third}/src"), vec!["dir/", "55.6 %", "files here", "<svg", "One level up"]),
        (format!("/usage/{third}"), vec!["src/", "100.0 %"]),
        ("/status".to_owned(), vec!["repository ", "other&lt;host"]),
    ];
    for (path, wanted) in pages {
        // What is computed in the background reloads itself until it is there.
        until("what is counted", || !serving.page(&path).contains("Counting since"));
        let answer = serving.get(&path);
        let text = answer.text();
        assert_eq!(answer.status, 200, "{path}: {text}");
        assert_eq!(answer.header("refresh").is_some(), path == "/", "{path}");
        for piece in wanted {
            assert!(text.contains(piece), "{path} has no {piece}: {text}");
        }
        // No scripts, nothing from other machines, and no name is markup.
        assert!(
            !text.contains("<script") && !text.contains("<img") && !text.contains("<b>tag"),
            "{path}: {text}"
        );
        assert!(
            !text.contains("http://") && !text.contains("https://") && !text.contains("style=\""),
            "{path}"
        );
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'self'; img-src 'self';"), "{policy}");
        assert!(!policy.contains("script-src") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"));
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    for bad in ["/search?larger=x", "/search?newer=yesterdayish"] {
        assert_eq!(serving.get(bad).status, 400, "{bad}");
    }
    for gone in [
        "/compare?a=x&b=y".to_owned(),
        format!("/usage/{third}/src/new"),
        "/versions/src/never".to_owned(),
        "/snapshots?before=x".to_owned(),
    ] {
        assert_eq!(serving.get(&gone).status, 404, "{gone}");
    }
    let head = serving.ask("HEAD", "/", &serving.key, b"");
    assert!(head.status == 200 && head.body.is_empty());
    assert!(serving.page("/style.css").contains("prefers-color-scheme: dark"));
    assert_eq!(serving.get("/icon.svg").header("content-type"), Some("image/svg+xml"));
}

#[test]
fn the_third_version_of_a_file_is_found_and_downloaded() {
    let sandbox = Sandbox::new();
    for number in 1..=5 {
        sandbox.write(&[("report.txt", &format!("version {number} {}", "x".repeat(number)))]);
        sandbox.backup(&[]);
    }
    let serving = Serving::start(&sandbox, &[]);
    let found = serving.page("/search?q=report");
    let versions = serving.page(&link(&found, "Versions of src/report.txt"));
    let answer = serving.get(&link(&versions, "Download version 3"));
    assert_eq!((answer.status, answer.text()), (200, "version 3 xxx".to_owned()));
    assert!(answer.header("content-disposition").unwrap().starts_with("attachment; filename=\"report.txt\""));
}

#[test]
fn downloads_are_what_was_saved_whole_or_in_parts() {
    let sandbox = Sandbox::new();
    let bytes = Random::new(1).bytes(3_000_000);
    fs::write(sandbox.src().join("long"), &bytes).unwrap();
    sandbox.write(&[("empty", ""), ("page.html", "<script>alert(1)</script>"), ("pixel", "GIF89a...")]);
    sandbox.write(&[("paper", "%PDF-1.4 ..."), ("no-paper", "<html>%PDF-1.4")]);
    let id = sandbox.backup(&[]);
    let serving = Serving::start(&sandbox, &[]);
    let at = format!("/dav/{id}/src/long");
    let whole = serving.get(&at);
    assert!(whole.status == 200 && whole.body == bytes);
    assert_eq!(whole.header("content-length"), Some("3000000"));
    let part =
        |range: &str| serving.ask("GET", &at, &format!("{}Range: bytes={range}\r\n", serving.key), b"");
    for (range, wanted) in [
        ("0-0", 0..1),
        ("1000-2099999", 1000..2_100_000),
        ("2999999-", 2_999_999..3_000_000),
        ("-5", 2_999_995..3_000_000),
        ("2999990-9999999", 2_999_990..3_000_000),
    ] {
        let answer = part(range);
        assert_eq!(answer.status, 206, "{range}");
        let said = format!("bytes {}-{}/3000000", wanted.start, wanted.end - 1);
        assert_eq!(answer.header("content-range"), Some(&said[..]));
        assert!(answer.body == bytes[wanted], "{range}");
    }
    assert!([200, 416].contains(&part("3000000-").status));
    // Many ranges would give a multipart response: the whole file is returned instead.
    let many = part("0-,0-,0-");
    assert!(many.status == 200 && many.body.len() == bytes.len());
    let head = serving.ask("HEAD", &at, &serving.key, b"");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("3000000"), 0));
    let tag = whole.header("etag").unwrap();
    let again = serving.ask("GET", &at, &format!("{}If-None-Match: {tag}\r\n", serving.key), b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    let empty = serving.get(&format!("/dav/{id}/src/empty"));
    assert_eq!((empty.status, empty.body.len()), (200, 0));
    // An image is displayed, with an origin of its own; nothing else is.
    let shown = serving.page(&format!("/s/{id}/src/pixel"));
    assert!(shown.contains(&format!("<img class=\"preview\" src=\"/preview/{id}/src/pixel\"")), "{shown}");
    let image = serving.get(&format!("/preview/{id}/src/pixel"));
    assert_eq!((image.status, image.header("content-type")), (200, Some("image/gif")));
    assert_eq!(image.header("x-content-type-options"), Some("nosniff"));
    assert!(image.header("content-security-policy").unwrap().starts_with("sandbox; default-src 'none'"));
    // A document is framed only by pages of this server, and has no more rights than an image.
    let shown = serving.page(&format!("/s/{id}/src/paper"));
    assert!(shown.contains(&format!("<iframe class=\"preview\" src=\"/preview/{id}/src/paper\"")), "{shown}");
    let paper = serving.get(&format!("/preview/{id}/src/paper"));
    assert_eq!((paper.status, paper.header("content-type")), (200, Some("application/pdf")));
    let policy = paper.header("content-security-policy").unwrap();
    assert_eq!(policy, "sandbox; default-src 'none'; frame-ancestors 'self'");
    assert_eq!(serving.ask("GET", &format!("/preview/{id}/src/paper"), "", b"").status, 401);
    for other in ["page.html", "no-paper", "long", "none", ""] {
        assert_eq!(serving.get(&format!("/preview/{id}/src/{other}")).status, 404, "{other}");
    }
    let text = serving.page(&format!("/s/{id}/src/page.html"));
    assert!(text.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && !text.contains("<script"), "{text}");
    let page = serving.get(&format!("/dav/{id}/src/page.html"));
    assert!(page.header("content-disposition").unwrap().starts_with("attachment"), "it is never shown");
}

#[test]
fn an_archive_is_the_one_that_export_writes() {
    let sandbox = Sandbox::with_tree(&[("dir/a", "1"), ("dir/sub/b", "2"), ("c", "3")]);
    fs::write(sandbox.src().join("long"), Random::new(1).bytes(2_000_000)).unwrap();
    let id = sandbox.backup(&[]);
    let serving = Serving::start(&sandbox, &[]);
    for (at, selector) in [
        (format!("/tar/{id}"), "latest"),
        (format!("/tar/{id}/src/dir"), "latest:src/dir"),
        (format!("/tar/{id}/src/long"), "latest:src/long"),
    ] {
        let answer = serving.get(&at);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/gzip")), "{at}");
        assert!(answer.header("content-disposition").unwrap().contains(".tar.gz\""));
        assert!(answer.body == sandbox.ok(&["export", selector]).stdout, "{at}");
        assert_eq!(serving.ask("HEAD", &at, &serving.key, b"").body, b"");
    }
    assert_eq!(serving.get(&format!("/tar/{id}/src/none")).status, 404);
}

#[test]
fn webdav_lists_and_reads() {
    let sandbox = Sandbox::with_tree(&[("a b/é&.txt", "text"), ("a b/more", "")]);
    std::os::unix::fs::symlink("more", sandbox.src().join("a b/link")).unwrap();
    let id = sandbox.backup(&[]);
    let serving = Serving::start(&sandbox, &[]);
    let list = |path: &str| {
        let lines = format!("{}Depth: 1\r\n", serving.key);
        let answer = serving.ask("PROPFIND", path, &lines, b"");
        assert_eq!(answer.status, 207, "{path}: {}", answer.head);
        answer.text()
    };
    let root = list("/dav/");
    assert!(root.contains("/dav/latest/") && root.contains(&format!("_{}/", &id[..8])), "{root}");
    let name = root.split("<D:href>/dav/").nth(2).unwrap().split('<').next().unwrap();
    for top in [name, "latest/", &format!("{id}/")] {
        let listed = list(&format!("/dav/{top}src/a%20b/"));
        assert!(listed.contains("%C3%A9%26.txt") && listed.contains(">4</D:getcontentlength>"), "{listed}");
        assert!(!listed.contains("link"), "what WebDAV does not know is left out: {listed}");
        assert_eq!(serving.get(&format!("/dav/{top}src/a%20b/%C3%A9%26.txt")).body, b"text");
    }
    let asked =
        b"<?xml version=\"1.0\"?><propfind xmlns=\"DAV:\"><prop><getetag/><resourcetype/></prop></propfind>";
    let lines = format!("{}Depth: 0\r\n", serving.key);
    let one = serving.ask("PROPFIND", "/dav/latest/src/a%20b/more", &lines, asked);
    assert!(one.status == 207 && one.text().contains("getetag") && !one.text().contains("getcontentlength"));
    let options = serving.ask("OPTIONS", "/dav/", &serving.key, b"");
    assert_eq!((options.status, options.header("dav")), (200, Some("1")));
    for gone in ["/dav/none/", "/dav/latest/src/none", "/dav/latest/src/a%20b/link"] {
        assert_eq!(serving.ask("PROPFIND", gone, &lines, b"").status, 404, "{gone}");
    }
}

#[test]
fn names_that_are_no_text_are_found_by_their_links() {
    let sandbox = Sandbox::new();
    let dir = sandbox.src().join(OsStr::from_bytes(b"d\xff"));
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join(OsStr::from_bytes(b"f\xfe:\x01")), "odd").unwrap();
    let id = sandbox.backup(&[]);
    let serving = Serving::start(&sandbox, &[]);
    let page = serving.page(&format!("/s/{id}/src/d%ff"));
    assert!(page.contains("f\u{fffd}:\\u{1}"), "{page}");
    let at = page.split("href=\"/dav/").nth(1).unwrap().split('"').next().unwrap();
    assert!(at.ends_with("/src/d%FF/f%FE%3A%01"), "{at}");
    let file = serving.get(&format!("/dav/{at}"));
    assert_eq!(file.text(), "odd");
    assert!(file.header("content-disposition").unwrap().contains("filename=\"f___\""), "{}", file.head);
    assert!(serving.page("/versions/src/d%FF/f%FE%3A%01").contains("1 version"));
    assert_eq!(serving.get(&format!("/tar/{id}/src/d%FF")).status, 200);
    let same = format!("/compare?a={id}&b={id}&path=src/d%FF");
    assert!(serving.page(&same).contains("There are no differences"));
    let lines = format!("{}Depth: 1\r\n", serving.key);
    let listed = serving.ask("PROPFIND", "/dav/latest/src/d%FF/", &lines, b"");
    assert!(listed.status == 207 && listed.text().contains("f%FE%3A%01"), "{}", listed.text());
}

/// Escapes, line breaks, C1 characters and direction marks: neither names nor attributes of a snapshot reach
/// a page raw.
#[test]
fn no_control_character_reaches_a_page() {
    const EVIL: &str = "x\u{1b}[31m\u{202e}\u{2066}\u{85}\u{7f}\r\u{7}y";
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.src().join(EVIL)).unwrap();
    fs::write(sandbox.src().join(EVIL).join(EVIL), "1").unwrap();
    std::os::unix::fs::symlink(EVIL, sandbox.src().join("link")).unwrap();
    let words = ["--host", EVIL, "--description", EVIL, "--tag", EVIL];
    let id = sandbox.backup(&words);
    fs::write(sandbox.src().join(EVIL).join(EVIL), "22").unwrap();
    let next = sandbox.backup(&words);
    let serving = Serving::start(&sandbox, &[]);
    let name: String = EVIL.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let dav = format!("{}Depth: 1\r\n", serving.key);
    let pages = [
        serving.page("/"),
        serving.page("/snapshots"),
        serving.page(&format!("/s/{id}")),
        serving.page(&format!("/s/{id}/src")),
        serving.page(&format!("/s/{id}/src/{name}")),
        serving.page(&format!("/versions/src/{name}/{name}")),
        serving.page(&format!("/compare?a={id}&b={next}")),
        serving.page("/search?q=x*"),
        serving.get(&format!("/s/{id}/{name}")).text(),
        serving.ask("PROPFIND", &format!("/dav/latest/src/{name}/"), &dav, b"").text(),
    ];
    let raw = |c: char| {
        c.is_control() && c != '\n'
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    for (number, page) in pages.iter().enumerate() {
        assert!(number == 7 || page.contains('y'), "{number}: {page}");
        assert!(!page.contains(raw), "{number}: {page:?}");
    }
    let file = serving.get(&format!("/dav/latest/src/{name}/{name}"));
    assert!(!file.head.replace("\r\n", "").contains(raw) && file.text() == "22", "{:?}", file.head);
}

#[test]
fn a_large_directory_comes_in_pages_in_each_order() {
    let sandbox = Sandbox::new();
    for number in 0..1100 {
        fs::write(sandbox.src().join(format!("{number:04}")), vec![b'x'; number / 100]).unwrap();
    }
    let id = sandbox.backup(&[]);
    let serving = Serving::start(&sandbox, &[]);
    let by_name: Vec<String> = (0..1100).map(|number| format!("{number:04}")).collect();
    let by_size: Vec<String> = (0..11).rev().flat_map(|size| by_name[size * 100..][..100].to_vec()).collect();
    // A page that begins at a name is produced like those of a directory that is too large to be held.
    for (query, wanted) in [
        ("", &by_name),
        ("?sort=size", &by_size),
        ("?from=0000", &by_name),
        ("?sort=size&from=1000", &by_size),
    ] {
        let mut at = format!("/s/{id}/src{query}");
        let mut seen = Vec::new();
        for _ in 0..3 {
            let page = serving.page(&at);
            let names =
                page.split("aria-label=\"Download ").skip(1).map(|rest| rest.split('"').next().unwrap());
            seen.extend(names.map(str::to_owned));
            let Some(next) = page.split_once("rel=\"next\" href=\"") else { break };
            at = next.1.split('"').next().unwrap().replace("&amp;", "&");
        }
        assert!(seen == *wanted, "{query}: {seen:?}");
    }
    assert_eq!(serving.get(&format!("/s/{id}/src?sort=time&from=none")).status, 404);
}

/// Returns the sessions of the repository, without heartbeats.
fn sessions(sandbox: &Sandbox) -> usize {
    let is_session = |path: &&Path| path.extension().is_none();
    sandbox.objects("sessions").iter().map(|path| path.as_path()).filter(is_session).count()
}

#[test]
fn idle_server_has_no_session_and_sees_changes() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    fs::write(sandbox.src().join("big"), Random::new(1).bytes(1_000_000)).unwrap();
    let first = sandbox.backup(&[]);
    let serving = Serving::start(&sandbox, &[]);
    assert_eq!(sessions(&sandbox), 0, "nobody has looked yet");
    serving.page("/");
    assert_eq!(sessions(&sandbox), 1);
    fs::remove_file(sandbox.src().join("big")).unwrap();
    let second = sandbox.backup(&[]);
    assert!(serving.page("/").contains(&second[..8]));
    sandbox.ok(&["forget", &first, "--allow-remove-all"]);
    let page = serving.page("/");
    assert!(!page.contains(&first[..8]) && page.contains(&second[..8]), "{page}");
    assert_eq!(serving.get(&format!("/s/{first}")).status, 404);
    until("the end of an idle session", || sessions(&sandbox) == 0);
    let packs = || {
        let lengths = sandbox.objects("packs").into_iter().map(|path| fs::metadata(path).unwrap().len());
        lengths.sum::<u64>()
    };
    let before = packs();
    sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0"]);
    let after = packs();
    assert!(after + 900_000 < before, "nothing is kept for an idle server: {before} and {after}");
    assert_eq!(serving.get("/dav/latest/src/a").body, b"1");
}

#[test]
fn server_stops_cleanly_while_clients_read() {
    for signal in ["-TERM", "-INT"] {
        let sandbox = Sandbox::new();
        fs::write(sandbox.src().join("long"), Random::new(1).bytes(12_000_000)).unwrap();
        let id = sandbox.backup(&[]);
        let mut serving = Serving::start(&sandbox, &[]);
        // Both read their first bytes and then nothing more.
        let readers = ["dav", "tar"].map(|how| {
            let mut stream = TcpStream::connect(&serving.address).unwrap();
            let request =
                format!("GET /{how}/{id}/src/long HTTP/1.1\r\nHost: localhost\r\n{}\r\n", serving.key);
            stream.write_all(request.as_bytes()).unwrap();
            let mut some = [0; 1000];
            stream.read_exact(&mut some).unwrap();
            assert!(some.starts_with(b"HTTP/1.1 200"));
            stream
        });
        assert!(sessions(&sandbox) >= 2, "one of the browser, one of the export");
        serving.signal(signal);
        assert_eq!(serving.child.wait().unwrap().code(), Some(0), "{signal}");
        assert_eq!(sandbox.objects("sessions"), Vec::<std::path::PathBuf>::new(), "{signal}");
        drop(readers);
    }
}
