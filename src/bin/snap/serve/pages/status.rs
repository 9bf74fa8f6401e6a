//! The page with the state of the repository, as `snap status` prints it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use maud::{Markup, html};

use super::frame;
use crate::serve::app_state::AppState;
use crate::serve::request::PageRequest;
use crate::serve::response::HttpError;
use crate::serve::sessions::SharedSession;

pub(crate) fn page(
    site: &AppState,
    visit: &SharedSession,
    _: &PageRequest,
    _: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    let text = site.overview(visit)?.text;
    Ok(frame(&site.title, "Status", "/", html! { pre.status tabindex="0" { (text) } }))
}
