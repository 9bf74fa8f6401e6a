//! The configuration file `snap.toml`: found, read, merged, and queried by the verbs. Flags and environment
//! variables take precedence over it, and it takes precedence over the variables of the legacy backup
//! script.

pub(crate) mod document;
pub(crate) mod field;
mod find;
pub(crate) mod model;
mod paths;
mod repository;
pub(crate) mod set;
mod substitute;
#[cfg(test)]
mod tests;
pub(crate) mod types;

use std::path::{Path, PathBuf};

use snap_backup::ops::rewrite::expire;
use snap_backup::{Error, Result};

use crate::args::global::Global;
pub(crate) use document::Diagnostic;
use document::Node;
use field::{Field, Placed, Reader};
pub(crate) use find::{default_paths, find, ignored_file_message};
use model::{Expire, File};
pub(crate) use repository::Entry;
pub(crate) use set::Set;
use types::Place;

/// The configuration; empty if there is no file.
#[derive(Debug, Default)]
pub(crate) struct Config {
    /// Path of the file.
    pub(crate) file: Option<PathBuf>,
    /// The selected profile.
    pub(crate) profile: Option<String>,
    /// The whole content, with the profile and the defaults merged into it.
    pub(crate) document: Node,
    /// The same with types.
    pub(crate) model: File,
}

impl Config {
    /// Loads the configuration for this call.
    ///
    /// # Errors
    /// The file cannot be read or parsed. The error is the first diagnostic, with line and column.
    pub(crate) fn load(global: &Global) -> Result<Self> {
        let Some(file) = find(global)? else {
            return match global.profile() {
                Some(profile) => {
                    let here = ignored_file_message().map(|why| format!(" ({why})")).unwrap_or_default();
                    Err(Error::Usage(format!(
                        "there is no snap.toml to take the profile {profile} from{here}"
                    )))
                }
                None => Ok(Self::default()),
            };
        };
        let (config, diagnostics) = Self::of_file(&file, global.profile())?;
        match diagnostics.first() {
            None => Ok(config),
            Some(first) => {
                let more = match diagnostics.len() {
                    1 => String::new(),
                    many => format!(" (and {} more: `snap config check` lists them)", many - 1),
                };
                Err(Error::Usage(format!("{}{more}", format_diagnostic(&file, first))))
            }
        }
    }

    /// Reads a file as far as it can be parsed, and returns all diagnostics about it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn of_file(file: &Path, profile: Option<&str>) -> Result<(Self, Vec<Diagnostic>)> {
        let bytes = std::fs::read(file).map_err(Error::io("read the configuration", file))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::Usage(format!("the configuration {} is not UTF-8 text", file.display())))?;
        let file = std::path::absolute(file).map_err(Error::io("make absolute", file))?;
        let (mut config, diagnostics) =
            Self::of_text(&text, file.parent().unwrap_or(Path::new("/")), profile, &|name| {
                std::env::var(name).ok()
            });
        config.file = Some(file);
        Ok((config, diagnostics))
    }

    /// Like [`Self::of_file`] for a text. Relative paths in it start at `dir`.
    fn of_text(
        text: &str,
        dir: &Path,
        profile: Option<&str>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> (Self, Vec<Diagnostic>) {
        let mut reader = Reader::new(dir, profile, variable, model::HOMES);
        let mut document = Node::parse(text).unwrap_or_else(|diagnostic| {
            reader.diagnostics.push(diagnostic);
            Node::default()
        });
        // The file is checked before profiles override it.
        File::read(&mut document, "", &mut reader);
        let mut diagnostics = std::mem::take(&mut reader.diagnostics);
        let mut profiles = document.take("profiles").unwrap_or_default();
        if let Some(name) = profile {
            match profiles.take(name) {
                Some(mut over) => {
                    over.mark_as_profile();
                    document.merge_from(over);
                }
                None => diagnostics.push(no_profile(name, &profiles)),
            }
        }
        document.merge_defaults_into_sets();
        let model = File::read(&mut document, "", &mut reader).unwrap_or_default();
        let config = Self { file: None, profile: profile.map(str::to_owned), document, model };
        if diagnostics.is_empty() {
            diagnostics = config.contradictions();
        }
        diagnostics.sort_by_key(|one| (one.line, one.column));
        (config, diagnostics)
    }

    /// Returns diagnostics about valid values that contradict each other.
    fn contradictions(&self) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for set in self.sets() {
            let name = &set.name;
            if set.sources().is_empty() {
                found.push(set.origin.diagnostic(format!("the set `{name}` has no sources")));
            }
            found.extend(wrong_expiry(set));
            // If the file has none, SNAP_REPO or the legacy script's variable may name one.
            if set.settings.repository.is_none()
                && self.default_repository().is_none()
                && self.repositories().len() > 1
            {
                let why = format!(
                    "the set `{name}` has no repository, and there is no default `repository` at the top \
                     level"
                );
                found.push(set.origin.diagnostic(why));
            }
        }
        let named = self.sets().iter().filter_map(|set| set.settings.repository.as_ref());
        found.extend(named.chain(&self.model.repository).filter_map(|named| self.no_such(named)));
        for entry in self.repositories().iter().filter(|entry| entry.location().is_none()) {
            found.push(entry.origin.diagnostic(format!("the repository `{}` has no location", entry.name)));
        }
        found
    }

    fn no_such(&self, named: &Placed<Place>) -> Option<Diagnostic> {
        let wanted = named.value.0.to_str()?;
        if wanted.contains(['/', ':']) || self.repository(wanted).is_some() {
            return None;
        }
        let near = nearest(wanted, self.repositories().iter().map(|entry| entry.name.as_str()));
        let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        let what = format!("there is no repository `{wanted}`: {near}for a directory, write ./{wanted}");
        Some(named.origin.diagnostic(what))
    }

    /// Returns the repository with this name or location.
    pub(crate) fn repository(&self, named: &str) -> Option<&Entry> {
        let by_name = self.repositories().iter().find(|entry| entry.name == named);
        by_name.or_else(|| self.repositories().iter().find(|entry| entry.is_at(named)))
    }

    /// Returns all named repositories, in the order of the file.
    pub(crate) fn repositories(&self) -> &[Entry] {
        &self.model.repositories
    }

    /// Returns all sets, in the order of the file.
    pub(crate) fn sets(&self) -> &[Set] {
        &self.model.sets
    }

    /// Returns the sets with these names.
    ///
    /// # Errors
    /// One does not exist.
    pub(crate) fn named_sets(&self, names: &[String]) -> Result<Vec<Set>> {
        let find = |name: &String| {
            self.sets().iter().find(|set| set.name == *name).cloned().ok_or_else(|| {
                let near = nearest(name, self.sets().iter().map(|set| set.name.as_str()));
                let names: Vec<&str> = self.sets().iter().map(|set| set.name.as_str()).collect();
                let near = match near {
                    Some(near) => format!(": did you mean `{near}`?"),
                    None if names.is_empty() => String::new(),
                    None => format!(": sets are {}", names.join(", ")),
                };
                let file = self.file.as_deref().map_or_else(
                    || format!(", {}", ignored_file_message().unwrap_or("there is no snap.toml")),
                    |file| format!(" in {}", file.display()),
                );
                Error::Usage(format!("there is no set `{name}`{file}{near}"))
            })
        };
        names.iter().map(find).collect()
    }
}

/// Formats a diagnostic with its position, like compilers do.
pub(crate) fn format_diagnostic(file: &Path, diagnostic: &Diagnostic) -> String {
    format!("{}:{}:{}: {}", file.display(), diagnostic.line, diagnostic.column, diagnostic.what)
}

/// Returns the JSON schema of the file, for editors; draft 2020-12.
pub(crate) fn schema() -> serde_json::Value {
    let mut whole = File::schema();
    if let Some(map) = whole.as_object_mut() {
        map.insert("$schema".to_owned(), "https://json-schema.org/draft/2020-12/schema".into());
        map.insert("title".to_owned(), "snap.toml".into());
    }
    whole
}

/// Returns the known name that is most similar to `name`, if one is similar enough.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace('_', "-");
    let near = known.map(|other| (strsim::damerau_levenshtein(&plain(name), &plain(other)), other)).min()?;
    (near.0 <= 2.max(name.len() / 3)).then_some(near.1)
}

/// Returns a diagnostic if a rule per path is incomplete or has an invalid pattern.
fn wrong_expiry(set: &Set) -> Option<Diagnostic> {
    let expire = &set.settings.expire;
    let lacks = |rule: &Expire| rule.path.as_ref().is_none_or(Vec::is_empty) || rule.after.is_none();
    let what = if expire.value.iter().any(lacks) {
        "`expire` needs a `path` and an `after`: { path = \"**/Downloads/**\", after = \"30d\" }".to_owned()
    } else {
        let patterns: Vec<_> = set.path_rules().expire.into_iter().map(|one| one.pattern).collect();
        format!("`expire`: {}", expire::check_patterns(&patterns).err()?)
    };
    Some(expire.origin.diagnostic(what))
}

fn no_profile(name: &str, profiles: &Node) -> Diagnostic {
    let known = || profiles.entries().iter().map(|entry| entry.name.as_str());
    let what = match nearest(name, known()) {
        Some(near) => format!("there is no profile `{name}`: did you mean `{near}`?"),
        None if profiles.entries().is_empty() => format!("there is no profile `{name}`, and no other"),
        None => format!("there is no profile `{name}`: there are {}", known().collect::<Vec<_>>().join(", ")),
    };
    Diagnostic { line: 1, column: 1, what }
}
