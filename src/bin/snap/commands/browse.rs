//! `snap browse`: browses snapshots in the terminal.

use std::io::{self, IsTerminal};

use clap::Args;
use snap_backup::{Error, Result};

use crate::browse;
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::progress::stop_on_signals;

#[derive(Debug, Args)]
pub(crate) struct Browse {}

pub(crate) fn run(context: &Context) -> Result<Outcome> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Error::Usage(
            "`snap browse` needs a terminal: use `snap ls`, `snap find` and `snap restore` in scripts"
                .to_owned(),
        ));
    }
    context.with(|repo| {
        let stop = stop_on_signals()?;
        browse::run(repo, &repo.location(), &stop)?;
        Ok(Outcome::Done)
    })
}
