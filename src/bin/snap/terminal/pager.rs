//! Long lists on a terminal go through a pager, like in git: `SNAP_PAGER`, `PAGER`, or `less -FRX`.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::SigId;
use signal_hook::consts::SIGINT;
use snap_backup::Result;
use snap_backup::sys::io::fcntl_dupfd_cloexec;
use snap_backup::sys::stdio::{dup2_stderr, stderr};
use snap_backup::util::programs;

use crate::terminal::text::Guarded;
use crate::terminal::{output, progress, text};

/// Characters that have a special meaning for a shell.
const SHELL_CHARACTERS: &[u8] = b"|&;<>()$`\\\"'*?[#~=%{}\n";

/// Like [`output::emit`] for output that may be long: on a terminal it goes through a pager.
pub(crate) fn emit_paged(write: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    if !text::stdout_is_terminal() {
        return output::emit_raw(write);
    }
    let mut out = Guarded(BufWriter::new(Paged::new()));
    write(&mut out)?;
    let paged = out.0.into_inner().map_err(|err| output::failed(err.into_error()))?;
    paged.end().map_err(output::failed)
}

/// Like [`output::print`] for text that may be long.
pub(crate) fn print_paged(text: &str) -> Result<()> {
    match emit_paged(|out| writeln!(out, "{text}").map_err(output::failed)) {
        Err(error) if error.is_broken_pipe() => Ok(()),
        result => result,
    }
}

/// Buffers output until it exceeds one screen, and only then starts the pager. Short lists are printed
/// directly.
pub(crate) struct Paged {
    buffer: Vec<u8>,
    /// Size of the screen.
    rows: usize,
    columns: usize,
    to: Target,
}

enum Target {
    /// Less than a screen so far.
    Undecided(OsString),
    Pager(Box<Pager>),
    Screen,
}

impl Paged {
    /// Creates one for standard output.
    pub(crate) fn new() -> Self {
        let size = text::size_of_stdout().filter(|_| text::can_page());
        match (size, command()) {
            (Some((rows, columns)), Some(command)) => {
                Self { buffer: Vec::new(), rows, columns: columns.max(1), to: Target::Undecided(command) }
            }
            _ => Self { buffer: Vec::new(), rows: 0, columns: 1, to: Target::Screen },
        }
    }

    /// Returns whether the buffered text and the next prompt exceed the screen.
    fn is_more_than_a_screen(&self) -> bool {
        let lines = self.buffer.split(|byte| *byte == b'\n');
        let rows = lines.map(|line| {
            console::measure_text_width(&String::from_utf8_lossy(line)).div_ceil(self.columns).max(1)
        });
        rows.sum::<usize>() > self.rows
    }

    /// Writes the rest and waits for the pager to end.
    pub(crate) fn end(mut self) -> io::Result<()> {
        self.flush_buffer()?;
        self.flush()
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        match &mut self.to {
            Target::Pager(pager) => pager.write_all(&buffer),
            _ => io::stdout().lock().write_all(&buffer),
        }
    }
}

impl Write for Paged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.to {
            Target::Pager(pager) => return pager.write(bytes),
            Target::Screen => return io::stdout().lock().write(bytes),
            Target::Undecided(_) => self.buffer.extend_from_slice(bytes),
        }
        if let Target::Undecided(command) = &self.to
            && bytes.contains(&b'\n')
            && self.is_more_than_a_screen()
        {
            progress::hide();
            self.to = Pager::start(command).map_or(Target::Screen, |pager| Target::Pager(Box::new(pager)));
            self.flush_buffer()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.to {
            Target::Pager(pager) => pager.flush(),
            Target::Screen => io::stdout().lock().flush(),
            Target::Undecided(_) => Ok(()),
        }
    }
}

impl Drop for Paged {
    /// Output before a failure is shown too.
    fn drop(&mut self) {
        let _ = self.flush_buffer();
    }
}

/// Returns the pager command; `None` if no pager should be used.
fn command() -> Option<OsString> {
    let given = |name: &str| std::env::var_os(name);
    let command = given("SNAP_PAGER").or_else(|| given("PAGER")).unwrap_or_else(|| "less".into());
    (!command.is_empty() && command != "cat").then_some(command)
}

/// A running pager. While it owns the screen, standard error goes through it too.
struct Pager {
    child: Child,
    stderr: Option<OwnedFd>,
    /// Set by Ctrl-C. The pager handles the key itself and continues; its input stops.
    interrupted: Arc<AtomicBool>,
    handler: Option<SigId>,
}

impl Pager {
    /// Starts the pager; `None` if it cannot be run, and the list is printed without it.
    fn start(command: &OsStr) -> Option<Self> {
        let mut child = match pager_command(command).stdin(Stdio::piped()).spawn() {
            Ok(child) => child,
            // The user has not asked for less, so its absence needs no warning.
            Err(err) if err.kind() == io::ErrorKind::NotFound && command == "less" => return None,
            Err(err) => {
                output::warn(false, &format!("cannot run the pager {}: {err}", command.display()));
                return None;
            }
        };
        let stderr = text::stderr_is_terminal().then(|| divert(&mut child)).flatten();
        let interrupted = Arc::<AtomicBool>::default();
        let handler = signal_hook::flag::register(SIGINT, Arc::clone(&interrupted)).ok();
        Some(Self { child, stderr, interrupted, handler })
    }
}

/// Splits a command into words, or runs it through a shell if it contains shell syntax.
fn pager_command(command: &OsStr) -> Command {
    let text = command.to_string_lossy();
    let mut words = text.split_whitespace();
    let mut run = match words.next() {
        Some(program) if !text.bytes().any(|byte| SHELL_CHARACTERS.contains(&byte)) => {
            let mut run = programs::foreign(program);
            run.args(words);
            run
        }
        _ => {
            let mut run = programs::foreign("/bin/sh");
            run.arg("-c").arg(command);
            run
        }
    };
    // Like git: quit if the text fits on the screen, show colours, leave the text there.
    for (name, value) in [("LESS", "FRX"), ("LV", "-c")] {
        if std::env::var_os(name).is_none() {
            run.env(name, value);
        }
    }
    run
}

/// Redirects standard error to the pager and returns the previous descriptor.
fn divert(child: &mut Child) -> Option<OwnedFd> {
    let before = fcntl_dupfd_cloexec(stderr(), 3).ok()?;
    dup2_stderr(child.stdin.as_ref()?).ok()?;
    Some(before)
}

impl Write for Pager {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.child.stdin.as_mut().map_or(Ok(bytes.len()), |stdin| stdin.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.child.stdin.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Pager {
    fn drop(&mut self) {
        if let Some(before) = self.stderr.take() {
            // The pager waits until all writers have closed the pipe.
            let _ = dup2_stderr(before);
        }
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        if let Some(handler) = self.handler.take() {
            signal_hook::low_level::unregister(handler);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::pager_command;

    #[test]
    fn pager_runs_directly_and_by_a_shell_only_if_needed() {
        let run = |command: &str| {
            let run = pager_command(OsStr::new(command));
            let words = std::iter::once(run.get_program()).chain(run.get_args());
            words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(run("less -S  -R"), ["less", "-S", "-R"]);
        assert_eq!(run("less -S | head"), ["/bin/sh", "-c", "less -S | head"]);
    }
}
