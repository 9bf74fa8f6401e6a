//! `snap cat`: prints a file of a snapshot.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use snap_backup::Result;
use snap_backup::ops::cat;

use super::Context;
use crate::output;
use crate::report::Outcome;

#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// Which file
    #[arg(value_name = "SNAPSHOT:PATH")]
    pub(crate) selector: OsString,
}

pub(super) fn run(context: &Context, args: &Cat) -> Result<Outcome> {
    context.with(|repo| output::emit_raw(|out| cat::run(repo, args.selector.as_bytes(), out)))?;
    Ok(Outcome::Done)
}
