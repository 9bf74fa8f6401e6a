//! The program `snap`: parses, runs, and turns the result into an exit code. Everything else is a library call.

mod args;
mod commands;
mod output;
mod password;
mod progress;
mod report;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match args::Cli::try_parse() {
        Ok(cli) => {
            let json = cli.global.json;
            report::finish(commands::run(cli), json)
        }
        Err(error) => report::parse(&error),
    }
}
