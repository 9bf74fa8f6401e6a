//! What open repositories have to say. It is printed between other output, where no progress is shown.

use parking_lot::Mutex;
use snap_backup::repo::repository::Repository;
use snap_backup::{Control, Event};

use super::output;

/// Warnings and notes that are not printed yet, each once. One list for all repositories, as there is one
/// standard error.
static SAID: Mutex<(Vec<String>, Vec<String>)> = Mutex::new((Vec::new(), Vec::new()));

/// Returns what a repository is opened with.
pub(crate) fn control() -> Control<'static> {
    Control::shared(|event: Event<'_>| match event {
        Event::Warning(text) => add(&mut SAID.lock().0, text),
        Event::Note(text) => add(&mut SAID.lock().1, text),
        _ => {}
    })
}

fn add(said: &mut Vec<String>, text: &str) {
    if !said.iter().any(|known| known == text) {
        said.push(text.to_owned());
    }
}

/// Returns and forgets the warnings, with those of the repository's storage.
pub(crate) fn warnings(repo: &Repository) -> Vec<String> {
    let mut warnings = std::mem::take(&mut SAID.lock().0);
    warnings.extend(repo.storage().cautions());
    warnings
}

/// Prints the warnings and, if wanted, the notes.
pub(crate) fn pass_on(repo: &Repository, json: bool, talks: bool) {
    warnings(repo).iter().for_each(|text| output::warn(json, text));
    let notes = std::mem::take(&mut SAID.lock().1);
    notes.iter().filter(|_| talks).for_each(|text| output::note(json, text));
}
