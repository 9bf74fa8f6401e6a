//! The user's cache, state and configuration directories: those of the XDG Base Directory Specification, and
//! on macOS those of Apple's File System Programming Guide where the variables are not set.

use std::path::{Path, PathBuf};

use crate::sys::users;

/// A directory of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserDir {
    /// Data that can be rebuilt.
    Cache,
    /// What this machine knows, such as the records of runs.
    State,
    /// What the user writes.
    Config,
}

impl UserDir {
    fn variable(self) -> &'static str {
        match self {
            Self::Cache => "XDG_CACHE_HOME",
            Self::State => "XDG_STATE_HOME",
            Self::Config => "XDG_CONFIG_HOME",
        }
    }

    /// Returns its path below the home directory; with `library` that of macOS.
    fn below_home(self, library: bool) -> &'static str {
        match self {
            Self::Cache if library => "Library/Caches",
            Self::State | Self::Config if library => "Library/Application Support",
            Self::Cache => ".cache",
            Self::State => ".local/state",
            Self::Config => ".config",
        }
    }

    /// Returns the directory `snap` in it. A relative path is ignored, as the specification requires.
    fn in_home(self, variable: Option<&Path>, home: Option<&Path>, library: bool) -> Option<PathBuf> {
        let absolute = |path: Option<&Path>| path.filter(|path| path.is_absolute()).map(Path::to_path_buf);
        let below = |home: PathBuf| home.join(self.below_home(library));
        absolute(variable).or_else(|| absolute(home).map(below)).map(|dir| dir.join("snap"))
    }
}

/// Returns the user's directory `snap` of this kind. Services often have no HOME; then the home directory is
/// taken from the user database.
pub fn user_dir(kind: UserDir) -> Option<PathBuf> {
    let named = named(kind);
    named.or_else(|| kind.in_home(None, users::home_of(users::this_user()).as_deref(), users::HAS_LIBRARY))
}

/// Like [`user_dir`], but uses the environment only; `None` if it does not name the directory.
pub fn named(kind: UserDir) -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let (own, home) = (variable(kind.variable()), variable("HOME"));
    kind.in_home(own.as_deref(), home.as_deref(), users::HAS_LIBRARY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_directories_are_the_systems_unless_a_variable_is_set() {
        let home = Some(Path::new("/home/a"));
        for (kind, xdg, library) in [
            (UserDir::Cache, ".cache", "Library/Caches"),
            (UserDir::State, ".local/state", "Library/Application Support"),
            (UserDir::Config, ".config", "Library/Application Support"),
        ] {
            let at = |below: &str| Some(PathBuf::from("/home/a").join(below).join("snap"));
            assert_eq!(kind.in_home(None, home, false), at(xdg));
            assert_eq!(kind.in_home(None, home, true), at(library));
            let named = kind.in_home(Some(Path::new("/var/x")), home, true);
            assert_eq!(named, Some("/var/x/snap".into()));
            assert_eq!(kind.in_home(Some(Path::new("x")), home, false), at(xdg), "a relative path");
            assert_eq!(kind.in_home(None, None, false), None);
        }
    }
}
