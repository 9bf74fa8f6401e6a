//! Forms of signed-in browsers. Each is protected against cross-site request forgery: it must come from a
//! page of this server, and contain the secret of this browser's session. A token is not sufficient, because
//! browsers resend a Basic password automatically.

pub(crate) mod allow;
pub(super) mod jobs;
mod restore;
mod run;

use std::sync::Arc;

use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode, header};
use subtle::ConstantTimeEq;

use crate::serve::app_state::{AppState, snapshot};
use crate::serve::downloads::Part;
use crate::serve::request::{Form, PageRequest, decoded};
use crate::serve::response::{Body, HttpError};
use crate::serve::{downloads, pages, response};

/// Returns whether this path accepts forms.
pub(in crate::serve) fn takes(asked: &PageRequest) -> bool {
    matches!(asked.first(), b"pick" | b"restore" | b"run" | b"logins")
}

/// Checks and parses a form.
///
/// # Errors
/// It may have been sent by another site, or is invalid.
pub(in crate::serve) fn checked(parts: &Parts, body: &[u8], asked: &PageRequest) -> Result<Form, HttpError> {
    let refused = |why: &str| HttpError::new(StatusCode::FORBIDDEN, why);
    let Some(csrf) = &asked.csrf else {
        return Err(refused("forms are accepted only from signed-in browsers"));
    };
    if !is_own_origin(parts) {
        return Err(refused("this form was sent from a page of another site"));
    }
    let kind = parts.headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    if kind.is_none_or(|kind| !kind.starts_with(b"application/x-www-form-urlencoded")) {
        return Err(HttpError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "only forms are accepted here"));
    }
    let form = Form::parse(body)?;
    let given = form.value("csrf").unwrap_or_default();
    if bool::from(csrf.as_bytes().ct_eq(given)) {
        Ok(form)
    } else {
        Err(refused("this form belongs to an earlier login: go back, reload the page, and repeat"))
    }
}

/// Returns whether a page of this server sent the request, by the headers that browsers add to every form.
fn is_own_origin(parts: &Parts) -> bool {
    let text = |name| {
        let mut values = parts.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    let (Some(origin), Some(host)) = (text(header::ORIGIN), text(header::HOST)) else { return false };
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// Responds to a form that has been checked.
pub(in crate::serve) async fn answer(
    site: &Arc<AppState>,
    asked: &PageRequest,
    form: &Form,
    base: &str,
) -> Result<Response<Body>, HttpError> {
    match asked.first() {
        b"pick" => pick(site, asked, form, base).await,
        b"restore" => {
            let part = part(site, asked, form).await?;
            let visit = site.look(|site| site.session_pool.visit()).await?;
            downloads::expect(site, &visit, &part, downloads::Form::TarGz).await?;
            let id = restore::start(site, visit, part, form.value("to").unwrap_or_default().trim_ascii())?;
            response::see_other(&format!("{base}/jobs/{id}"))
        }
        b"logins" => {
            let bad = |_| HttpError::new(StatusCode::BAD_REQUEST, "a login has a number");
            site.access.end(form.text("end").parse::<u64>().map_err(bad)?);
            response::see_other(&format!("{base}/logins"))
        }
        b"run" => response::see_other(&format!("{base}/jobs/{}", run::start(site, form)?)),
        _ => Err(HttpError::not_found("there is no such page")),
    }
}

/// Responds with the selected entries as an archive, or with the command that restores them.
async fn pick(
    site: &Arc<AppState>,
    asked: &PageRequest,
    form: &Form,
    base: &str,
) -> Result<Response<Body>, HttpError> {
    let part = part(site, asked, form).await?;
    let visit = site.look(|site| site.session_pool.visit()).await?;
    match form.value("as") {
        Some(b"zip") => downloads::of(site, visit, part, downloads::Form::Zip, &Method::POST).await,
        Some(b"tar") => downloads::of(site, visit, part, downloads::Form::TarGz, &Method::POST).await,
        Some(b"restore") => {
            downloads::expect(site, &visit, &part, downloads::Form::TarGz).await?;
            let page = pages::restore(site, asked, &part);
            Ok(response::page(StatusCode::OK, page, base))
        }
        _ => Err(HttpError::new(StatusCode::BAD_REQUEST, "as zip, tar or restore")),
    }
}

/// Returns the directory of the snapshot that the URL names, and the entries selected in it.
async fn part(site: &Arc<AppState>, asked: &PageRequest, form: &Form) -> Result<Part, HttpError> {
    let visit = site.look(|site| site.session_pool.visit()).await?;
    let bad = |why: &str| HttpError::new(StatusCode::BAD_REQUEST, why);
    let names: std::collections::BTreeSet<Vec<u8>> =
        form.values("e").map(decoded).collect::<Result<_, _>>()?;
    if names.iter().any(|name| {
        name.is_empty() || name == b"." || name == b".." || name.iter().any(|byte| matches!(byte, b'/' | 0))
    }) {
        return Err(bad("it is not the name of an entry"));
    }
    let whole = form.value("whole").is_some();
    if names.is_empty() && !whole {
        return Err(bad("no entries are selected: go back to the list and select some"));
    }
    let names = (!whole).then_some(names);
    Ok(Part { id: snapshot(&visit, asked)?.id, path: asked.stored(2), names })
}
