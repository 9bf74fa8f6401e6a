//! From the paths a person gives to places in the snapshot.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Component;
use std::path::Path;
use std::path::PathBuf;

use crate::error::Error;
use crate::error::Result;
use crate::model::entry::check_name;

/// A place above or at the sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A source: everything below it is taken.
    Source(PathBuf),
    /// The way to sources.
    Passage {
        /// The directory it stands for, if there is one.
        path: PathBuf,
        /// What lies below, by name.
        below: BTreeMap<Vec<u8>, Place>,
    },
}

/// Where the sources stand in the snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The snapshot's root.
    pub root: Place,
    /// Absolute sources, sorted.
    pub sources: Vec<Vec<u8>>,
}

impl Plan {
    /// Of one entry that is not a file but a stream.
    pub fn stream(name: &[u8]) -> Self {
        let root = Place::Passage { path: PathBuf::from("/"), below: BTreeMap::new() };
        Self { root, sources: vec![[b"/", name].concat()] }
    }
}

/// Stored paths are as given: `src` stays `src`, `/etc` becomes `etc`, `.` parts vanish, a path with `..` is
/// made absolute first.
///
/// # Errors
/// When there is no source, or two different ones would stand in the same place.
pub fn plan(paths: &[PathBuf], store_as: Option<&[u8]>) -> Result<Plan> {
    let cwd = std::env::current_dir().map_err(Error::io("find", "the current directory"))?;
    if paths.is_empty() {
        return Err(Error::Usage("nothing to back up: name at least one path".into()));
    }
    if store_as.is_some() && paths.len() > 1 {
        return Err(Error::Usage("--as takes exactly one path".into()));
    }
    let mut root = Place::Passage { path: PathBuf::from("/"), below: BTreeMap::new() };
    let mut sources = Vec::new();
    for path in paths {
        let absolute = normal(&cwd.join(path));
        let stored = match store_as {
            Some(name) => normal(Path::new(OsStr::from_bytes(name))),
            None if path.components().any(|part| part == Component::ParentDir) => absolute.clone(),
            None => normal(path),
        };
        sources.push(absolute.as_os_str().as_bytes().to_vec());
        let base = if path.is_absolute() || stored.is_absolute() { PathBuf::from("/") } else { cwd.clone() };
        let names: Vec<Vec<u8>> = names_of(&stored)?;
        insert(&mut root, &names, &absolute, &base)?;
    }
    sources.sort();
    sources.dedup();
    Ok(Plan { root, sources })
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

fn insert(place: &mut Place, names: &[Vec<u8>], source: &Path, here: &Path) -> Result<()> {
    let collide = |other: &Path| {
        Error::Usage(format!("{} and {} would stand in the same place", other.display(), source.display()))
    };
    match (place, names) {
        // A source inside a source is taken anyway.
        (Place::Source(other), _) if source.starts_with(&*other) => Ok(()),
        (Place::Source(other), _) => Err(collide(other)),
        (place @ Place::Passage { .. }, []) => {
            if let Some(other) = first_source(place).filter(|other| !other.starts_with(source)) {
                return Err(collide(&other));
            }
            *place = Place::Source(source.to_path_buf());
            Ok(())
        }
        (Place::Passage { below, .. }, [name, rest @ ..]) => {
            let path = here.join(OsStr::from_bytes(name));
            let fresh = || Place::Passage { path: path.clone(), below: BTreeMap::new() };
            insert(below.entry(name.clone()).or_insert_with(fresh), rest, source, &path)
        }
    }
}

fn first_source(place: &Place) -> Option<PathBuf> {
    match place {
        Place::Source(path) => Some(path.clone()),
        Place::Passage { below, .. } => below.values().find_map(first_source),
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
        fn walk(place: &Place, at: &str, out: &mut Vec<String>) {
            match place {
                Place::Source(_) => out.push(at.to_owned()),
                Place::Passage { below, .. } => {
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
    fn a_source_inside_a_source_is_one_source() {
        assert_eq!(places(&["/a", "/a/b"]).unwrap(), ["/a"]);
        assert_eq!(places(&["/a/b", "/a"]).unwrap(), ["/a"]);
    }

    #[test]
    fn sources_that_would_collide_are_an_error() {
        assert!(places(&["etc", "/etc"]).is_err());
    }
}
