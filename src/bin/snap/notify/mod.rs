//! Notifications of failures and recoveries. A receiver that is unreachable, slow or misconfigured causes a
//! warning; it never fails a run, and no receiver delays another.

mod http;
mod notification;

use std::thread::JoinHandle;

use snap_backup::run_log::{RunLog, RunRecord, RunState};
use snap_backup::util::threads::Beside;
use snap_backup::util::{programs, threads};

use crate::args::global::Global;
use crate::config::model::Notify;
use crate::config::types::{Event, Secret};
use crate::process::shell_command::{self, CommandError};
use crate::terminal::{output, text};
pub(crate) use notification::{End, Notification};

/// The start ping, which may still be in progress.
#[must_use]
pub(crate) struct StartPing(Option<JoinHandle<Result<(), String>>>);

/// Sends the start ping of a backup without waiting for it. Other receivers are not notified of starts.
pub(crate) fn begin(notification: &Notification) -> StartPing {
    let Some(url) = ping_of(notification) else { return StartPing(None) };
    let (url, timeout) = (append_path(url, "start"), notification.settings.notify.timeout);
    StartPing(threads::detached("ping", move || http::send(&url, None, timeout)).ok())
}

/// Notifies all receivers that are configured for the result of the run.
pub(crate) fn end(
    notification: &Notification,
    start_ping: StartPing,
    global: &Global,
    due: Option<snap_backup::model::entry::Time>,
) {
    // The end ping must not arrive before the start ping.
    if let Some(Ok(Err(why))) = start_ping.0.map(JoinHandle::join) {
        warn(notification, "ping", &why);
    }
    let code = notification.end.as_ref().map_or(0, |end| end.code);
    if matches!(notification.status(), Some("interrupted" | "time-up")) || notification.job.will_retry(code) {
        return;
    }
    let event = match notification.status() {
        Some("success") if previous_failed(notification, global, due) => "recovery",
        Some(status) => status,
        None => return,
    };
    ping_and_send(notification, event);
}

/// Sends the notification of a run whose process was killed and could not send it itself.
pub(crate) fn notify_killed(notification: &Notification, why: &str) {
    let mut notification = notification.clone();
    notification.end = Some(End {
        code: 1,
        error: Some(format!("the process ended without a report: {why}")),
        ..End::default()
    });
    ping_and_send(&notification, "failure");
}

/// Sends a test to all receivers, whatever events they are configured for, and returns each one's result.
pub(crate) fn test(notification: &Notification) -> Vec<(&'static str, Result<(), String>)> {
    let mut all = send(notification, "test");
    if let Some(Secret(url)) = &notification.settings.notify.ping {
        all.push(("ping", http::send(url, None, notification.settings.notify.timeout)));
    }
    all
}

fn ping_and_send(notification: &Notification, event: &'static str) {
    let ping = ping_of(notification).map(str::to_owned);
    std::thread::scope(|scope| {
        let ping = ping.as_deref().map(|url| {
            Beside::begin(scope, "ping", move || {
                let timeout = notification.settings.notify.timeout;
                match event {
                    "failure" | "alarm" => {
                        let text = notification.text(event);
                        http::send(
                            &append_path(url, "fail"),
                            Some(("text/plain; charset=utf-8", text.as_bytes())),
                            timeout,
                        )
                    }
                    _ => http::send(url, None, timeout),
                }
            })
        });
        let (mut wanted, default) = (&notification.settings.notify.on, Notify::default().on);
        if wanted.is_empty() {
            wanted = &default;
        }
        let sent = if wanted.contains(&Event(event)) { send(notification, event) } else { Vec::new() };
        for (receiver, why) in sent.into_iter().filter_map(|(receiver, sent)| Some((receiver, sent.err()?))) {
            warn(notification, receiver, &why);
        }
        if let Some(Some(Err(why))) = ping.map(Beside::join) {
            warn(notification, "ping", &why);
        }
    });
}

/// The result of a receiver; `None` if it is not configured.
type Sending<'a> = Beside<'a, Option<Result<(), String>>>;

/// Sends to all receivers except the ping, concurrently.
fn send(notification: &Notification, event: &str) -> Vec<(&'static str, Result<(), String>)> {
    let receivers = &notification.settings.notify;
    let timeout = receivers.timeout;
    let webhook = || {
        let url = &receivers.webhook.as_ref()?.0;
        let body = notification.json(event).to_string();
        Some(http::send(url, Some(("application/json", body.as_bytes())), timeout))
    };
    let command = || {
        let mut command = shell_command::shell(&receivers.command.as_ref()?.0);
        command.env("SNAP_EVENT", event).envs(notification.variables());
        Some(shell_command::run(command, b"", timeout, None).map_err(describe_error))
    };
    let mail = || {
        let to = Some(&receivers.mail).filter(|to| !to.is_empty())?;
        let mut command = programs::foreign(&receivers.sendmail);
        command.args(["-i", "-t"]);
        Some(
            shell_command::run(command, mail(notification, event, to).as_bytes(), timeout, None)
                .map_err(describe_error),
        )
    };
    std::thread::scope(|scope| {
        let threads: [(_, Sending<'_>); 3] = [
            ("webhook", Beside::begin(scope, "webhook", webhook)),
            ("command", Beside::begin(scope, "command", command)),
            ("mail", Beside::begin(scope, "mail", mail)),
        ];
        let ended = |thread: Sending<'_>| {
            thread.join().unwrap_or_else(|| Some(Err("it failed unexpectedly".to_owned())))
        };
        threads.into_iter().filter_map(|(name, thread)| Some((name, ended(thread)?))).collect()
    })
}

fn mail(notification: &Notification, event: &str, to: &[String]) -> String {
    let line = output::printable;
    let mut subject = line(&notification.headline(event));
    if !subject.is_ascii() {
        subject = format!("=?UTF-8?B?{}?=", output::base64(subject.as_bytes()));
    }
    format!(
        "To: {}\nSubject: {subject}\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{}",
        to.iter().map(|address| line(address)).collect::<Vec<_>>().join(", "),
        text::printable_lines(&notification.text(event))
    )
}

/// Returns the ping URL for backups only: a successful cleanup must not hide that no backup was made.
fn ping_of(notification: &Notification) -> Option<&str> {
    let ping = notification.settings.notify.ping.as_ref().map(|url| url.0.as_str());
    ping.filter(|_| notification.verb == "backup")
}

/// Appends a component to the path of a URL.
fn append_path(url: &str, part: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let (path, rest) = url.split_at(end);
    format!("{}/{part}{rest}", path.trim_end_matches('/'))
}

/// Returns whether the previous run of the same set and verb failed. Attempts for the same due time are one
/// run; interrupted runs are ignored.
fn previous_failed(
    notification: &Notification,
    global: &Global,
    due: Option<snap_backup::model::entry::Time>,
) -> bool {
    let Some(dir) = global.state() else { return false };
    let Ok(history) = RunLog::new(dir).read() else { return false };
    let same =
        |run: &&RunRecord| run.set.as_deref() == Some(&notification.set) && run.verb == notification.verb;
    let other = |run: &&RunRecord| due.is_none() || run.due != due;
    let ended = |run: &&RunRecord| match run.state() {
        RunState::Running => false,
        RunState::Ended(ending) => !ending.is_wished(),
        RunState::Lost => true,
    };
    // The current run is still recorded as running.
    history.runs.iter().rev().filter(same).filter(other).find(ended).is_some_and(RunRecord::is_bad)
}

fn warn(notification: &Notification, receiver: &str, why: &str) {
    output::warn(
        notification.json,
        &format!("{}: the notification by {receiver} failed: {why}", notification.set),
    );
}

fn describe_error(error: CommandError) -> String {
    match error {
        CommandError::Failed(why) => why,
        CommandError::Stopped => "stopped".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::append_path;

    #[test]
    fn a_part_goes_to_the_path_of_a_url() {
        for (url, wanted) in [
            ("https://x/uuid", "https://x/uuid/start"),
            ("https://x/uuid/", "https://x/uuid/start"),
            ("https://x/a?b=c/d", "https://x/a/start?b=c/d"),
        ] {
            assert_eq!(append_path(url, "start"), wanted);
        }
    }
}
