//! The program `snap`: parses the command line, runs the verb, and converts the result to an exit code. The
//! rest is in the library.

mod advice;
mod args;
#[cfg(feature = "browse")]
mod browse;
mod cli;
mod commands;
mod compat;
mod config;
mod context;
mod exit;
mod help;
#[cfg(feature = "mount")]
mod mount;
mod notify;
mod password;
mod process;
#[cfg(test)]
mod reference;
mod restic;
mod run_log;
mod schedule;
#[cfg(feature = "serve")]
mod serve;
mod terminal;
mod trust;
mod zip_archive;

use std::process::ExitCode;

use snap_backup::sys::process::hide_memory;

use crate::args::synonyms;
use crate::process::signals;
use crate::terminal::output;

/// musl's own allocator takes one lock for all threads.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    signals::outlive_limits();
    // Keeps passwords and keys out of core dumps.
    hide_memory();
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if let Some(words) = restic::words(&arguments) {
        return restic::main(words);
    }
    match cli::Cli::of_arguments(&arguments) {
        Ok(cli) => {
            let json = cli.global.json;
            if cli.global.verbose > 0 {
                output::show_object_ids();
            }
            exit::finish(cli::run(cli), json)
        }
        Err(mut error) => {
            let words = arguments.iter().skip(1).filter_map(|word| word.to_str());
            let top = help::command();
            let verb = synonyms::verb_of(&top, words);
            synonyms::advise(&mut error, &top, verb.as_deref());
            exit::report_parse_error(&error)
        }
    }
}
