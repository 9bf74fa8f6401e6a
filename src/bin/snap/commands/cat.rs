//! `snap cat`: prints a file of a snapshot.

use std::ffi::OsString;

use clap::Args;
use snap_backup::Result;
use snap_backup::ops::cat;
use snap_backup::repo::snapshots::Query;

use super::shared::select::{self, Among};
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output;

#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// The snapshot, and the file in it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub(crate) selector: OsString,
    /// Stored path of the file, if not given after the colon
    #[arg(value_name = "PATH")]
    pub(crate) stored: Option<OsString>,
    #[command(flatten)]
    pub(crate) among: Among,
}

pub(crate) fn run(context: &Context, args: &Cat) -> Result<Outcome> {
    let selector = select::joined(&args.selector, args.stored.as_ref());
    args.among.with(context, |context, selection| {
        let query = Query::among(&selector, &selection);
        context.with(|repo| output::emit_raw(|out| cat::run(repo, query, out)))
    })?;
    Ok(Outcome::Done)
}
