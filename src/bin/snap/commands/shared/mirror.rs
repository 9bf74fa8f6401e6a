//! `backup --mirror`: maintains a second copy of the repository while the first one is written.

use std::cell::RefCell;
use std::ffi::OsString;
use std::sync::Arc;

use snap_backup::ops::sync::Options;
use snap_backup::repo::divergence;
use snap_backup::repo::repository::Repository;
use snap_backup::storage::Storage;
use snap_backup::storage::mirror::Mirrored;
use snap_backup::{Error, Result};

use crate::commands::sync;
use crate::context::Context;
use crate::exit::Outcome;
use crate::terminal::output;

/// The mirrors of one run. A failing mirror is a problem of the run, but does not affect the first
/// repository.
#[derive(Default)]
pub(crate) struct Mirrors {
    there: Vec<Arc<dyn Storage>>,
    /// The mirror that receives packs while they are written.
    live: Option<Arc<Mirrored>>,
    problems: RefCell<Vec<String>>,
}

impl Mirrors {
    /// Checks which mirrors exist, and creates missing ones if `init`. The returned repository also writes
    /// its packs to one of them; the others are updated afterwards.
    pub(crate) fn begin(
        context: &Context,
        repo: Repository,
        names: &[OsString],
        init: bool,
    ) -> Result<(Repository, Self)> {
        let mut mirrors = Self::default();
        for name in names {
            match open_mirror(context, &repo, name, init) {
                Ok(storage) => mirrors.there.push(storage),
                Err(err @ Error::Interrupted) => return Err(err),
                Err(err) => mirrors.problems.get_mut().push(err.chain()),
            }
        }
        let Some(second) = mirrors.there.first() else { return Ok((repo, mirrors)) };
        let live = Arc::new(Mirrored::new(Arc::clone(repo.shared_storage()), Arc::clone(second)));
        mirrors.live = Some(Arc::clone(&live));
        Ok((repo.elsewhere(live)?, mirrors))
    }

    /// Copies what the mirrors lack, and reports problems.
    pub(crate) fn end(&self, context: &Context, repo: &Repository) -> Result<Outcome> {
        let mut problems = self.problems.take();
        if let Some(err) = self.live.as_ref().and_then(|live| live.failed()) {
            let text =
                format!("a pack could not be written to the mirror during the backup: {}", err.chain());
            output::warn(context.global.json, &text);
        }
        for second in &self.there {
            let place = output::printable(&second.location());
            match sync::bring(context, repo, second, &Options::default()) {
                Ok(report) if report.is_whole() => {}
                Ok(_) => problems.push(format!("the mirror at {place} lacks objects that are damaged here")),
                Err(err @ Error::Interrupted) => return Err(err),
                Err(err) => problems.push(format!("the mirror at {place} is behind: {}", err.chain())),
            }
        }
        for problem in &problems {
            output::warn(context.global.json, problem);
            context.recorder.update(|record| record.set_error(problem));
        }
        Ok(if problems.is_empty() { Outcome::Done } else { Outcome::Problems })
    }
}

fn open_mirror(
    context: &Context,
    repo: &Repository,
    name: &OsString,
    init: bool,
) -> Result<Arc<dyn Storage>> {
    let storage = context.for_repository(name).storage()?;
    let place = output::printable(&storage.location());
    sync::not_itself(repo, &*storage)?;
    if !Repository::exists(&*storage)? && init {
        context.may_make(&*storage)?;
        divergence::refuse_emptied(&*storage, context.global.state().as_deref())?;
        sync::bring(context, repo, &storage, &Options::default())?;
    }
    if !Repository::exists(&*storage)? {
        return Err(Error::Refused(format!(
            "there is no copy of the repository at {place} yet: `snap sync --init` makes one"
        )));
    }
    if Repository::id_at(&*storage)? != repo.config().repo {
        return Err(Error::Refused(format!(
            "the repository at {place} is not a mirror of this one: `snap copy` copies snapshots into it"
        )));
    }
    Ok(storage)
}
