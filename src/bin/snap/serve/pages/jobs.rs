//! The page with the jobs started from browsers: their progress and results.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use maud::{Markup, html};

use super::{frame, time};
use crate::serve::actions::jobs::Job;
use crate::serve::app_state::AppState;
use crate::serve::request::PageRequest;
use crate::serve::response::HttpError;
use crate::serve::sessions::SharedSession;
use crate::terminal::output::{self, count, size};

pub(crate) fn page(
    site: &AppState,
    _: &SharedSession,
    asked: &PageRequest,
    _: &Arc<AtomicBool>,
) -> Result<Markup, HttpError> {
    if asked.path.len() > 1 {
        let gone = || HttpError::not_found("there is no such job: only the most recent jobs are kept");
        let id = asked.text_at(1).parse::<u64>().map_err(|_| gone())?;
        let job = site.jobs.job(id).ok_or_else(gone)?;
        return Ok(frame(&site.title, "Job", "", job_card(&job)));
    }
    let all = site.jobs.all();
    let content = html! {
        @if all.is_empty() { p { "No job has been started here." } }
        @else {
            table.stack {
                thead { tr { th scope="col" { "Job" } th scope="col" { "Started" } th scope="col" { "State" } } }
                tbody { @for job in &all {
                    tr {
                        td.name { a href={ "/jobs/" (job.id) } { (output::printable(&job.title)) } }
                        td data-label="Started" { (time(job.started)) }
                        td data-label="State" { (state(job)) }
                    }
                } }
            }
        }
    };
    Ok(frame(&site.title, "Jobs", "", content))
}

fn state(job: &Job) -> Markup {
    html! {
        @match job.end() {
            None => { span.pill.late { "Running" } }
            Some(end) if end.is_good => { span.pill.good { "✓ Done" } }
            Some(_) => { span.pill.failed { "✕ Incomplete" } }
        }
    }
}

fn job_card(job: &Job) -> Markup {
    let [files, bytes, of_files, of_bytes] = job.progress();
    let warnings = job.warnings();
    html! {
        p.lead { (output::printable(&job.title)) " " (state(job)) }
        dl {
            dt { "Started" } dd { (time(job.started)) }
            @if let Some(end) = job.end() { dt { "Ended" } dd { (time(end.at)) } }
            @else if files + bytes + of_bytes > 0 {
                dt { "So far" }
                dd {
                    (count(files, "file", "files")) ", " (size(bytes))
                    @if of_bytes > 0 { " of " (count(of_files, "file", "files")) ", " (size(of_bytes)) }
                }
            }
        }
        @if job.end().is_none() && of_bytes > 0 {
            progress aria-label="Progress" value=(bytes.min(of_bytes)) max=(of_bytes) {}
        }
        @if let Some(end) = job.end() {
            div role="status" { @for line in &end.lines { p class=[(!end.is_good).then_some("bad")] { (output::printable(line)) } } }
        }
        @if !warnings.is_empty() {
            h2 { "Warnings" }
            ul { @for text in &warnings { li { (output::printable(text)) } } }
        }
        p.actions { a.button href="/jobs" { "All jobs" } }
    }
}
