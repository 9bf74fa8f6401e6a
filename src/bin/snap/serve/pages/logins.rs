//! The page with the signed-in browsers, each of which can be signed out.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use maud::{Markup, html};

use super::{csrf, frame};
use crate::serve::app_state::AppState;
use crate::serve::request::PageRequest;
use crate::serve::response::HttpError;
use crate::serve::sessions::SharedSession;
use crate::terminal::output::count;

pub(crate) fn page(
    site: &AppState,
    _: &SharedSession,
    asked: &PageRequest,
    _: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let content = html! {
        table.stack {
            thead { tr {
                th scope="col" { "Login" } th scope="col" { "Signed in" } th scope="col" { "Last request" }
                th scope="col" { span.hidden { "Sign out" } }
            } }
            tbody { @for login in site.access.logins(Instant::now()) {
                tr {
                    td { (login.number) @if asked.login == Some(login.number) { " " span.tag { "this browser" } } }
                    td data-label="Signed in" { (ago(login.since)) }
                    td data-label="Last request" { (ago(login.used)) }
                    td { @if asked.csrf.is_some() {
                        form method="post" action="/logins" {
                            (csrf(asked))
                            button name="end" value=(login.number) aria-label={ "Sign out login " (login.number) } { "Sign out" }
                        }
                    } }
                }
            } }
        }
        p.note { "A browser is signed out after an hour without a request, and after 12 hours. WebDAV \
                  clients use the token and are not in this list." }
    };
    Ok(frame(&site.title, "Signed-in browsers", "", content))
}

fn ago(time: Duration) -> String {
    match time.as_secs() / 60 {
        0 => "just now".to_owned(),
        minutes @ ..120 => format!("{} ago", count(minutes, "minute", "minutes")),
        minutes => format!("{} ago", count(minutes / 60, "hour", "hours")),
    }
}
