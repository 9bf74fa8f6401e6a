//! Dry run of gc: the same listing, mark and plan, without writing anything.

use crate::error::{Error, Result};
use crate::ops::gc::collect::{Collector, sizes};
use crate::ops::gc::plan::PackAction;
use crate::ops::gc::sweep;
use crate::repo::gc::peers;
use crate::repo::sessions::session::RepoState;

/// Maximum number of attempts while the repository changes.
const MAX_ATTEMPTS: usize = 8;

impl Collector<'_> {
    /// Fills the report with what a run would do.
    ///
    /// # Errors
    /// As [`crate::ops::gc::run`].
    pub(super) fn report_dry_run(&mut self) -> Result<()> {
        for _ in 0..MAX_ATTEMPTS {
            let repo_state = RepoState::read(self.repo.storage(), self.repo.suite(), |_| Ok(()))?;
            if !self.report_unfinished(&repo_state)? {
                return Ok(());
            }
            let number = repo_state.gc_seen + 1;
            if let Some(marked) = self.mark(repo_state, None)? {
                for (pack, usage) in marked.index.packs().iter().zip(&marked.plan.packs) {
                    if usage.action == PackAction::Move {
                        self.report.packs_moved += 1;
                        self.report.bytes_written +=
                            (pack.len + usage.growth).saturating_sub(usage.dead + usage.savings);
                    }
                    if usage.action != PackAction::Keep {
                        self.report.later.0 += 1;
                        self.report.later.1 += pack.len;
                    }
                }
                self.report.purged += marked.lost_for_good();
                return self.report_deletions(number);
            }
        }
        Err(Error::Refused("the repository changed each time it was read: run it again".into()))
    }

    /// Reports what a sweep of the unfinished gc run would delete. Returns false if it has to wait for
    /// sessions: a real run would end there.
    fn report_unfinished(&mut self, repo_state: &RepoState) -> Result<bool> {
        self.record_size_before(repo_state);
        let Some(gc_run) = &repo_state.unfinished else { return Ok(true) };
        let others = peers::others(self.repo, None, false)?;
        let waiting = sweep::sessions_to_wait_for(self.repo, &others, gc_run.number)?;
        if !waiting.is_empty() {
            self.report.later = sizes(repo_state, &gc_run.record.condemned);
            self.report.waiting_for = waiting;
            return Ok(false);
        }
        let still_needed = sweep::find_still_needed(self.repo, gc_run)?;
        let condemned = gc_run.record.condemned.iter().copied();
        let deletable: Vec<_> = condemned.filter(|pack| !still_needed.contains(pack)).collect();
        let (packs, bytes) = sizes(repo_state, &deletable);
        self.report.packs_deleted += packs;
        self.report.bytes_deleted += bytes;
        self.report.rescued += still_needed.len() as u64;
        Ok(true)
    }

    /// Reports the packs that this run would condemn: as deleted or, if the sweep would have to wait for
    /// sessions, as left to a later run.
    fn report_deletions(&mut self, number: u64) -> Result<()> {
        let others = peers::others(self.repo, None, false)?;
        let waiting = sweep::sessions_to_wait_for(self.repo, &others, number)?;
        let (packs, bytes) = self.report.later;
        if waiting.is_empty() || packs == 0 {
            self.report.packs_deleted += packs;
            self.report.bytes_deleted += bytes;
            self.report.later = (0, 0);
        } else {
            self.report.waiting_for = waiting;
        }
        Ok(())
    }
}
