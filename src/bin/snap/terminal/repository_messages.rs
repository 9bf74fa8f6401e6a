//! Messages of open repositories. They are printed between other output, where no progress is shown.

use snap_backup::progress::{MessageBuffer, Observer};
use snap_backup::repo::repository::Repository;
use snap_backup::{Control, Event};

use super::output;

/// Messages that are not printed yet. One buffer for all repositories, as there is one standard error.
static PENDING: MessageBuffer = MessageBuffer::new();

/// Returns the control with which every repository is opened.
pub(crate) fn control() -> Control<'static> {
    Control::shared(|event: Event<'_>| PENDING.notice(event))
}

/// Removes and returns the warnings, with those of the repository's storage.
pub(crate) fn take_warnings(repo: &Repository) -> Vec<String> {
    let mut warnings = PENDING.take_warnings();
    warnings.extend(repo.storage().cautions());
    warnings
}

/// Prints the pending warnings and, with `with_notes`, the notes.
pub(crate) fn print(repo: &Repository, json: bool, with_notes: bool) {
    take_warnings(repo).iter().for_each(|text| output::warn(json, text));
    PENDING.take_notes().iter().filter(|_| with_notes).for_each(|text| output::note(json, text));
}
