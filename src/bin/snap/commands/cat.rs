//! `snap cat`: prints a file of a snapshot.

use snap_backup::Result;
use snap_backup::ops::cat;

use super::Context;
use crate::args;
use crate::output;
use crate::report::Outcome;

pub(super) fn run(context: &Context, args: &args::Cat) -> Result<Outcome> {
    context.with(|repo| output::emit(|out| cat::run(repo, &args.selector, out)))?;
    Ok(Outcome::Done)
}
