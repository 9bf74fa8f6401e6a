//! Dry run of gc: the same listing, mark and plan, without writing anything.

use crate::error::{Error, Result};
use crate::ops::gc::collect::{Collector, sizes};
use crate::ops::gc::plan::PackAction;
use crate::ops::gc::sweep;
use crate::repo::gc::peers;
use crate::repo::sessions::session::RepoState;

/// How often a changing repository is listed before a dry run gives up.
const LOOKS: usize = 8;

impl Collector<'_> {
    /// Fills the report with what a run would do.
    ///
    /// # Errors
    /// As [`crate::ops::gc::run`].
    pub(super) fn foresee(&mut self) -> Result<()> {
        for _ in 0..LOOKS {
            let repo_state = RepoState::read(self.repo.storage(), self.repo.suite(), |_| Ok(()))?;
            if !self.foresee_unfinished(&repo_state)? {
                return Ok(());
            }
            let number = repo_state.gc_seen + 1;
            if let Some(marked) = self.mark(repo_state, None)? {
                for (pack, account) in marked.index.packs().iter().zip(&marked.plan.packs) {
                    if account.fate == PackAction::Move {
                        self.report.packs_moved += 1;
                        self.report.bytes_written +=
                            (pack.len + account.grows).saturating_sub(account.dead + account.saves);
                    }
                    if account.fate != PackAction::Keep {
                        self.report.later.0 += 1;
                        self.report.later.1 += pack.len;
                    }
                }
                self.report.purged += marked.lost_for_good();
                return self.now_or_later(number);
            }
        }
        Err(Error::Refused("the repository changed each time it was read: run it again".into()))
    }

    /// Reports what sweeping unfinished gc runs would free. Returns false if one has to wait, which would end
    /// a real run.
    fn foresee_unfinished(&mut self, repo_state: &RepoState) -> Result<bool> {
        self.weigh(repo_state);
        for gc_run in &repo_state.unfinished {
            let others = peers::others(self.repo, None, false)?;
            let waiting = sweep::waits_for(self.repo, &others, gc_run.number)?;
            if !waiting.is_empty() {
                self.report.later = sizes(repo_state, &gc_run.record.condemned);
                self.report.waiting_for = waiting;
                return Ok(false);
            }
            let rescued = sweep::rescue(self.repo, gc_run)?;
            let gone: Vec<_> =
                gc_run.record.condemned.iter().filter(|pack| !rescued.contains(*pack)).copied().collect();
            let (packs, bytes) = sizes(repo_state, &gone);
            self.report.packs_deleted += packs;
            self.report.bytes_deleted += bytes;
            self.report.rescued += rescued.len() as u64;
        }
        Ok(true)
    }

    /// Reports what this run would delete, as deleted now or, if sessions at work delay the sweep, by a later
    /// run.
    fn now_or_later(&mut self, number: u64) -> Result<()> {
        let others = peers::others(self.repo, None, false)?;
        let waiting = sweep::waits_for(self.repo, &others, number)?;
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
