//! The end of a run: commits a manifest under a valid session, unless nothing changed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_bytes::ByteBuf;

use crate::error::{Error, Problem, Result};
use crate::fs::ancestors;
use crate::model::id::ChunkId;
use crate::model::manifest::{Manifest, SnapshotKind};
use crate::model::manifest_ext::Rot;
use crate::model::tripwire::{self, AlarmReason};
use crate::ops::backup::alarm::signs::{self, Judgement};
use crate::ops::backup::{Assembled, Report, Run};
use crate::repo::commit::write_session::{self, ParentTrust};
use crate::repo::commit::{self, reachability};
use crate::repo::index::Index;
use crate::repo::sessions::session::Session;
use crate::run_log;
use crate::util::host;

/// Commits the snapshot, unless nothing changed.
pub(super) fn publish(
    run: &Run<'_>,
    assembled: Assembled,
    host: &str,
    sources: &[ByteBuf],
) -> Result<Report> {
    let Assembled { root, session, mut counts, more, deltas, read, tally } = assembled;
    let problems = std::mem::take(&mut *run.problems.lock());
    counts.errors = problems.len() as u64;
    counts.bytes_stored = run.stored.load(Ordering::Relaxed);
    let parent_choice = run.parent_choice;
    let partial = run.has_ended_early();
    let mut summary = Report {
        snapshot: None,
        kind: parent_choice.kind,
        parent: parent_choice.parent,
        counts,
        more,
        duration: std::time::Duration::ZERO,
        partial,
        time_up: run.ran_out_of_time(),
        problems,
        deltas,
        vanished: run.vanished.load(Ordering::Relaxed),
        changing: run.changing.load(Ordering::Relaxed),
        newest: parent_choice.newest.as_ref().map(|newest| newest.id),
        unchanged: parent_choice.newest.as_ref().is_some_and(|newest| newest.manifest.root == root)
            && !partial,
        unmatched: Vec::new(),
        alarm: Vec::new(),
        reread: run.rot_findings.rereading(run.reread_arc, partial),
        quota: run.repo.config().quota().filter(|_| run.quota_reached.load(Ordering::Relaxed)),
        repository_bytes: listed_bytes(run) + counts.bytes_stored,
    };
    if let Some(why) = why_no_snapshot(run, &summary) {
        if let Some(session) = session {
            session.close()?;
        }
        return Err(why);
    }
    let recorded = run.options.recorded.as_ref();
    if let Some(check) = recorded.and_then(|recorded| recorded.check.as_ref()) {
        check.ask()?;
    }
    let saves_always = run.options.allow_empty || recorded.is_some();
    let silent = summary.unchanged && parent_choice.kind != SnapshotKind::Full && !saves_always;
    let judgement =
        if partial { Judgement::default() } else { signs::judge(run, read, &tally, &counts, silent) };
    summary.alarm = judgement.reasons;
    let rot = run.rot_findings.alarm_reason();
    summary.alarm.extend(rot.clone());
    if run.options.dry_run || silent && summary.alarm.is_empty() {
        return Ok(summary);
    }
    if partial && session.is_none() {
        // Nothing new was read, so a partial snapshot would add nothing to the parent.
        return if summary.time_up { Ok(summary) } else { Err(Error::Interrupted) };
    }
    let mut manifest = Manifest {
        kind: parent_choice.kind,
        parent: parent_choice.parent,
        based_on: parent_choice.based_on,
        started: run.started,
        ended: recorded.map_or_else(run.backup.now, |recorded| recorded.time),
        host: host.to_owned(),
        user: recorded.and_then(|recorded| recorded.user.clone()).unwrap_or_else(host::user_name),
        sources: sources.to_vec(),
        tags: run.options.tags.clone(),
        root,
        counts,
        partial,
        program: concat!("snap ", env!("CARGO_PKG_VERSION")).to_owned(),
        extra: Vec::new(),
    };
    manifest
        .set_description(run.options.description.as_deref())
        .map_err(|why| Error::Usage(why.to_string()))?;
    manifest.set_expires(run.options.expires);
    manifest.set_more_counts(more);
    // The files of a past state may have been read on another system.
    if recorded.is_none() {
        manifest.set_system();
    }
    manifest.set_lineage(Some(parent_choice.lineage));
    manifest.set_writer(run.repo.writer());
    manifest.set_origin(recorded.and_then(|recorded| recorded.origin.as_deref()));
    manifest.set_signs(judgement.signs.as_ref());
    if !summary.alarm.is_empty() {
        manifest.set_alarm(&tripwire::sentence(&summary.alarm));
    }
    if let Some(AlarmReason::Rot { files, .. }) = rot {
        let is_only_reason = tripwire::is_only_rot(&summary.alarm);
        manifest.set_rot(Some(Rot { files, is_only_reason }));
    }
    let (sources, moved) = (&run.options.sources, run.options.store_as.is_some() || recorded.is_some());
    manifest.set_root(run.root_ancestor_only, ancestors::are_open(sources, moved));
    let session = match session {
        Some(session) => session,
        None => session_for_reused(run, &root)?,
    };
    let id = commit::commit(run.repo, session, &manifest)?;
    if let Some(memory) = run.repo.memory() {
        let set = run_log::set_id(&manifest.host, &manifest.sources);
        memory.save_snapshot(&set, id, &manifest).into_iter().for_each(|why| run.repo.control().warn(why));
    }
    summary.snapshot = Some(id);
    Ok(summary)
}

/// Returns why what was read cannot become a snapshot, not even a partial one.
fn why_no_snapshot(run: &Run<'_>, summary: &Report) -> Option<Error> {
    if summary.partial {
        // A truncated stream cannot be distinguished from a complete one. A partial snapshot of a past state
        // would remain incomplete, because no later run completes it.
        let all_or_nothing = run.options.stdin.is_some() || run.options.recorded.is_some();
        return all_or_nothing.then(|| run.why_ended());
    }
    is_empty_by_problems(run, summary).then(|| Error::NothingRead(describe_nothing_saved(summary)))
}

/// Returns whether nothing was saved because of problems. Such a snapshot would count as complete, and
/// retention rules could keep it instead of those that contain data.
fn is_empty_by_problems(run: &Run<'_>, summary: &Report) -> bool {
    let saved = summary.counts.files() + summary.counts.others;
    let counts = |problem: &Problem| !run.options.optional.contains(&problem.path);
    saved == 0 && summary.problems.iter().any(counts)
}

fn describe_nothing_saved(summary: &Report) -> String {
    let named = summary.problems.iter().take(3);
    let mut why: Vec<String> = named.map(ToString::to_string).collect();
    if let more @ 1.. = summary.problems.len() - why.len() {
        why.push(format!("and {more} more"));
    }
    format!("no snapshot was saved, because it would be empty: {}", why.join("; "))
}

/// Opens a session for a run that stored nothing (W1, W2): everything its root needs was found before there
/// was a session.
fn session_for_reused(run: &Run<'_>, root: &ChunkId) -> Result<Session> {
    let (session, repo_state) = write_session::open(run.repo)?;
    let is_trusted = match run.parent_choice.compare.as_ref().filter(|_| run.parent_choice.trusted) {
        Some(parent) => write_session::trust(run.repo, &repo_state, &[parent.id])? == ParentTrust::Whole,
        None => false,
    };
    if is_trusted || reachability::is_complete(run.repo, &Arc::new(Index::load(run.repo, repo_state)?), root)?
    {
        return Ok(session);
    }
    run.parent_invalidated.store(true, Ordering::Relaxed);
    Err(Error::Stopped)
}

fn listed_bytes(run: &Run<'_>) -> u64 {
    run.index.packs().iter().map(|pack| pack.len).sum()
}
