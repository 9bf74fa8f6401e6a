//! The name by which the program was called. Packages install it as `snap-backup` on systems where snapd
//! owns `snap`; the commands that messages suggest must use the installed name.

use std::borrow::Cow;
use std::path::Path;
use std::sync::OnceLock;

use clap::Command;
use regex::Regex;

/// The name in texts, and the fallback if the program was called by a name that cannot be typed.
const USUAL: &str = "snap";

/// Returns the name to type.
pub(crate) fn name() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let called = std::env::args_os().next().unwrap_or_default();
        let name = Path::new(&called).file_name().and_then(|name| name.to_str()).unwrap_or(USUAL);
        let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        // Called as restic, it answers to restic's command line; its own commands are typed as usual.
        // A test binary has a name that cargo generated.
        if is_plain && name != "restic" && !cfg!(test) { name.to_owned() } else { USUAL.to_owned() }
    })
}

/// Replaces the name in a message: in quoted commands and at the beginning. The rest may contain file names
/// and is left alone.
pub(crate) fn message(text: &str) -> Cow<'_, str> {
    let name = name();
    if name == USUAL || !text.contains(USUAL) {
        return Cow::Borrowed(text);
    }
    let text = text.replace("`snap ", &format!("`{name} ")).replace("`snap`", &format!("`{name}`"));
    Cow::Owned(match text.strip_prefix("snap: ") {
        Some(rest) => format!("{name}: {rest}"),
        None => text,
    })
}

/// Replaces the name in one of the program's own texts.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    static WORD: OnceLock<Option<Regex>> = OnceLock::new();
    let word = || Regex::new(r"(^|[\s`(\x1b]|\x1b\[\d*m)snap([\s:`,;)]|-[a-z]|\(1\)|$)").ok();
    match (name(), WORD.get_or_init(word)) {
        (USUAL, _) | (_, None) => Cow::Borrowed(text),
        (name, Some(word)) => word.replace_all(text, format!("${{1}}{name}${{2}}")),
    }
}

/// Replaces the name in a clap command and all its texts.
pub(crate) fn command(top: Command) -> Command {
    if name() == USUAL {
        return top;
    }
    texts(top.name(name()).bin_name(name()))
}

fn texts(mut command: Command) -> Command {
    let own = |styled: Option<&clap::builder::StyledStr>| {
        styled.map(|styled| text(&styled.ansi().to_string()).into_owned())
    };
    let about = (own(command.get_about()), own(command.get_long_about()));
    let after = (own(command.get_after_help()), own(command.get_after_long_help()));
    if let (Some(short), _) = &about {
        command = command.about(short.clone());
    }
    if let (_, Some(long)) = about {
        command = command.long_about(long);
    }
    if let (Some(short), _) = &after {
        command = command.after_help(short.clone());
    }
    if let (_, Some(long)) = after {
        command = command.after_long_help(long);
    }
    command = command.mut_args(|arg| match own(arg.get_help()) {
        Some(help) => arg.help(help),
        None => arg,
    });
    command.mut_subcommands(texts)
}
