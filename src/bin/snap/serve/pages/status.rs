//! How long ago what was backed up, and what is wrong: as `snap status` says it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use maud::{Markup, html};

use super::frame;
use crate::serve::request::Asked;
use crate::serve::response::Refusal;
use crate::serve::router::Site;
use crate::serve::sessions::Visit;

pub(crate) fn page(site: &Site, visit: &Visit, _: &Asked, _: &Arc<AtomicBool>) -> Result<Markup, Refusal> {
    let text = site.status(visit)?;
    Ok(frame(&site.title, "Status", "/status", html! { pre.status tabindex="0" { (text) } }))
}
