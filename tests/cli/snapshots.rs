//! Texts compared with files below `tests/golden`. `INSTA_UPDATE=always cargo test` rewrites them.

use std::path::Path;

/// Compares `text` with `tests/golden/FOLDER/NAME.snap`.
pub(crate) fn assert_unchanged(folder: &str, name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}
