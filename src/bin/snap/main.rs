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

use crate::args::synonyms;
use crate::process::{secrets, signals};
use crate::terminal::output;

/// musl's own allocator takes one lock for all threads.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    signals::outlive_limits();
    secrets::keep_out_of_core_dumps();
    let all: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if let Some(words) = restic::words(&all) {
        return restic::main(words);
    }
    let words = || std::env::args_os();
    match cli::Cli::of_arguments(words()) {
        Ok(cli) => {
            let json = cli.global.json;
            if cli.global.verbose > 0 {
                output::name_objects();
            }
            exit::finish(cli::run(cli), json)
        }
        Err(mut error) => {
            let words: Vec<String> = words().skip(1).filter_map(|word| word.into_string().ok()).collect();
            let top = help::command();
            let verb = synonyms::verb_of(&top, words.iter().map(String::as_str));
            synonyms::advise(&mut error, &top, verb.as_deref());
            exit::parse(&error)
        }
    }
}
