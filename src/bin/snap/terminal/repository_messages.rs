//! Messages of open repositories. They are printed between other output, where no progress is shown.

use snap_backup::progress::{MessageBuffer, Observer};
use snap_backup::repo::repository::Repository;
use snap_backup::{Control, Event};

use super::output;

/// Messages that are not printed yet. One buffer for all repositories, as there is one standard error.
static SAID: MessageBuffer = MessageBuffer::new();

/// Returns what a repository is opened with.
pub(crate) fn control() -> Control<'static> {
    Control::shared(|event: Event<'_>| SAID.notice(event))
}

/// Removes and returns the warnings, with those of the repository's storage.
pub(crate) fn warnings(repo: &Repository) -> Vec<String> {
    let mut warnings = SAID.take_warnings();
    warnings.extend(repo.storage().cautions());
    warnings
}

/// Prints the warnings and, if wanted, the notes.
pub(crate) fn pass_on(repo: &Repository, json: bool, talks: bool) {
    warnings(repo).iter().for_each(|text| output::warn(json, text));
    SAID.take_notes().iter().filter(|_| talks).for_each(|text| output::note(json, text));
}
