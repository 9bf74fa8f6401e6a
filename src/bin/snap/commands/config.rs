//! `snap config`: creates, checks and explains the configuration.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use snap_backup::model::records::AuditAct;
use snap_backup::repo::audit;
use snap_backup::sys::users;
use snap_backup::{Error, Result};

use super::config_show;
use super::shared::{protected, sets};
use crate::args::global::Global;
use crate::args::values;
use crate::config::{Config, default_paths, find, format_diagnostic, ignored_file_message, schema};
use crate::context::{Context, load_config};
use crate::exit::Outcome;
use crate::notify::End;
use crate::terminal::output::{self, count};
use crate::{notify, password};

/// Content of a new configuration file.
const TEMPLATE: &str = include_str!("../config/template.toml");

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Write a commented configuration to fill in
    Init(Init),
    /// Report errors in the configuration, with line and column
    Check,
    /// Print the effective values, and where each comes from
    Show(Show),
    /// Print the JSON schema of the configuration, for editors
    Schema,
    /// Change a setting of the repository, for all machines that write to it
    Set(Set),
    /// Send a test notification to every receiver
    TestNotify(Show),
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// File to write; -: standard output [default: --config, else the user's configuration, for root
    /// /etc/snap/snap.toml]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Only this set
    #[arg(long, value_name = "NAME")]
    pub(crate) set: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The setting
    #[arg(value_name = "SETTING")]
    pub(crate) setting: Setting,
    /// The value: for parity a percentage, or 0 for none; for delta `on`; for quota a size, or `none`
    #[arg(value_name = "VALUE")]
    pub(crate) value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Setting {
    /// Parity of each new pack, as a percentage of its size
    Parity,
    /// Maximum size of the packs in the repository, for backups
    Quota,
    /// Allow chunks to be stored as deltas; older versions of snap cannot read the repository then
    Delta,
}

pub(crate) fn run(global: &Global, verb: &Verb) -> Result<Outcome> {
    match verb {
        Verb::Set(args) => set(&Context::new(global.clone(), load_config(global)?), args),
        Verb::Init(args) => init(global, args),
        Verb::Check => check(global),
        Verb::Show(args) => config_show::run(global, &load_config(global)?, &args.set),
        Verb::TestNotify(args) => test_notify(global, &args.set),
        Verb::Schema => {
            let text = serde_json::to_string_pretty(&schema());
            output::print(&text.map_err(|err| Error::io("describe", "the configuration")(err.into()))?)?;
            Ok(Outcome::Done)
        }
    }
}

fn set(context: &Context, args: &Set) -> Result<Outcome> {
    let wrong = |why: String| Error::Usage(format!("{}: {why}", args.value));
    match args.setting {
        Setting::Parity => set_parity(context, values::parity(&args.value).map_err(wrong)?),
        Setting::Quota if args.value == "none" => set_quota(context, None),
        Setting::Quota => set_quota(context, Some(values::size(&args.value).map_err(wrong)?)),
        Setting::Delta if values::switch(&args.value).map_err(wrong)? => allow_deltas(context),
        Setting::Delta => Err(Error::Usage(
            "existing deltas stay and need their bases: `--delta off`, or `delta = \"off\"` in a set, stops \
             making new ones"
                .to_owned(),
        )),
    }
}

fn allow_deltas(context: &Context) -> Result<Outcome> {
    let mut repo = context.open(context.storage()?)?;
    let before = repo.config().has_deltas();
    audit::note(&repo, AuditAct::Config, "delta on")?;
    repo.allow_deltas()?;
    context.with_open(&repo, |repo| {
        if context.global.json {
            let generation = repo.config().generation;
            let told =
                json!({"message_type": "setting", "delta": true, "before": before, "generation": generation});
            output::print(&told.to_string())?;
        } else if context.prints_success() {
            output::print(if before {
                "deltas are allowed already"
            } else {
                "backups may store deltas from now on; stored data is not changed (`snap copy` to a \
                 repository made by `snap init` stores it as deltas)"
            })?;
        }
        Ok(Outcome::Done)
    })
}

fn set_quota(context: &Context, bytes: Option<u64>) -> Result<Outcome> {
    let mut repo = context.open(context.storage()?)?;
    let before = repo.config().quota();
    let value = bytes.map_or_else(|| "none".to_owned(), |bytes| bytes.to_string());
    audit::note(&repo, AuditAct::Config, &format!("quota {value}"))?;
    repo.set_quota(bytes)?;
    context.with_open(&repo, |repo| {
        if context.global.json {
            let generation = repo.config().generation;
            let told = json!({"message_type": "setting", "quota": bytes, "before": before, "generation": generation});
            output::print(&told.to_string())?;
        } else if context.prints_success() {
            output::print(&match bytes {
                None => "there is no quota: backups run as long as there is space".to_owned(),
                Some(bytes) => format!("a backup ends with exit code 21 when the repository has {}", output::size(bytes)),
            })?;
        }
        Ok(Outcome::Done)
    })
}

fn set_parity(context: &Context, share: u8) -> Result<Outcome> {
    let mut repo = context.open(context.storage()?)?;
    let before = repo.config().parity();
    audit::note(&repo, AuditAct::Config, &format!("parity {share}%"))?;
    repo.set_parity(share)?;
    context.with_open(&repo, |repo| {
        if context.global.json {
            let (now, generation) = (repo.config().parity(), repo.config().generation);
            let told =
                json!({"message_type": "setting", "parity": now, "before": before, "generation": generation});
            output::print(&told.to_string())?;
        } else if context.prints_success() {
            output::print(&parity(before, share))?;
        }
        Ok(Outcome::Done)
    })
}

fn parity(before: u8, now: u8) -> String {
    match (before, now) {
        (before, now) if before == now => format!("parity is {now}% already"),
        (_, 0) => "new packs get no parity; the next `snap gc` removes existing parity".to_owned(),
        _ => format!(
            "new packs get {now}% of parity; `snap repair parity` writes it for existing packs, and `snap gc` gradually"
        ),
    }
}

fn init(global: &Global, args: &Init) -> Result<Outcome> {
    let file = match args.output.clone().or_else(|| global.config().map(Path::to_path_buf)) {
        Some(file) if file == Path::new("-") => {
            output::print(TEMPLATE.trim_end())?;
            return Ok(Outcome::Done);
        }
        Some(file) => file,
        None => own_place()?,
    };
    if let Some(folder) = file.parent() {
        let here = folder.as_os_str().is_empty();
        protected::check_unconfigured(global, if here { Path::new(".") } else { folder })?;
        std::fs::create_dir_all(folder).map_err(Error::io("create the directory", folder))?;
    }
    // Mode 0600, because the file may later contain a URL that is a secret.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    let mut made = made.map_err(Error::io("create the configuration", &file))?;
    made.write_all(TEMPLATE.as_bytes()).map_err(Error::io("write", &file))?;
    output::print(&format!("wrote {}: edit it, then run `snap config check`", file.display()))?;
    Ok(Outcome::Done)
}

/// Returns the machine's configuration file for root, and the user's for others.
fn own_place() -> Result<PathBuf> {
    let mut places = default_paths().into_iter();
    let place = if users::is_root() { places.next_back() } else { places.next() };
    place.ok_or_else(|| {
        Error::Usage("there is no default location for the configuration: give one with --output".to_owned())
    })
}

fn check(global: &Global) -> Result<Outcome> {
    let Some(file) = find(global)? else {
        let looked: Vec<String> = default_paths().iter().map(|place| place.display().to_string()).collect();
        let here = ignored_file_message().map(|why| format!("; {why}")).unwrap_or_default();
        return Err(Error::Usage(format!(
            "there is no configuration (`snap config init` creates one): searched {}{here}",
            looked.join(", ")
        )));
    };
    let (config, diagnostics) = Config::of_file(&file, global.profile())?;
    for diagnostic in &diagnostics {
        output::eprint(&output::printable(&format!("snap: {}", format_diagnostic(&file, diagnostic))));
    }
    if !diagnostics.is_empty() {
        let number = count(diagnostics.len() as u64, "error", "errors");
        return Err(Error::Usage(format!("{number} in {}", file.display())));
    }
    for warning in warnings(&config) {
        output::warn(global.json, &warning);
    }
    let repositories = count(config.repositories().len() as u64, "repository", "repositories");
    let sets = count(config.sets().len() as u64, "set", "sets");
    output::print(&format!("{} is valid: {repositories}, {sets}", file.display()))?;
    Ok(Outcome::Done)
}

/// Returns warnings about settings that are valid but probably unintended.
fn warnings(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    for entry in config.repositories() {
        if let Some(err) =
            entry.settings.key_file.as_ref().and_then(|file| file.metadata().err().map(|err| (file, err)))
        {
            found.push(format!("the key file {}: {}", err.0.display(), err.1));
        }
        let Some(file) = &entry.settings.password_file else { continue };
        match file.symlink_metadata() {
            Err(err) => found.push(format!("the password file {}: {err}", file.display())),
            Ok(_) => found.extend(password::warning_if_readable(file)),
        }
    }
    for set in config.sets() {
        let gone = set.sources().iter().filter(|source| source.symlink_metadata().is_err());
        found.extend(gone.map(|source| format!("set {}: there is no {}", set.name, source.display())));
        if set.settings.schedule.cleanup.is_some() && !set.is_cleaned() {
            found.push(format!("set {}: `schedule.cleanup` has no rules: `keep` is empty", set.name));
        }
    }
    found
}

fn test_notify(global: &Global, names: &[String]) -> Result<Outcome> {
    let context = Context::new(global.clone(), load_config(global)?);
    let sets = sets::chosen(&context, names, true)?;
    let (mut told, mut deaf) = (0, 0);
    for set in &sets {
        let mut notification = context.for_set(set).notification("backup", None);
        notification.end = Some(End { error: Some("this is only a test".to_owned()), ..End::default() });
        for (receiver, result) in notify::test(&notification) {
            let why = match result {
                Ok(()) => "told".to_owned(),
                Err(why) => {
                    deaf += 1;
                    format!("failed: {why}")
                }
            };
            told += 1;
            output::print(&output::printable(&format!("{}: {receiver}: {why}", set.name)))?;
        }
    }
    match (told, deaf) {
        (0, _) => Err(Error::Usage("there are no receivers: `notify` is empty".to_owned())),
        (_, 0) => Ok(Outcome::Done),
        _ => Ok(Outcome::Failed(1)),
    }
}
