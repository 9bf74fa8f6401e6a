//! The page with the ways to restore the selected entries: a command, and downloads.

use std::path::Path;

use maud::{Markup, html};
use snap_backup::model::entry::Time;

use super::{csrf, frame, name, shell_word};
use crate::serve::app_state::AppState;
use crate::serve::downloads::Part;
use crate::serve::request::PageRequest;
use crate::serve::url::{encoded, encoded_path, shown_at};
use crate::terminal::output::{self, count};

/// Maximum number of entries that are listed.
const MOST: usize = 20;

pub(in crate::serve) fn page(site: &AppState, asked: &PageRequest, part: &Part) -> Markup {
    let at = format!("/pick/{}/{}", part.id, encoded_path(&part.path));
    let names = part.names.iter().flatten();
    let number = part.names.as_ref().map_or(0, std::collections::BTreeSet::len);
    let content = html! {
        p {
            @if part.names.is_none() { "All of " } @else { (count(number as u64, "entry of ", "entries of ")) }
            a href=(shown_at(&part.id, &part.path)) { code { (part.id.short()) ":/" (name(&part.path)) } }
        }
        @if number > 0 {
            ul.picked { @for one in names.clone().take(MOST) { li { (name(one)) } } @if number > MOST { li { "and " (number - MOST) " more" } } }
        }
        h2 { "Restore on the command line" }
        p { "To a new directory, on a machine with access to the repository:" }
        pre.command tabindex="0" { code { (command(&site.location, part)) } }
        @if let Some(dir) = &site.allow.restore { (here(asked, part, dir)) }
        h2 { "Download" }
        form method="post" action=(at) {
            (csrf(asked))
            @if part.names.is_none() { input type="hidden" name="whole" value="on"; }
            @for one in names { (entry(one)) }
            p.actions {
                button name="as" value="zip" { "Download as zip" }
                button name="as" value="tar" { "Download as tar.gz" }
            }
            p.note { "A zip archive opens everywhere; tar.gz keeps owners, permissions, links and attributes." }
        }
    };
    frame(&site.title, "Restore", "", content)
}

/// The form that restores to a new directory on the server.
fn here(asked: &PageRequest, part: &Part, dir: &Path) -> Markup {
    let at = format!("/restore/{}/{}", part.id, encoded_path(&part.path));
    let name = format!("restored-{}", output::local(Time::now()).replace(' ', "-").replace(':', ""));
    html! {
        h2 { "Restore on the server" }
        form.search method="post" action=(at) {
            (csrf(asked))
            @if part.names.is_none() { input type="hidden" name="whole" value="on"; }
            @for one in part.names.iter().flatten() { (entry(one)) }
            label { "New directory in " code { (output::printable(&dir.display().to_string())) } " " input name="to" value=(name) required size="32"; }
            button.first { "Restore" }
        }
        p.note { "Existing files are not changed. Every restored file is read back. Set-user-ID and \
                  set-group-ID bits, capabilities and devices are not restored." }
    }
}

/// A hidden field with the name of an entry. It is percent-encoded, because names may be any bytes, but a
/// form sends text.
fn entry(name: &[u8]) -> Markup {
    html! { input type="hidden" name="e" value=(encoded(name)); }
}

/// Returns the shell command that restores a part to a new directory.
pub(super) fn command(location: &str, part: &Part) -> String {
    let mut selector = part.id.hex().into_bytes();
    if !part.path.is_empty() {
        selector.extend([b":/", &part.path[..]].concat());
    }
    let mut line = format!("snap -r {} restore {}", shell_word(location.as_bytes()), shell_word(&selector));
    for name in part.names.iter().flatten() {
        line += " --include ";
        line += &shell_word(&pattern(name));
    }
    line + " --target restored"
}

/// Returns a pattern that matches exactly this name at the top level.
pub(in crate::serve) fn pattern(name: &[u8]) -> Vec<u8> {
    let mut pattern = vec![b'/'];
    for byte in name {
        if b"*?[]\\".contains(byte) {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use snap_backup::model::id::SnapshotId;

    use super::*;

    #[test]
    fn the_command_names_exactly_what_was_ticked() {
        let names = [b"a b".to_vec(), b"x*".to_vec()].into_iter().collect();
        let part = Part { id: SnapshotId::new([1; 16]), path: b"src/it's".to_vec(), names: Some(names) };
        let id = part.id.hex();
        assert_eq!(
            command("/srv/my repo", &part),
            format!(
                "snap -r '/srv/my repo' restore '{id}:/src/it'\\''s' --include '/a b' --include '/x\\*' --target restored"
            )
        );
        let whole = Part { id: part.id, path: Vec::new(), names: None };
        assert_eq!(command("/r", &whole), format!("snap -r /r restore {id} --target restored"));
    }
}
