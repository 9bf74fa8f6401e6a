//! Shows the details of an entry that is not a directory, and the beginning of a text.

use maud::{Markup, html};
use snap_backup::model::entry::{Entry, Kind, flags};

use super::Place;
use crate::serve::downloads::{Preview, SHOWN};
use crate::serve::pages::{kind, name, size, time};
use crate::serve::response::HttpError;
use crate::serve::url::preview_at;
use crate::terminal::output;

/// Number of bytes of a text that are shown.
const BEGINNING: u64 = 256 << 10;

pub(super) fn facts(entry: &Entry) -> Markup {
    let meta = &entry.meta;
    let who = |name: Option<&str>, id: u32| name.map_or_else(|| id.to_string(), output::printable);
    let timeless = meta.flags & flags::ANCESTOR_ONLY != 0;
    html! {
        dl {
            dt { "Kind" } dd { (kind(entry)) }
            @if entry.is_file() { dt { "Size" } dd { (output::size(entry.size())) @if entry.size() >= 1024 { " (" (entry.size()) " bytes)" } } }
            @if let Kind::Symlink { target } = &entry.kind { dt { "Target" } dd { (name(target)) } }
            @if !timeless { dt { "Modified" } dd { (time(meta.mtime)) } }
            dt { "Mode" } dd { code { (output::permissions(entry)) } }
            dt { "Owner" } dd { (who(meta.user.as_deref(), meta.uid)) ":" (who(meta.group.as_deref(), meta.gid)) }
        }
        @if let Some(why) = meta.loss() { p.bad { (why) } }
        @if meta.flags & flags::CHANGED_WHILE_READ != 0 {
            p.bad { "This file changed each time the backup read it: it may mix versions." }
        }
    }
}

/// Shows the beginning of a text, escaped; returns nothing for other files.
pub(super) fn preview(place: &Place<'_>) -> Result<Markup, HttpError> {
    let Kind::File { size: len, content } = &place.entry.kind else { return Ok(html! {}) };
    let shown = BEGINNING.min(*len);
    let bytes = place.visit.browser.read(*len, content, 0..shown)?;
    if let Some(preview) = Preview::of(&bytes).filter(|_| *len <= SHOWN) {
        let at = preview_at(&place.snapshot.id, place.path);
        return Ok(html! {
            h2 { "Preview" }
            @match preview {
                Preview::Image(_) => { img.preview src=(at) alt="The image in this file"; }
                Preview::Pdf => { iframe.preview src=(at) title="The document in this file" referrerpolicy="no-referrer" {} }
            }
        });
    }
    let Some(text) = beginning(bytes, shown < *len) else { return Ok(html! {}) };
    Ok(html! {
        @if !text.is_empty() {
            h2 { "Preview" }
            @if shown < *len { p.note { "The first " (size(shown)) "." } }
            pre.text tabindex="0" { @for line in text.lines() { (output::printable(&line.replace('\t', "    "))) "\n" } }
        }
    })
}

/// Returns the text if the bytes are UTF-8 without NUL; a character may be truncated at the end.
fn beginning(bytes: Vec<u8>, is_cut: bool) -> Option<String> {
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let (valid, cause) = (error.utf8_error().valid_up_to(), error.utf8_error().error_len());
            if !is_cut || cause.is_some() {
                return None;
            }
            let mut bytes = error.into_bytes();
            bytes.truncate(valid);
            String::from_utf8(bytes).ok()?
        }
    };
    (!text.contains('\0')).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_is_shown_and_a_character_may_be_cut_at_the_end() {
        let of = |bytes: &[u8], is_cut| beginning(bytes.to_vec(), is_cut);
        assert_eq!(of("é".as_bytes(), false).as_deref(), Some("é"));
        assert_eq!(of(b"a\xc3", true).as_deref(), Some("a"));
        assert_eq!((of(b"a\xc3", false), of(b"a\xffb", true), of(b"a\0b", false)), (None, None, None));
    }
}
