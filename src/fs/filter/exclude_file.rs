//! Files that contain lists: one pattern, or one path, per line.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::fs::filter::pattern::Pattern;

const UTF8_MARK: &[u8] = b"\xef\xbb\xbf";
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Reads the patterns of an exclude file. Empty lines and lines that begin with `#` are skipped.
pub(super) fn read(file: &Path, list: &mut Vec<Pattern>) -> Result<()> {
    for (number, line) in lines(file)? {
        let at = |err| match err {
            Error::Usage(why) => Error::Usage(format!("{}, line {number}: {why}", file.display())),
            other => other,
        };
        list.push(Pattern::parse(line.as_bytes(), true, false).map_err(at)?);
    }
    Ok(())
}

/// Returns the lines of an exclude file without parsing them as patterns.
///
/// # Errors
/// The file cannot be read, or is not UTF-8.
pub fn patterns_of(file: &Path) -> Result<Vec<OsString>> {
    Ok(lines(file)?.into_iter().map(|(_, line)| line).collect())
}

fn lines(file: &Path) -> Result<Vec<(usize, OsString)>> {
    let bytes = fs::read(file).map_err(Error::io("read", file))?;
    let lines = (1..).zip(text_of(&bytes, file)?.split(|byte| *byte == b'\n'));
    let lines = lines.map(|(number, line)| (number, line.trim_ascii()));
    let patterns = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with(b"#"));
    Ok(patterns.map(|(number, line)| (number, OsStr::from_bytes(line).to_owned())).collect())
}

/// Removes the byte order mark that some editors write.
///
/// # Errors
/// The file is UTF-16 or contains a NUL: its patterns would match nothing.
pub fn text_of<'a>(bytes: &'a [u8], file: &Path) -> Result<&'a [u8]> {
    let is_utf16 = UTF16_MARKS.iter().any(|mark| bytes.starts_with(mark));
    if is_utf16 || bytes.contains(&0) {
        let what = if is_utf16 { "is UTF-16" } else { "contains a NUL, which no name can contain" };
        return Err(Error::Usage(format!("{} {what}: save it as UTF-8", file.display())));
    }
    Ok(bytes.strip_prefix(UTF8_MARK).unwrap_or(bytes))
}
