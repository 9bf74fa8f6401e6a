//! Paths, patterns and locations in the file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Resolves a path: a relative one starts at the directory of the file, whatever the working directory is;
/// `~` and `~/` are the home directory.
pub(super) fn path(text: &str, dir: &Path) -> Result<PathBuf, String> {
    if let Some(rest) = below_home(text)? {
        return Ok(home()?.join(rest).components().collect());
    }
    // Normalized as absolute paths are everywhere in the program: without `.`.
    Ok(dir.join(text).components().collect())
}

/// Returns what follows a leading `~/` or `~`.
fn below_home(text: &str) -> Result<Option<&str>, String> {
    let Some(rest) = text.strip_prefix('~') else { return Ok(None) };
    match rest.strip_prefix('/') {
        Some(rest) => Ok(Some(rest)),
        None if rest.is_empty() => Ok(Some("")),
        None => Err(format!(
            "a path; `~` is your own home directory only (for a name that begins with ~, write ./{text})"
        )),
    }
}

fn home() -> Result<PathBuf, String> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    home.map(PathBuf::from).ok_or_else(|| "a path without `~`, since HOME is not set".to_owned())
}

/// Expands a leading `~/` of a pattern, which no shell does here.
pub(super) fn pattern(text: &str) -> Result<String, String> {
    let (not, rest) = text.strip_prefix('!').map_or(("", text), |rest| ("!", rest));
    let Some(rest) = rest.strip_prefix("~/") else { return Ok(text.to_owned()) };
    let home = home()?.into_os_string().into_string().map_err(|_| "no `~/`: HOME is not UTF-8".to_owned())?;
    let mut pattern = not.to_owned();
    for c in home.trim_end_matches('/').chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    Ok(format!("{pattern}/{rest}"))
}

/// Parses a repository: a text with a slash is a location, one without is a name.
pub(super) fn place(text: &str, dir: &Path) -> Result<OsString, String> {
    let is_path = text.contains('/') || matches!(text, "." | ".." | "~");
    if is_path { location(text, dir) } else { Ok(text.into()) }
}

/// Parses a location: a path, unless it begins with a scheme.
pub(super) fn location(text: &str, dir: &Path) -> Result<OsString, String> {
    let has_scheme = text.split(['/', '.']).next().is_some_and(|start| start.contains(':'));
    if has_scheme { Ok(text.into()) } else { Ok(path(text, dir)?.into()) }
}
