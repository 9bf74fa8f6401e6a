//! The configuration file `snap.toml`: found, read, merged, and queried by the verbs. Flags and environment
//! variables take precedence over it, and it takes precedence over the variables of the legacy backup
//! script.

mod find;
pub(crate) mod keys;
pub(crate) mod node;
mod read;
mod repository;
mod schema;
pub(crate) mod set;
mod substitute;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use snap_backup::ops::rewrite::expire;
use snap_backup::{Error, Result};

use crate::args::global::Global;
pub(crate) use find::{find, passed_over, places};
use node::{Table, Value};
pub(crate) use read::Complaint;
pub(crate) use repository::Entry;
pub(crate) use schema::schema;
pub(crate) use set::Set;

/// The configuration; empty if there is no file.
#[derive(Debug, Default)]
pub(crate) struct Config {
    /// Path of the file.
    pub(crate) file: Option<PathBuf>,
    /// The selected profile.
    pub(crate) profile: Option<String>,
    /// The whole content, with the profile merged into it.
    pub(crate) root: Table,
    repositories: Vec<Entry>,
    sets: Vec<Set>,
}

impl Config {
    /// Loads the configuration for this call.
    ///
    /// # Errors
    /// The file cannot be read or parsed. The error is the first complaint, with line and column.
    pub(crate) fn load(global: &Global) -> Result<Self> {
        let Some(file) = find(global)? else {
            return match global.profile() {
                Some(profile) => {
                    let here = passed_over().map(|why| format!(" ({why})")).unwrap_or_default();
                    Err(Error::Usage(format!(
                        "there is no snap.toml to take the profile {profile} from{here}"
                    )))
                }
                None => Ok(Self::default()),
            };
        };
        let (config, complaints) = Self::of_file(&file, global.profile())?;
        match complaints.first() {
            None => Ok(config),
            Some(first) => {
                let more = match complaints.len() {
                    1 => String::new(),
                    many => format!(" (and {} more: `snap config check` lists them)", many - 1),
                };
                Err(Error::Usage(format!("{}{more}", told(&file, first))))
            }
        }
    }

    /// Reads a file as far as it can be parsed, and returns all complaints about it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn of_file(file: &Path, profile: Option<&str>) -> Result<(Self, Vec<Complaint>)> {
        let bytes = std::fs::read(file).map_err(Error::io("read the configuration", file))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::Usage(format!("the configuration {} is not UTF-8 text", file.display())))?;
        let file = std::path::absolute(file).map_err(Error::io("make absolute", file))?;
        let (mut config, complaints) =
            Self::of_text(&text, file.parent().unwrap_or(Path::new("/")), profile, &|name| {
                std::env::var(name).ok()
            });
        config.file = Some(file);
        Ok((config, complaints))
    }

    /// Like [`Self::of_file`] for a text. Relative paths in it start at `dir`.
    fn of_text(
        text: &str,
        dir: &Path,
        profile: Option<&str>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> (Self, Vec<Complaint>) {
        let mut reader = read::Reader::new(text, dir, profile, variable);
        let mut root = reader.read(keys::TOP);
        let mut complaints = reader.complaints;
        let profiles = take(&mut root, "profiles");
        if let Some(name) = profile {
            match profiles.table(name) {
                Some(over) => root.put_over(over.clone()),
                None => complaints.push(no_profile(name, &profiles)),
            }
        }
        let defaults = take(&mut root, "defaults");
        let repositories =
            named(&root, "repositories").map(|(name, table)| Entry::new(name, table)).collect();
        let sets = named(&root, "sets").map(|(name, table)| {
            let mut whole = defaults.clone();
            whole.put_over(table.clone());
            Set::new(name, whole)
        });
        let sets = sets.collect();
        let config = Self { file: None, profile: profile.map(str::to_owned), repositories, sets, root };
        if complaints.is_empty() {
            complaints = config.contradictions();
        }
        complaints.sort_by_key(|one| (one.line, one.column));
        (config, complaints)
    }

    /// Returns complaints about valid values that contradict each other.
    fn contradictions(&self) -> Vec<Complaint> {
        let mut found = Vec::new();
        for set in &self.sets {
            let name = &set.name;
            if set.sources().is_empty() {
                found.push(self.at(&format!("sets.{name}"), format!("the set `{name}` has no sources")));
            }
            found.extend(self.wrong_expiry(set));
            if let Some(wanted) = set.table.text("repository") {
                found.extend(self.no_such(wanted, set.table.at("repository")));
            } else if set.table.at("repository").is_none() && self.default_repository().is_none() {
                let why =
                    format!("the set `{name}` has no repository, and there is no `repository` at the top");
                // The legacy script's variable or SNAP_REPO may name one.
                if self.repositories.len() > 1 {
                    found.push(self.at(&format!("sets.{name}"), why));
                }
            }
        }
        if let Some(wanted) = self.root.text("repository") {
            found.extend(self.no_such(wanted, self.root.at("repository")));
        }
        for entry in &self.repositories {
            if entry.location.is_none() {
                let why = format!("the repository `{}` has no location", entry.name);
                found.push(self.at(&format!("repositories.{}", entry.name), why));
            }
        }
        found
    }

    /// Returns complaints about rules per path that are incomplete or have an invalid pattern.
    fn wrong_expiry(&self, set: &Set) -> Option<Complaint> {
        let node = set.table.at("expire")?;
        let lacks = |table: &Table| table.texts("path").is_empty() || table.age("after").is_none();
        let what = if set.table.tables("expire").any(lacks) {
            "`expire` needs a `path` and an `after`: { path = \"**/Downloads/**\", after = \"30d\" }"
                .to_owned()
        } else {
            let patterns: Vec<_> = set.path_rules().expire.into_iter().map(|one| one.pattern).collect();
            format!("`expire`: {}", expire::check_patterns(&patterns).err()?)
        };
        Some(Complaint { line: node.origin.line, column: node.origin.column, what })
    }

    fn at(&self, path: &str, what: String) -> Complaint {
        let origin = self.root.at(path).map(|node| node.origin.clone()).unwrap_or_default();
        Complaint { line: origin.line, column: origin.column, what }
    }

    fn no_such(&self, wanted: &str, node: Option<&node::Node>) -> Option<Complaint> {
        if wanted.contains(':') || self.repository(wanted).is_some() {
            return None;
        }
        let near = keys::nearest(wanted, self.repositories.iter().map(|entry| entry.name.as_str()));
        let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        let what =
            format!("no repository is called `{wanted}`: {near}a folder is written with a slash, ./{wanted}");
        let origin = node.map(|node| node.origin.clone()).unwrap_or_default();
        Some(Complaint { line: origin.line, column: origin.column, what })
    }

    /// Returns the repository with this name or location.
    pub(crate) fn repository(&self, named: &str) -> Option<&Entry> {
        let by_name = self.repositories.iter().find(|entry| entry.name == named);
        by_name.or_else(|| self.repositories.iter().find(|entry| entry.is_at(named)))
    }

    /// Returns all named repositories, in the order of the file.
    pub(crate) fn repositories(&self) -> &[Entry] {
        &self.repositories
    }

    /// Returns all sets, in the order of the file.
    pub(crate) fn sets(&self) -> &[Set] {
        &self.sets
    }

    /// Returns the sets with these names.
    ///
    /// # Errors
    /// One does not exist.
    pub(crate) fn named_sets(&self, names: &[String]) -> Result<Vec<Set>> {
        let find = |name: &String| {
            self.sets.iter().find(|set| set.name == *name).cloned().ok_or_else(|| {
                let near = keys::nearest(name, self.sets.iter().map(|set| set.name.as_str()));
                let names: Vec<&str> = self.sets.iter().map(|set| set.name.as_str()).collect();
                let near = match near {
                    Some(near) => format!(": did you mean `{near}`?"),
                    None if names.is_empty() => String::new(),
                    None => format!(": sets are {}", names.join(", ")),
                };
                let file = self.file.as_deref().map_or_else(
                    || passed_over().unwrap_or("there is no snap.toml").to_owned(),
                    |file| format!("{} has no such set", file.display()),
                );
                Error::Usage(format!("no set is called `{name}`, {file}{near}"))
            })
        };
        names.iter().map(find).collect()
    }
}

/// Formats a complaint with its position, like compilers do.
pub(crate) fn told(file: &Path, complaint: &Complaint) -> String {
    format!("{}:{}:{}: {}", file.display(), complaint.line, complaint.column, complaint.what)
}

fn take(root: &mut Table, name: &str) -> Table {
    let Some(at) = root.0.iter().position(|(known, _)| known == name) else { return Table::default() };
    match root.0.remove(at).1.value {
        Value::Table(table) => table,
        _ => Table::default(),
    }
}

fn named<'a>(root: &'a Table, name: &str) -> impl Iterator<Item = (&'a str, &'a Table)> {
    let entries = root.table(name).map(|table| table.0.as_slice()).unwrap_or_default();
    entries.iter().filter_map(|(name, node)| match &node.value {
        Value::Table(table) => Some((name.as_str(), table)),
        _ => None,
    })
}

fn no_profile(name: &str, profiles: &Table) -> Complaint {
    let known = || profiles.0.iter().map(|(name, _)| name.as_str());
    let what = match keys::nearest(name, known()) {
        Some(near) => format!("there is no profile `{name}`: did you mean `{near}`?"),
        None if profiles.0.is_empty() => format!("there is no profile `{name}`, and no other"),
        None => format!("there is no profile `{name}`: there are {}", known().collect::<Vec<_>>().join(", ")),
    };
    Complaint { line: 1, column: 1, what }
}
