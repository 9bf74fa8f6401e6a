//! Starts the backup, check or drill of a set, if `--allow run` permits it.

use std::sync::Arc;

use hyper::StatusCode;
use tokio::task::spawn_blocking;

use crate::serve::app_state::AppState;
use crate::serve::request::Form;
use crate::serve::response::HttpError;

/// Verbs that can be run.
const VERBS: [&str; 3] = ["backup", "check", "drill"];

/// Starts the run that the form names. Returns the number of the job.
///
/// # Errors
/// It is not allowed, the set or the verb does not exist, or another job is running.
pub(super) fn start(site: &Arc<AppState>, form: &Form) -> Result<u64, HttpError> {
    let Some(run) = &site.allow.run else {
        let why = "this server was started without `--allow run`, so it cannot run jobs";
        return Err(HttpError::new(StatusCode::FORBIDDEN, why));
    };
    let (set, what) = (form.text("set"), form.text("what"));
    if !VERBS.contains(&what.as_str()) {
        return Err(HttpError::new(
            StatusCode::BAD_REQUEST,
            format!("the jobs that can be run are: {}", VERBS.join(", ")),
        ));
    }
    let Some(job) = site.jobs.begin(format!("{what} of set {set}")) else {
        return Err(HttpError::new(StatusCode::CONFLICT, "another job is running: wait until it has ended"));
    };
    let wait = match run(&set, &what) {
        Ok(wait) => wait,
        Err(error) => {
            let refusal = HttpError::from(error);
            job.ended(false, vec![refusal.why.clone()]);
            return Err(refusal);
        }
    };
    let (site, id) = (Arc::clone(site), job.id);
    spawn_blocking(move || {
        let (is_good, text) = wait(&site.jobs.stop);
        job.ended(is_good, vec![text]);
    });
    Ok(id)
}
