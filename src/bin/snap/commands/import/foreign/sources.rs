//! Chooses the sources of an imported snapshot: the paths that were backed up, if the snapshot contains
//! nothing else, otherwise its root.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use snap_backup::ops::backup::states::StateSource;

/// Chooses the sources of a snapshot whose files are below `root`. `paths` are the paths given to the
/// original backup.
pub(super) fn choose(root: &Path, paths: &[Vec<u8>]) -> Vec<StateSource> {
    let mut sources: BTreeSet<PathBuf> = BTreeSet::new();
    for path in paths.iter().map(|path| below_root(path)) {
        if !path.as_os_str().is_empty() && root.join(&path).symlink_metadata().is_ok() {
            sources.insert(path);
        }
    }
    let outermost: BTreeSet<PathBuf> = sources
        .iter()
        .filter(|path| !path.ancestors().skip(1).any(|above| sources.contains(above)))
        .cloned()
        .collect();
    if outermost.is_empty() || !is_all(root, Path::new(""), &outermost) {
        return vec![StateSource { place: root.to_path_buf(), stored: b"/".to_vec() }];
    }
    let source = |path: PathBuf| StateSource {
        place: root.join(&path),
        stored: [b"/", path.as_os_str().as_bytes()].concat(),
    };
    outermost.into_iter().map(source).collect()
}

/// Converts a path to one relative to the snapshot's root: `/home/me` to `home/me`, and `C:\Users` to
/// `C/Users`, as restic stores it.
fn below_root(path: &[u8]) -> PathBuf {
    let is_windows = matches!(path, [drive, b':', b'\\' | b'/', ..] if drive.is_ascii_alphabetic());
    let path: Vec<u8> = if is_windows {
        path.iter()
            .filter(|byte| **byte != b':')
            .map(|byte| if *byte == b'\\' { b'/' } else { *byte })
            .collect()
    } else {
        path.to_vec()
    };
    let mut out = PathBuf::new();
    for part in Path::new(OsStr::from_bytes(&path)).components() {
        match part {
            Component::Normal(name) => out.push(name),
            // The directory that a relative path started from is unknown.
            Component::ParentDir => return PathBuf::new(),
            _ => {}
        }
    }
    out
}

/// Returns whether a directory above the sources contains only directories that lead to sources.
fn is_all(root: &Path, dir: &Path, sources: &BTreeSet<PathBuf>) -> bool {
    let Ok(entries) = std::fs::read_dir(root.join(dir)) else { return false };
    entries.into_iter().all(|entry| {
        let Ok(entry) = entry else { return false };
        let path = dir.join(entry.file_name());
        sources.contains(&path)
            || sources.iter().any(|source| source.starts_with(&path)) && is_all(root, &path, sources)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(there: &[&str], paths: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for path in there {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        let paths: Vec<Vec<u8>> = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        let found = choose(dir.path(), &paths);
        found.into_iter().map(|source| String::from_utf8(source.stored).unwrap()).collect()
    }

    #[test]
    fn the_named_paths_are_the_sources_if_there_is_nothing_else() {
        assert_eq!(chosen(&["home/me/x", "etc"], &["/home/me", "/etc"]), ["/etc", "/home/me"]);
        assert_eq!(chosen(&["home/me/x"], &["/home/me", "/home/me/x"]), ["/home/me"]);
        assert_eq!(chosen(&["C/Users/me"], &["C:\\Users\\me"]), ["/C/Users/me"]);
    }

    #[test]
    fn content_outside_named_paths_makes_the_root_the_source() {
        assert_eq!(chosen(&["home/me", "home/you"], &["/home/me"]), ["/"]);
        assert_eq!(chosen(&["etc", "data"], &["/etc", "/home/me/data"]), ["/"]);
        assert_eq!(chosen(&["data"], &["../data"]), ["/"]);
        assert_eq!(chosen(&["data"], &["."]), ["/"]);
        assert_eq!(chosen(&["data"], &[]), ["/"]);
    }
}
