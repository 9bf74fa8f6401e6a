//! Adapts to borg's command line. Borg 1 takes repository and archive as one argument, borg 2 as two.

use std::ffi::OsString;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use snap_backup::ops::backup::states::Supplement;
use snap_backup::repo::snapshots;
use snap_backup::{Error, Result};

use super::program::Program;
use super::{Found, OtherProgram, borg_items};

pub(super) struct Borg(pub(super) Program);

impl Borg {
    fn is_2(&self) -> bool {
        self.0.is_at_least(2, 0)
    }

    /// Returns a command on the repository, which borg 1 takes as an argument.
    fn command(&self, verb: &[&str]) -> Command {
        let mut command = self.0.command(verb);
        if let Some(repo) = self.0.repo.as_ref().filter(|_| self.is_2()) {
            command.arg("-r").arg(repo);
        }
        command
    }

    fn on_repository(&self, verb: &[&str]) -> Command {
        let mut command = self.command(verb);
        if !self.is_2() {
            // `::` means the repository in BORG_REPO.
            command.arg(self.0.repo.clone().unwrap_or_else(|| OsString::from("::")));
        }
        command
    }

    fn on_archive(&self, verb: &[&str], found: &Found) -> Command {
        let mut command = self.command(verb);
        if self.is_2() {
            command.arg(format!("aid:{}", found.id));
        } else {
            let mut name = self.0.repo.clone().unwrap_or_default();
            name.push("::");
            name.push(&found.name);
            command.arg(name);
        }
        command
    }
}

impl OtherProgram for Borg {
    fn program(&self) -> &Program {
        &self.0
    }

    fn list(&self) -> Result<Vec<Found>> {
        let shown = self.0.shown();
        let verb = if self.is_2() { "repo-list" } else { "list" };
        let more = if self.is_2() { "{size}{tags}" } else { "" };
        let format =
            format!("{{archive}}{{id}}{{time}}{{hostname}}{{username}}{{comment}}{{command_line}}{more}");
        let command = self.on_repository(&[verb, "--json", "--format", &format]);
        let listed = self.0.json(command, "list the archives of the", &shown)?;
        let archives = listed.get("archives").and_then(Value::as_array);
        let archives = archives.into_iter().flatten();
        let mut found: Vec<Found> =
            archives.map(|one| found(one).ok_or_else(|| strange(&shown, one))).collect::<Result<_>>()?;
        if self.is_2() {
            directories(&mut found);
        }
        Ok(found)
    }

    fn mount(&self, dir: &Path) -> Command {
        // Lets the user who runs the import read all files of the archives, as `borg extract` does.
        let mut command =
            self.on_repository(&["mount", "--foreground", "--numeric-ids", "-o", "ignore_permissions"]);
        command.arg(dir);
        command
    }

    fn dump(&self, found: &Found) -> Command {
        // Only PAX has fractions of seconds and extended attributes. Borg 1 has no such option.
        let verb: &[&str] =
            if self.is_2() { &["export-tar", "--tar-format", "PAX"] } else { &["export-tar"] };
        let mut command = self.on_archive(verb, found);
        command.arg("-");
        command
    }

    fn to_read(&self, found: &[Found]) -> Option<u64> {
        if self.is_2() {
            // Borg 2 has no total without reading every archive. The largest archive is a lower bound.
            return found.iter().filter_map(|one| one.bytes).max();
        }
        let info =
            self.0.json(self.on_repository(&["info", "--json"]), "measure the", &self.0.shown()).ok()?;
        info.get("cache")?.get("stats")?.get("unique_size")?.as_u64()
    }

    fn supplement(&self, found: &Found) -> Result<Supplement> {
        let mut command = self.on_archive(&["debug", "dump-archive"], found);
        command.arg("-");
        let what = format!("the items of {}", found.name);
        self.0.stream(command, "read", &what, |printed| borg_items::read(BufReader::new(printed)))
    }

    fn lost_without_supplement(&self) -> &'static str {
        "ACLs, inode flags and names of owners"
    }

    fn lost_by_mount(&self) -> Option<&'static str> {
        None
    }

    fn lost_by_dump(&self) -> Option<&'static str> {
        Some(if self.is_2() {
            "borg's tar archives contain no ACLs"
        } else {
            "borg 1's tar archives contain no ACLs, no extended attributes and no fractions of seconds"
        })
    }
}

fn found(one: &Value) -> Option<Found> {
    let text =
        |name: &str| one.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let (name, id, mut time) = (text("name")?, text("id")?, text("time")?);
    // Borg 1 prints times without a zone. They are in UTC, because TZ is set.
    let has_zone = time.ends_with('Z') || time.get(10..).is_some_and(|clock| clock.contains(['+', '-']));
    if !has_zone {
        time.push('Z');
    }
    Some(Found {
        time: snapshots::time_of(&time)?,
        host: text("hostname"),
        user: text("username"),
        tags: tags(one.get("tags")),
        description: text("comment"),
        paths: words(one.get("command_line")).into_iter().skip(1).map(String::into_bytes).collect(),
        dir: PathBuf::from(&name),
        bytes: one.get("size").and_then(Value::as_u64),
        name,
        id,
    })
}

/// Returns the tags, which borg 2 prints as a list or separated by commas.
fn tags(value: Option<&Value>) -> Vec<String> {
    let texts: Vec<&str> = match value {
        Some(Value::String(text)) => text.split(',').collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    texts.into_iter().map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

/// Returns the words of a command line. Borg 1 prints a list, borg 2 one line with shell quoting.
fn words(value: Option<&Value>) -> Vec<String> {
    let line = match value {
        Some(Value::Array(list)) => {
            return list.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        }
        Some(Value::String(line)) => line,
        _ => return Vec::new(),
    };
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for byte in line.chars() {
        match (quote, byte) {
            (Some(open), byte) if byte == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(byte);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(byte),
        }
    }
    words.extend(word);
    words
}

/// Sets the directory of each archive in borg 2's mount, where several archives may have the same name.
fn directories(found: &mut [Found]) {
    for one in found {
        let short: String = one.id.chars().take(8).collect();
        one.dir = PathBuf::from(format!("{}-{short}", one.name));
    }
}

fn strange(shown: &str, one: &Value) -> Error {
    Error::Usage(format!("the {shown} has an archive whose description cannot be parsed: {one}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_words_of_a_command_line_are_those_the_shell_saw() {
        let line = json!("/usr/bin/borg create --comment 'two words' -- nas '/home/my files' \"/it's\" ''");
        let expected =
            ["/usr/bin/borg", "create", "--comment", "two words", "--", "nas", "/home/my files", "/it's", ""];
        assert_eq!(words(Some(&line)), expected);
        assert_eq!(words(Some(&json!(["borg", "create"]))), ["borg", "create"]);
        assert!(words(None).is_empty());
    }

    #[test]
    fn times_without_a_zone_are_utc() {
        let time = |text: &str| found(&json!({"name": "a", "id": "b", "time": text})).unwrap().time.sec;
        assert_eq!(time("2024-01-01T23:04:05.000000"), 1_704_150_245);
        assert_eq!(time("2024-01-01T23:04:05.000000+00:00"), 1_704_150_245);
        assert_eq!(time("2024-01-02T01:04:05+02:00"), 1_704_150_245);
    }
}
