//! From the paths a person gives to places in the snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::entry::check_name;

/// A place above or at the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceNode {
    /// A source: everything below it is taken.
    Source(PathBuf),
    /// The way to sources.
    Passage {
        /// The directory it stands for, if there is one.
        path: PathBuf,
        /// What lies below, by name.
        below: BTreeMap<Vec<u8>, SourceNode>,
    },
}

/// Where the sources stand in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceTree {
    /// The snapshot's root.
    pub root: SourceNode,
    /// What the snapshot records as its sources, sorted: where they are, or where they are stored if that was chosen.
    pub sources: Vec<Vec<u8>>,
    /// Sources inside other sources.
    pub nested: BTreeSet<PathBuf>,
}

impl SourceTree {
    /// Of one entry that is not a file but a stream.
    pub fn stream(name: &[u8]) -> Self {
        let root = SourceNode::Passage { path: PathBuf::from("/"), below: BTreeMap::new() };
        Self { root, sources: vec![[b"/", name].concat()], nested: BTreeSet::new() }
    }
}

/// Stored paths are as given: `src` stays `src`, `/etc` becomes `etc`, `.` parts vanish, a path with `..` is made absolute
/// first. A link that is written with a slash behind it stands for what it points to.
///
/// # Errors
/// When there is no source, or two different ones would stand in the same place.
pub fn plan(paths: &[PathBuf], store_as: Option<&[u8]>) -> Result<SourceTree> {
    if paths.is_empty() {
        return Err(Error::Usage("nothing to back up: name at least one path".into()));
    }
    if store_as.is_some() && paths.len() > 1 {
        return Err(Error::Usage("--as takes exactly one path".into()));
    }
    let mut root = SourceNode::Passage { path: PathBuf::from("/"), below: BTreeMap::new() };
    let (mut sources, mut nested) = (Vec::new(), BTreeSet::new());
    for path in paths {
        if path.as_os_str().is_empty() {
            return Err(Error::Usage("a path to back up is empty".into()));
        }
        let absolute = absolute(path)?;
        let stored = match store_as {
            Some(name) => normal(&Path::new("/").join(OsStr::from_bytes(name))),
            None if path.components().any(|part| part == Component::ParentDir) => absolute.clone(),
            None => normal(path),
        };
        let recorded = if store_as.is_some() { &stored } else { &absolute };
        sources.push(recorded.as_os_str().as_bytes().to_vec());
        let base = if stored.is_absolute() { PathBuf::from("/") } else { here()? };
        let names: Vec<Vec<u8>> = names_of(&stored)?;
        insert(&mut root, &names, &seen_as(path, absolute), &base, &mut nested)?;
    }
    sources.sort();
    sources.dedup();
    Ok(SourceTree { root, sources, nested })
}

/// A path as the system takes it, but without `.` and `..`, which go through a link where there is one. Links elsewhere
/// stay: a name is what its user calls it.
///
/// # Errors
/// When it is relative to a directory that is gone.
pub fn absolute(path: &Path) -> Result<PathBuf> {
    let path = if path.is_absolute() { path.to_path_buf() } else { here()?.join(path) };
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if is_link(&out) {
                    out = fs::canonicalize(&out).unwrap_or(out);
                }
                out.pop();
            }
            other => out.push(other),
        }
    }
    Ok(out)
}

fn here() -> Result<PathBuf> {
    std::env::current_dir()
        .map_err(Error::io("find", "the current directory, from which a relative path leads"))
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// Where a source is walked: `link/` and `link/.` mean what the link points to.
fn seen_as(given: &Path, absolute: PathBuf) -> PathBuf {
    let given = given.as_os_str().as_bytes();
    let is_behind = given.ends_with(b"/") || given.ends_with(b"/.");
    if is_behind && is_link(&absolute) { absolute.join(".") } else { absolute }
}

fn names_of(path: &Path) -> Result<Vec<Vec<u8>>> {
    let normal = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.as_bytes().to_vec()),
        _ => None,
    });
    let names: Vec<Vec<u8>> = normal.collect();
    for name in &names {
        check_name(name).map_err(|why| Error::Usage(format!("{}: {why}", path.display())))?;
    }
    Ok(names)
}

fn insert(
    place: &mut SourceNode,
    names: &[Vec<u8>],
    source: &Path,
    here: &Path,
    nested: &mut BTreeSet<PathBuf>,
) -> Result<()> {
    let collide = |other: &Path| {
        Error::Usage(format!("{} and {} would stand in the same place", other.display(), source.display()))
    };
    match (place, names) {
        (SourceNode::Source(other), names) => {
            let below = names.iter().fold(other.clone(), |path, name| path.join(OsStr::from_bytes(name)));
            if below != source {
                return Err(collide(other));
            }
            if !names.is_empty() {
                nested.insert(source.to_path_buf());
            } else if source.as_os_str().len() > other.as_os_str().len() {
                // What a link points to is more than the link.
                *other = source.to_path_buf();
            }
            Ok(())
        }
        (place @ SourceNode::Passage { .. }, []) => {
            let mut inner = Vec::new();
            sources_below(place, source, &mut inner);
            for (expected, other) in inner {
                if expected != other {
                    return Err(collide(&other));
                }
                nested.insert(other);
            }
            *place = SourceNode::Source(source.to_path_buf());
            Ok(())
        }
        (SourceNode::Passage { below, .. }, [name, rest @ ..]) => {
            let path = here.join(OsStr::from_bytes(name));
            let fresh = || SourceNode::Passage { path: path.clone(), below: BTreeMap::new() };
            insert(below.entry(name.clone()).or_insert_with(fresh), rest, source, &path, nested)
        }
    }
}

/// Sources in a place, each behind where it would be if the place were this path.
fn sources_below(place: &SourceNode, path: &Path, found: &mut Vec<(PathBuf, PathBuf)>) {
    match place {
        SourceNode::Source(source) => found.push((path.to_path_buf(), source.clone())),
        SourceNode::Passage { below, .. } => {
            for (name, place) in below {
                sources_below(place, &path.join(OsStr::from_bytes(name)), found);
            }
        }
    }
}

/// Without `.`, and with `..` taken away textually.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(paths: &[&str]) -> Result<Vec<String>> {
        fn walk(place: &SourceNode, at: &str, out: &mut Vec<String>) {
            match place {
                SourceNode::Source(_) => out.push(at.to_owned()),
                SourceNode::Passage { below, .. } => {
                    below.iter().for_each(|(name, place)| {
                        walk(place, &format!("{at}/{}", String::from_utf8_lossy(name)), out);
                    });
                }
            }
        }
        let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
        let mut out = Vec::new();
        walk(&plan(&paths, None)?.root, "", &mut out);
        Ok(out)
    }

    #[test]
    fn stored_paths_are_as_given() {
        assert_eq!(places(&["src", "/etc"]).unwrap(), ["/etc", "/src"]);
        assert_eq!(places(&["./a/./b"]).unwrap(), ["/a/b"]);
        assert_eq!(places(&["."]).unwrap(), [""]);
        assert_eq!(places(&["/tmp/x/../y"]).unwrap(), ["/tmp/y"]);
    }

    #[test]
    fn a_source_inside_a_source_is_known_as_such() {
        for order in [["/a", "/a/b/c"], ["/a/b/c", "/a"]] {
            assert_eq!(places(&order).unwrap(), ["/a"]);
            let planned = plan(&order.map(PathBuf::from), None).unwrap();
            assert_eq!(planned.nested, BTreeSet::from([PathBuf::from("/a/b/c")]));
        }
    }

    #[test]
    fn a_link_with_a_slash_behind_it_is_what_it_points_to() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        let seen = |end: &str| {
            let given = PathBuf::from(format!("{}{end}", link.display()));
            seen_as(&given, absolute(&given).unwrap()).into_os_string().into_string().unwrap()
        };
        let behind = format!("{}/.", link.display());
        assert_eq!([seen(""), seen("/"), seen("/.")], [link.display().to_string(), behind.clone(), behind]);
        let both = [link.clone(), link.join("")];
        let SourceNode::Passage { below, .. } = plan(&both, None).unwrap().root else { panic!("no way") };
        let mut place = below.into_values().next().unwrap();
        while let SourceNode::Passage { below, .. } = place {
            place = below.into_values().next().unwrap();
        }
        assert!(matches!(place, SourceNode::Source(path) if path.as_os_str().as_bytes().ends_with(b"/.")));
    }

    #[test]
    fn two_dots_behind_a_link_leave_what_it_points_to() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir_all(root.join("real/dir")).unwrap();
        std::os::unix::fs::symlink("real/dir", root.join("link")).unwrap();
        assert_eq!(absolute(&root.join("link/../x")).unwrap(), root.join("real/x"));
        assert_eq!(absolute(&root.join("real/../x")).unwrap(), root.join("x"));
        assert_eq!(absolute(&root.join("link/x")).unwrap(), root.join("link/x"));
        assert_eq!(absolute(&root.join("gone/../x")).unwrap(), root.join("x"));
        assert_eq!(absolute(Path::new("/../x")).unwrap(), Path::new("/x"));
    }

    #[test]
    fn another_name_is_what_a_source_is_known_by() {
        let planned = plan(&[PathBuf::from("/snapshots/today")], Some(b"/home")).unwrap();
        assert_eq!(planned.sources, [b"/home"]);
        let relative = plan(&[PathBuf::from("/snapshots/today")], Some(b"home/./me")).unwrap();
        assert_eq!(relative.sources, [b"/home/me"]);
    }

    #[test]
    fn sources_that_would_collide_are_an_error() {
        assert!(places(&["etc", "/etc"]).is_err());
    }
}
