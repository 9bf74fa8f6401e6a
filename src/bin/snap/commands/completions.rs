//! `snap completions` and `snap man`: shell completions and manual pages, generated from the command line's
//! definition.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use snap_backup::fs::atomic_file::AtomicFile;
use snap_backup::{Error, Result};

use super::shared::protected;
use crate::args::global::Global;
use crate::exit::Outcome;
use crate::help;
use crate::process::program_name;
use crate::terminal::output::{self, count};

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct Pages {
    /// Directory to write to; it is created if it does not exist
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

pub(crate) fn completions(args: &Completions) -> Result<Outcome> {
    let mut text = Vec::new();
    clap_complete::generate(
        args.shell,
        &mut brief(once_global(help::command())),
        program_name::name(),
        &mut text,
    );
    output::emit(|out| out.write_all(&text).map_err(output::failed))?;
    Ok(Outcome::Done)
}

/// Global options that are completed after every verb. The others are completed only before the verb: a
/// file that repeats all of them for each verb has 190 KB, and every new shell reads it.
const COMMON: [&str; 4] = ["repo", "quiet", "verbose", "json"];

fn once_global(top: Command) -> Command {
    top.mut_args(|arg| {
        let repeated = arg.is_global_set() && COMMON.contains(&arg.get_id().as_str());
        arg.global(repeated)
    })
}

/// Shortens the descriptions of options to their first clause, because a completion menu has one line for
/// each.
fn brief(command: Command) -> Command {
    let first = |text: &str| {
        let ends = [": ", "; ", " ("].into_iter().filter_map(|end| text.find(end));
        text.get(..ends.min().unwrap_or(text.len())).unwrap_or(text).to_owned()
    };
    let cut = |arg: clap::Arg| match arg.get_help().map(|help| first(&help.to_string())) {
        Some(help) => arg.help(help),
        None => arg,
    };
    command.mut_args(cut).mut_subcommands(brief)
}

pub(crate) fn man(global: &Global, args: &Pages) -> Result<Outcome> {
    protected::check_unconfigured(global, &args.dir)?;
    std::fs::create_dir_all(&args.dir).map_err(Error::io("create the directory", &args.dir))?;
    let mut top = help::command();
    top.build();
    let mut pages = 0;
    page(&top, program_name::name(), None, &args.dir, &mut pages)?;
    let beside = section_dir(&args.dir);
    protected::check_unconfigured(global, &beside)?;
    std::fs::create_dir_all(&beside).map_err(Error::io("create the directory", &beside))?;
    for (name, text) in help::section_five() {
        publish(&beside.join(name), text.as_bytes())?;
        pages += 1;
    }
    if !global.quiet && !global.json {
        let dir = output::printable(&args.dir.display().to_string());
        output::print(&format!("wrote {} to {dir}", count(pages, "page", "pages")))?;
    }
    Ok(Outcome::Done)
}

/// Writes the manual page of a command and those of its subcommands.
fn page(command: &Command, name: &str, parent: Option<&Command>, dir: &Path, pages: &mut u64) -> Result<()> {
    let path = dir.join(format!("{name}.1"));
    let mut text = Vec::new();
    let own = of_its_own(command, parent);
    Man::new(own).render(&mut text).map_err(Error::io("describe", name))?;
    publish(&path, &text)?;
    *pages += 1;
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        page(verb, &format!("{name}-{}", verb.get_name()), Some(command), dir, pages)?;
    }
    Ok(())
}

/// Returns the directory of the pages of section 5: man looks for them in `man5` next to `man1`.
fn section_dir(dir: &Path) -> PathBuf {
    if dir.file_name().is_some_and(|name| name == "man1") {
        dir.with_file_name("man5")
    } else {
        dir.to_owned()
    }
}

fn publish(path: &Path, text: &[u8]) -> Result<()> {
    let mut file = AtomicFile::create(path, true)?;
    file.write_all(text).map_err(Error::io("write", path))?;
    file.publish()
}

/// Removes the global options: they are described once, on the page of `snap`.
fn of_its_own(command: &Command, parent: Option<&Command>) -> Command {
    let Some(parent) = parent else { return command.clone() };
    let global: Vec<_> =
        parent.get_arguments().filter(|arg| arg.is_global_set()).map(|arg| arg.get_id().clone()).collect();
    let is_global = |arg: &clap::Arg| global.contains(arg.get_id());
    let mut end = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    end += &format!("\n\nThe options of all commands are described in {}(1).", program_name::name());
    command
        .clone()
        .mut_args(|arg| if is_global(&arg) { arg.hide(true) } else { arg })
        .after_long_help(end.trim_start().to_owned())
}
