//! HTML pages without scripts. All text goes through maud, which escapes it.

mod browse;
mod chart;
mod compare;
mod search;
mod snapshots;
mod stats;
mod status;
mod versions;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hyper::Response;
use maud::{DOCTYPE, Markup, html};
use snap_backup::model::entry::{Entry, Kind, Time};
use snap_backup::repo::snapshots::Snapshot;

pub(super) use browse::page as browse;
pub(super) use compare::page as compare;
pub(super) use search::page as search;
pub(super) use snapshots::page as snapshots;
pub(super) use stats::page as stats;
pub(super) use status::page as status;
pub(super) use versions::page as versions;

use crate::serve::request::{PageRequest, shown_at};
use crate::serve::response;
use crate::serve::response::{Body, HttpError};
use crate::serve::router::AppState;
use crate::serve::sessions::SharedSession;
use crate::terminal::output;

/// A function that builds a page. The flag is set when the client has disconnected.
pub(super) type Shown =
    fn(&AppState, &SharedSession, &PageRequest, &Arc<AtomicBool>) -> Result<Markup, HttpError>;

const PLACES: [(&str, &str); 4] =
    [("/", "Snapshots"), ("/search", "Search"), ("/stats", "Statistics"), ("/status", "Status")];

/// Returns the frame of all pages. `here` is the entry of the navigation that the page belongs to.
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
                }
                main #main tabindex="-1" { h1 { (title) } (content) }
                footer {
                    "Read only. WebDAV: " code { "dav/" } " at this server's address, any user, the token as password. "
                    form.logout method="post" action="/logout" { button { "Sign out" } }
                }
            }
        }
    }
}

/// Returns a page for an unauthenticated client. It loads nothing else from the server, and reveals
/// nothing.
pub(super) fn stranger(content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; meta name="color-scheme" content="light dark"; title { "Sign in · snap" } }
            body { main { h1 { "snap" } (content) } }
        }
    }
}

/// Returns an error page.
pub(super) fn refusal(site: &str, refusal: &HttpError, base: &str) -> Response<Body> {
    let title = refusal.status.canonical_reason().unwrap_or("Error");
    let content = html! { p.bad role="alert" { (output::printable(&refusal.why)) } p { a href="/" { "All snapshots" } } };
    response::page(refusal.status, frame(site, title, "", content), base)
}

/// Formats a name or path of any bytes; a line may break after a slash.
fn name(bytes: &[u8]) -> Markup {
    let shown = output::path(bytes);
    let mut parts = shown.split_inclusive('/');
    html! { bdi { (parts.next().unwrap_or_default()) @for part in parts { wbr; (part) } } }
}

/// Formats a time that is also machine-readable; a line may break between date and time.
fn time(at: Time) -> Markup {
    let shown = output::local(at);
    let mut parts = shown.split(' ');
    html! {
        time datetime=(output::rfc3339(at)) {
            span { (parts.next().unwrap_or_default()) } @for part in parts { " " span { (part) } }
        }
    }
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
fn problems(problems: &[(Vec<u8>, String)]) -> Markup {
    html! {
        @if !problems.is_empty() {
            div.bad role="alert" {
                p { "Not all could be read. " code { "snap check --read-data" } " says what is affected." }
                ul { @for (path, why) in problems.iter().take(20) { li { (name(path)) ": " (output::printable(why)) } } }
            }
        }
    }
}
