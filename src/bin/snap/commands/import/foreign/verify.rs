//! Verifies imported snapshots by reading the other program's mount again and comparing.

use std::path::Path;

use snap_backup::model::entry::Kind;
use snap_backup::ops::backup::states::{self, Planned};
use snap_backup::ops::diff::{self, Difference, DifferenceKind};
use snap_backup::progress::{Event, Observer};
use snap_backup::{Control, ErrorKind, Problem, Result};

use super::Job;
use super::report::Done;
use crate::terminal::progress::Progress;

/// Reads every file of the mounted snapshots, even if its metadata is unchanged, and compares it with the
/// imported one.
pub(super) fn by_mount(job: &Job<'_>, dir: &Path, planned: &[Planned], done: &mut Done) -> Result<()> {
    // Plans again, because the new snapshots have ids only now.
    let planned = states::plan(job.repo, planned.iter().map(|one| one.state.clone()).collect())?;
    let progress = Progress::start(&job.context.global, "import", true);
    let (mut number, mut differences) = (0, 0);
    for one in &planned {
        let (Some(id), Some(found)) = (one.there, job.found_of(&one.state)) else { continue };
        number += 1;
        // Compares the whole snapshot: its sources are all that it contains.
        let options = diff::Options {
            before: id.hex().into_bytes(),
            after: dir.join(&found.dir),
            ..diff::Options::default()
        };
        let mut each = |difference: &Difference<'_>| {
            if let Some(why) = why(difference) {
                differences += 1;
                let path = [id.short().to_string().as_bytes(), b":", difference.path].concat();
                progress.notice(Event::Problem(&Problem::new(path, ErrorKind::Damaged, why)));
            }
            Ok(())
        };
        let compared =
            diff::run(job.repo, &options, &mut each, &Control::new(&progress).with_cancel(job.stop))?;
        compared.problems.iter().for_each(|problem| progress.notice(Event::Problem(problem)));
        differences += compared.problems.len() as u64;
    }
    drop(progress);
    done.verified = Some((number, differences));
    Ok(())
}

/// Describes a difference; `None` if it does not count. Metadata and device numbers are not compared, because
/// the import has some that the mount lacks.
fn why(difference: &Difference<'_>) -> Option<&'static str> {
    let is_device = matches!(difference.entry.kind, Kind::CharDevice { .. } | Kind::BlockDevice { .. });
    match difference.change {
        DifferenceKind::Metadata => None,
        DifferenceKind::Content if is_device => None,
        DifferenceKind::Content => Some("its content differs from what was imported"),
        DifferenceKind::Type => Some("its type differs from what was imported"),
        DifferenceKind::Added => Some("it was not imported"),
        DifferenceKind::Removed => Some("it was imported, but does not exist"),
    }
}
