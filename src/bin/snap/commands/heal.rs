//! `snap heal`: lists files with bit rot, and restores their good content.

use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use snap_backup::fs::sources;
use snap_backup::ops::heal::{CorruptFile, FileState, Healed, Healing, Options};
use snap_backup::{Error, Result};

use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output::{self, printable};
use crate::terminal::progress::stop_on_signals;

#[derive(Debug, Args)]
pub(crate) struct Heal {
    /// Files to heal, by their path on disk or their stored path; without any, list files with bit rot
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Do not ask for confirmation
    #[arg(short, long, requires = "paths")]
    pub(crate) yes: bool,
    /// Change nothing; only show what would be restored
    #[arg(short = 'n', long, requires = "paths")]
    pub(crate) dry_run: bool,
}

pub(crate) fn run(context: &Context, args: &Heal) -> Result<Outcome> {
    context.with(|repo| {
        let stop = stop_on_signals()?;
        let (mut healing, found) = Healing::begin(repo, &repo.control().clone().with_cancel(&stop))?;
        let result = if args.paths.is_empty() {
            list(context, &found)
        } else {
            heal_all(context, &mut healing, args, &found)
        };
        healing.end()?;
        result
    })
}

/// Lists the corrupt files. The exit code is 24 if some are not healed.
fn list(context: &Context, found: &[CorruptFile]) -> Result<Outcome> {
    let open: Vec<&CorruptFile> =
        found.iter().filter(|one| matches!(one.state, FileState::Corrupt | FileState::Missing)).collect();
    if context.global.json {
        let corrupt: Vec<Value> = open.iter().map(|one| Value::Object(json_of(one))).collect();
        output::print(&json!({"message_type": "summary", "corrupt": corrupt}).to_string())?;
    } else if open.is_empty() && found.is_empty() {
        output::print("no files with bit rot are known")?;
    } else if open.is_empty() {
        output::print("all files with bit rot are healed or changed: `snap alarm clear` settles the alarm")?;
    } else {
        open.iter().try_for_each(|one| output::print(&lines(one)))?;
    }
    Ok(if open.is_empty() { Outcome::Done } else { Outcome::Alarm })
}

fn lines(one: &CorruptFile) -> String {
    let (id, when) = (one.snapshot.id.short(), output::local(one.snapshot.manifest.started));
    let missing = match one.state {
        FileState::Missing => {
            format!("; the file is missing, it was on {}", printable(&one.snapshot.manifest.host))
        }
        _ => String::new(),
    };
    let good = match &one.good {
        Some((good, _)) => format!("snapshot {} has a good version", good.id.short()),
        None => "no older snapshot has a good version".to_owned(),
    };
    format!("{}\n    found by snapshot {id} of {when}; {good}{missing}", shown(one))
}

/// Returns the file's path, or its stored path if its location is unknown.
fn shown(one: &CorruptFile) -> String {
    match &one.place {
        Some(place) => output::path(place.path().as_os_str().as_bytes()),
        None => output::path(&one.path),
    }
}

fn json_of(one: &CorruptFile) -> Map<String, Value> {
    let mut map = Map::new();
    output::put_bytes(&mut map, "path", &one.path);
    if let Some(place) = &one.place {
        output::put_bytes(&mut map, "file", place.path().as_os_str().as_bytes());
    }
    let state = match one.state {
        FileState::Corrupt => "corrupt",
        FileState::Healed => "healed",
        FileState::Changed => "changed",
        FileState::Missing => "missing",
    };
    let good = one.good.as_ref().map(|(snapshot, _)| snapshot.id.hex());
    map.insert("state".to_owned(), state.into());
    map.insert("host".to_owned(), one.snapshot.manifest.host.clone().into());
    map.insert("snapshot_id".to_owned(), one.snapshot.id.hex().into());
    map.insert("found".to_owned(), output::rfc3339(one.snapshot.manifest.started).into());
    map.insert("good_snapshot_id".to_owned(), json!(good));
    map
}

/// Heals files. A failure for one file does not stop the others.
fn heal_all(context: &Context, healing: &mut Healing, args: &Heal, found: &[CorruptFile]) -> Result<Outcome> {
    let chosen = args.paths.iter().map(|path| chosen(path, found)).collect::<Result<Vec<_>>>()?;
    let mut failed = Vec::new();
    for one in chosen {
        match heal(context, healing, args, one) {
            Err(error @ Error::Interrupted) => return Err(error),
            Err(error) => failed.push(error),
            Ok(()) => {}
        }
    }
    match failed.len() {
        0 => Ok(Outcome::Done),
        1 if args.paths.len() == 1 => failed.pop().map_or(Ok(Outcome::Done), Err),
        _ => {
            failed.iter().for_each(|error| output::error(&error.chain()));
            Ok(Outcome::Problems)
        }
    }
}

/// Returns the corrupt file for a path: its location, or its stored path.
fn chosen<'a>(path: &Path, found: &'a [CorruptFile]) -> Result<&'a CorruptFile> {
    let absolute = sources::absolute(path)?;
    let real = real(&absolute);
    let stored = path.as_os_str().as_bytes();
    let stored = stored.strip_prefix(b"/").unwrap_or(stored);
    let is_there = |one: &&CorruptFile| {
        let place = one.place.as_ref().map(sources::LivePath::path);
        place.is_some_and(|place| place == absolute || self::real(&place) == real)
    };
    found.iter().find(is_there).or_else(|| found.iter().find(|one| one.path == stored)).ok_or_else(|| {
        Error::NotFound {
            what: format!("no open alarm reports bit rot in {}", path.display()),
            help: "`snap heal` lists the files to heal, `snap alarm --all` also alarms that are settled"
                .to_owned(),
        }
    })
}

/// Resolves symbolic links in the parent directories of a file, but not the file itself.
fn real(path: &Path) -> Option<PathBuf> {
    let parent = std::fs::canonicalize(path.parent()?).ok()?;
    Some(parent.join(path.file_name()?))
}

fn heal(context: &Context, healing: &mut Healing, args: &Heal, one: &CorruptFile) -> Result<()> {
    let suffix =
        Timestamp::now().to_zoned_datetime(TimeZone::UTC).strftime(".corrupt-%Y%m%dT%H%M%SZ").to_string();
    let good = one.good.as_ref().map(|(good, _)| good.id.short()).unwrap_or_default();
    let question = format!(
        "{}: restore the version of snapshot {good}, and keep the bad version as *{suffix}",
        shown(one)
    );
    let mut options = Options { suffix, protected: context.protected(), dry_run: args.dry_run || !args.yes };
    let mut healed = healing.heal(one, &options)?;
    if args.dry_run {
        return print_outcome(context, one, &format!("would heal {question}"), "dry_run", None);
    }
    if !args.yes {
        confirm(&question)?;
        options.dry_run = false;
        healed = healing.heal(one, &options)?;
    }
    for note in &healed.notes {
        output::warn(context.global.json, &format!("{}: {note}", shown(one)));
    }
    if healed.has_other_names {
        let text = format!(
            "{} has other hard links: they still have the bad version, and must be healed separately",
            shown(one)
        );
        output::warn(context.global.json, &text);
    }
    let kept = output::path(healed.kept_as.as_os_str().as_bytes());
    let text = format!("healed {}; the bad version is {kept}", shown(one));
    print_outcome(context, one, &text, "healed", Some(&healed))
}

fn print_outcome(
    context: &Context,
    one: &CorruptFile,
    text: &str,
    message_type: &str,
    healed: Option<&Healed>,
) -> Result<()> {
    if context.global.json {
        let mut map = json_of(one);
        map.insert("message_type".to_owned(), message_type.into());
        if let Some(healed) = healed {
            map.insert("state".to_owned(), "healed".into());
            output::put_bytes(&mut map, "kept_as", healed.kept_as.as_os_str().as_bytes());
        }
        return output::print(&Value::Object(map).to_string());
    }
    if context.prints_success() { output::print(text) } else { Ok(()) }
}

/// Asks for confirmation on the terminal.
fn confirm(question: &str) -> Result<()> {
    if !io::stdin().is_terminal() {
        return Err(Error::Usage(format!("{question}: this needs a terminal to ask, or --yes")));
    }
    output::eprint(&printable(&format!("{question}? [y/N]")));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(Error::io("read", "the answer"))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Error::Refused("nothing was changed".to_owned())),
    }
}
