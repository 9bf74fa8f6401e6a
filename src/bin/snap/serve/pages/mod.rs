//! HTML pages without scripts. All text goes through maud, which escapes it.

mod browse;
mod chart;
mod compare;
mod difference;
mod jobs;
mod logins;
mod overview;
mod restore;
mod search;
mod snapshots;
mod stats;
mod status;
mod usage;
mod versions;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hyper::Response;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use snap_backup::Problem;
use snap_backup::model::entry::{Entry, Kind, Time};
use snap_backup::repo::snapshots::Snapshot;

pub(super) use browse::page as browse;
pub(super) use compare::page as compare;
pub(super) use difference::page as difference;
pub(super) use jobs::page as jobs;
pub(super) use logins::page as logins;
pub(super) use overview::page as overview;
pub(super) use restore::{page as restore, pattern};
pub(super) use search::page as search;
pub(super) use snapshots::page as snapshots;
pub(super) use stats::page as stats;
pub(super) use status::page as status;
pub(super) use usage::page as usage;
pub(super) use versions::page as versions;

use crate::serve::app_state::AppState;
use crate::serve::background::Work;
use crate::serve::request::PageRequest;
use crate::serve::response::{Body, HttpError};
use crate::serve::sessions::SharedSession;
use crate::serve::url::shown_at;
use crate::serve::{response, style};
use crate::terminal::output;

/// A function that builds a page. The flag is set when the client has disconnected.
pub(super) type Shown =
    fn(&AppState, &SharedSession, &PageRequest, &Arc<AtomicBool>) -> Result<Markup, HttpError>;

const PLACES: [(&str, &str); 4] =
    [("/", "Overview"), ("/snapshots", "Snapshots"), ("/search", "Search"), ("/stats", "Statistics")];

/// Returns the frame of all pages. `here` is the active entry of the navigation.
fn frame(site: &str, title: &str, here: &str, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · snap" }
                link rel="icon" type="image/svg+xml" href="/icon.svg";
                link rel="stylesheet" href="/style.css";
            }
            body {
                a.skip href="#main" { "Skip to content" }
                header {
                    a.brand href="/" { "snap " span.where { bdi { (output::printable(site)) } } }
                    nav aria-label="Pages" {
                        @for (at, name) in PLACES {
                            @if at == here { a href=(at) aria-current="page" { (name) } }
                            @else { a href=(at) { (name) } }
                        }
                    }
                    @if here != "/search" {
                        form.find action="/search" role="search" {
                            input type="search" name="q" aria-label="Find a file in all snapshots" placeholder="Find a file";
                            button { "Find" }
                        }
                    }
                }
                main #main tabindex="-1" { h1 { (title) } (content) }
                footer {
                    p { "WebDAV: add " code { "dav/" } " to this server's address; the password is the token, the user name may be any." }
                    a href="/logins" { "Signed-in browsers" }
                    form.logout method="post" action="/logout" { button { "Sign out" } }
                }
            }
        }
    }
}

/// Returns a page for an unauthenticated client. It loads no other resources of the server, and reveals
/// nothing.
pub(super) fn login(content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Sign in · snap" }
                style { (PreEscaped(style::LOGIN)) }
            }
            body { main { h1 { "snap" } (content) } }
        }
    }
}

/// Returns an error page.
pub(super) fn refusal(site: &str, refusal: &HttpError, base: &str) -> Response<Body> {
    let title = refusal.status.canonical_reason().unwrap_or("Error");
    let content =
        html! { p.bad role="alert" { (output::printable(&refusal.why)) } p { a href="/" { "Overview" } } };
    response::page(refusal.status, frame(site, title, "", content), base)
}

/// Formats a name or path of any bytes. Lines may break after a slash.
fn name(bytes: &[u8]) -> Markup {
    let shown = output::path(bytes);
    let mut parts = shown.split_inclusive('/');
    html! { bdi { (parts.next().unwrap_or_default()) @for part in parts { wbr; (part) } } }
}

/// Formats a time in machine-readable form as well. Lines may break between date and time.
fn time(at: Time) -> Markup {
    let shown = output::local(at);
    let mut parts = shown.split(' ');
    html! {
        time datetime=(output::rfc3339(at)) {
            span { (parts.next().unwrap_or_default()) } @for part in parts { " " span { (part) } }
        }
    }
}

/// Returns the day of a snapshot in local time.
fn day(snapshot: &Snapshot) -> String {
    output::local(snapshot.manifest.started).chars().take(10).collect()
}

/// Returns whether a path is below a directory, and not the directory itself.
fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.starts_with(b"/"))
}

/// Formats a size, with the exact number as a tooltip.
fn size(bytes: u64) -> Markup {
    html! { span title={ (bytes) " bytes" } { (output::size(bytes)) } }
}

/// Formats the size of a file, and a dash for other entries.
fn size_of(entry: &Entry) -> Markup {
    if entry.is_file() {
        size(entry.size())
    } else {
        html! { "–" }
    }
}

/// Formats a link to a snapshot.
fn link(snapshot: &Snapshot) -> Markup {
    html! { a.id href=(shown_at(&snapshot.id, b"")) { (snapshot.id.short()) } }
}

/// Returns the type of an entry.
fn kind(entry: &Entry) -> &'static str {
    match entry.kind {
        Kind::File { .. } => "file",
        Kind::Dir { .. } => "directory",
        Kind::Symlink { .. } => "link",
        Kind::Fifo => "pipe",
        Kind::Socket => "socket",
        Kind::CharDevice { .. } | Kind::BlockDevice { .. } => "device",
    }
}

/// Lists problems that occurred while the page was built.
fn problems(problems: &[Problem]) -> Markup {
    html! {
        @if !problems.is_empty() {
            div.bad role="alert" {
                p { "A part could not be read. " code { "snap check --read-data" } " lists what is affected." }
                ul { @for one in problems.iter().take(20) { li { (name(&one.path)) ": " (output::printable(&one.message)) } } }
            }
        }
    }
}

/// Shows the progress of background work, or that other work is running first. The page reloads
/// automatically.
fn working(work: Option<&Work>, unit: &str) -> Markup {
    let (done, expected) = work.map_or((0, 0), Work::progress);
    html! {
        p role="status" {
            @match work {
                None => { "Another count is running; this one is next." }
                Some(work) => {
                    "Counting since " (time(work.started)) ": " (done)
                    @if expected > 0 { " of " (expected) } " " (unit) " so far."
                }
            }
        }
        @if expected > 0 { progress aria-label="Progress" value=(done.min(expected)) max=(expected) {} }
        p.note { "This page reloads until the work is done. You can leave it: the work continues." }
    }
}

/// Returns the form field with the secret of this browser's session; nothing if the request was authenticated
/// by a token.
fn csrf(asked: &PageRequest) -> Markup {
    html! { @if let Some(csrf) = &asked.csrf { input type="hidden" name="csrf" value=(csrf); } }
}

/// Quotes a word for a POSIX shell. Bytes that are not UTF-8 are quoted as `$'...'`, which bash, zsh and ksh
/// support.
fn shell_word(word: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+~".contains(byte);
    match std::str::from_utf8(word) {
        Ok(text) if !text.is_empty() && word.iter().all(plain) => text.to_owned(),
        Ok(text) if !text.chars().any(char::is_control) => format!("'{}'", text.replace('\'', "'\\''")),
        _ => {
            let escaped = word.iter().map(|byte| match byte {
                b'\'' | b'\\' => format!("\\{}", char::from(*byte)),
                b' '..=b'~' => char::from(*byte).to_string(),
                byte => format!("\\x{byte:02x}"),
            });
            format!("$'{}'", escaped.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_quoting_roundtrips() {
        for word in [
            &b"plain/a-b_c.d"[..],
            b"",
            b"a b",
            b"it's",
            b"$(x) `y` \"z\"",
            b"\xff\n'\\",
            b"\xc3\xa9",
            b"*?[x]",
        ] {
            let script = format!("printf %s {}", shell_word(word));
            let output = std::process::Command::new("bash").arg("-c").arg(script).output().unwrap();
            assert_eq!(output.stdout, word, "{}", shell_word(word));
        }
    }
}
