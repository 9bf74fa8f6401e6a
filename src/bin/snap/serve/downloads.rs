//! Downloads of directories, or selected entries of one, as archives.

use std::collections::BTreeSet;
use std::sync::Arc;

use hyper::header::HeaderValue;
use hyper::{Method, Response, StatusCode, header};
use snap_backup::model::entry::Kind;
use snap_backup::model::id::SnapshotId;
use snap_backup::ops::export;
use snap_backup::progress::Event;
use snap_backup::{Control, Error, Result};
use tokio::task::spawn_blocking;

use crate::serve::app_state::{AppState, in_turn, selector, snapshot};
use crate::serve::request::PageRequest;
use crate::serve::response::{self, Body, HttpError, Pipe};
use crate::serve::sessions::SharedSession;
use crate::zip_archive;

/// The format of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Contains everything that a snapshot stores about an entry.
    TarGz,
    /// For systems without tar: lacks devices, owners and extended attributes.
    Zip,
}

/// A path of a snapshot to download or restore, or some of its entries.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) id: SnapshotId,
    pub(super) path: Vec<u8>,
    /// Names of the selected entries of the directory; all if `None`.
    pub(super) names: Option<BTreeSet<Vec<u8>>>,
}

/// Responds with a snapshot or a part of it.
pub(super) async fn archive(
    site: &Arc<AppState>,
    asked: &PageRequest,
    method: &Method,
    form: Form,
) -> Result<Response<Body>, HttpError> {
    let visit = site.look(|site| site.session_pool.visit()).await?;
    let part = Part { id: snapshot(&visit, asked)?.id, path: asked.stored(2), names: None };
    of(site, visit, part, form, method).await
}

/// Responds with an archive of a part, after checking that all of it exists.
pub(super) async fn of(
    site: &Arc<AppState>,
    visit: Arc<SharedSession>,
    part: Part,
    form: Form,
    method: &Method,
) -> Result<Response<Body>, HttpError> {
    expect(site, &visit, &part, form).await?;
    let (pipe, body) = response::pipe();
    let mut response = Response::new(body);
    let (kind, end): (_, &[u8]) = match form {
        Form::TarGz => ("application/gzip", b".tar.gz"),
        Form::Zip => ("application/zip", b".zip"),
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    let short = part.id.short().into_bytes();
    let last = part.path.rsplit(|byte| *byte == b'/').next().filter(|last| !last.is_empty());
    response::attach(&mut response, &[last.unwrap_or(&short), end].concat());
    if method == Method::HEAD {
        return Ok(response);
    }
    let place = in_turn(Arc::clone(&site.archives).acquire_owned()).await?;
    let site = Arc::clone(site);
    spawn_blocking(move || {
        write(&site, &visit, part, form, pipe);
        drop(place);
        site.session_pool.pass_on_warnings();
    });
    Ok(response)
}

/// Checks that all selected entries exist, because an error cannot be reported in the middle of an archive.
pub(super) async fn expect(
    site: &Arc<AppState>,
    visit: &Arc<SharedSession>,
    part: &Part,
    form: Form,
) -> Result<(), HttpError> {
    let (visit, part) = (Arc::clone(visit), part.clone());
    let found = site.look(move |_| {
        let snapshot = visit.browser.snapshot(&part.id).ok_or(Error::Stopped)?;
        let top = visit.browser.entry(snapshot, &part.path)?;
        let is_whole =
            top.as_ref().is_some_and(|top| top.is_dir() || form == Form::TarGz && part.names.is_none());
        for name in part.names.iter().flatten().filter(|_| is_whole) {
            let path =
                if part.path.is_empty() { name.clone() } else { [&part.path[..], b"/", name].concat() };
            if visit.browser.entry(snapshot, &path)?.is_none() {
                return Ok(false);
            }
        }
        Ok(is_whole)
    });
    if found.await? { Ok(()) } else { Err(HttpError::not_found("the snapshot has no such entry")) }
}

/// Writes an archive. Stops when the client disconnects, because writes fail then.
fn write(site: &AppState, visit: &SharedSession, part: Part, form: Form, mut pipe: Pipe) {
    let control = Control::new(&site.session_pool);
    let done = match form {
        Form::TarGz => {
            let selector = selector(&part.id, &part.path);
            let options = export::Options { selector, names: part.names, ..export::Options::default() };
            export::run(visit.repo(), &options, &mut pipe, &control).map(drop)
        }
        Form::Zip => {
            let Part { id, path, names } = &part;
            let dir = zip_archive::Dir {
                repo: visit.repo(),
                snapshot: id,
                path,
                prefix: b"",
                names: names.as_ref(),
            };
            zip_archive::write(dir, &mut pipe, &control)
        }
    };
    let is_whole = done.is_ok();
    // A disconnected client is not an error. Of any other error, the client sees only an aborted download.
    if let Err(error) = done
        && !error.is_broken_pipe()
    {
        control.observer().notice(Event::Warning(&format!("a download was aborted: {}", error.chain())));
    }
    pipe.end(is_whole);
}

/// Maximum size in bytes of an image or PDF document that is previewed.
pub(super) const SHOWN: u64 = 8 << 20;

/// Previews other than text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Preview {
    /// An image in a format that cannot contain scripts.
    Image(&'static str),
    /// A PDF document, which the browser's viewer shows in a frame.
    Pdf,
}

impl Preview {
    /// Detects the type of a preview by the first bytes of the file.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Self::Image("image/png")),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Image("image/jpeg")),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Image("image/gif")),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
                Some(Self::Image("image/webp"))
            }
            [b'%', b'P', b'D', b'F', b'-', ..] => Some(Self::Pdf),
            _ => None,
        }
    }

    /// Returns the media type and the Content-Security-Policy. The sandbox gives the file an opaque origin
    /// without cookies or scripts, even if it is opened directly. Only pages of this server may frame a
    /// document.
    fn headers(self) -> (&'static str, &'static str) {
        match self {
            Self::Image(kind) => (kind, "sandbox; default-src 'none'; frame-ancestors 'none'"),
            Self::Pdf => ("application/pdf", "sandbox; default-src 'none'; frame-ancestors 'self'"),
        }
    }
}

/// Responds with the preview of a file, if it is an image or a PDF document.
pub(super) async fn preview(site: &Arc<AppState>, asked: &PageRequest) -> Result<Response<Body>, HttpError> {
    let visit = site.look(|site| site.session_pool.visit()).await?;
    let (id, path) = (snapshot(&visit, asked)?.id, asked.stored(2));
    let bytes = site.look(move |_| {
        let snapshot = visit.browser.snapshot(&id).ok_or(Error::Stopped)?;
        match visit.browser.entry(snapshot, &path)?.map(|entry| entry.kind) {
            Some(Kind::File { size, content }) if size <= SHOWN => {
                visit.browser.read(size, &content, 0..size).map(Some)
            }
            _ => Ok(None),
        }
    });
    let nothing = || HttpError::not_found("this content cannot be shown");
    let bytes = bytes.await?.ok_or_else(nothing)?;
    let (kind, policy) = Preview::of(&bytes).ok_or_else(nothing)?.headers();
    let mut response = response::of(StatusCode::OK, kind, bytes);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pixels_and_pdf_are_shown() {
        for (bytes, kind) in [
            (&b"\x89PNG\r\n\x1a\n..."[..], Some(Preview::Image("image/png"))),
            (b"\xff\xd8\xff\xe0", Some(Preview::Image("image/jpeg"))),
            (b"GIF89a", Some(Preview::Image("image/gif"))),
            (b"RIFF1234WEBPVP8 ", Some(Preview::Image("image/webp"))),
            (b"<svg xmlns='http://www.w3.org/2000/svg'><script/>", None),
            (b"<html>", None),
            (b"%PDF-1.7", Some(Preview::Pdf)),
            (b" %PDF-1.7", None),
            (b"", None),
        ] {
            assert_eq!(Preview::of(bytes), kind, "{bytes:?}");
        }
    }
}
