//! What `schedule install` writes on macOS: the property list of a launchd job, which is an agent of the user
//! or a daemon of the machine.

use std::fmt::Write;
use std::path::PathBuf;

/// Seconds between two runs of `schedule run`.
const INTERVAL: u32 = 300;

/// A job of launchd. It is built as a value on every system, so that it can be printed and tested.
#[derive(Debug)]
pub(super) struct LaunchdJob<'a> {
    /// Its name, which is also that of its file.
    pub(super) label: &'a str,
    /// The program and its arguments.
    pub(super) words: &'a [String],
    /// Whether the program keeps running, instead of being started every few minutes.
    pub(super) daemon: bool,
    /// File for its output, which launchd would discard.
    pub(super) log: &'a str,
}

/// Returns the folder of the property lists: the machine's, or the user's below this home directory.
pub(super) fn folder(home: Option<PathBuf>) -> PathBuf {
    match home {
        Some(home) => home.join("Library/LaunchAgents"),
        None => PathBuf::from("/Library/LaunchDaemons"),
    }
}

/// Returns launchd's name of the domain in which a job runs: the machine's, or that of the user with this id
/// who is logged in at the screen.
pub(super) fn domain(uid: Option<u32>) -> String {
    uid.map_or_else(|| "system".to_owned(), |uid| format!("gui/{uid}"))
}

impl LaunchdJob<'_> {
    /// Returns the property list.
    pub(super) fn plist(&self) -> String {
        let mut text = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
             \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
             <plist version=\"1.0\">\n<dict>\n",
        );
        let mut put = |key: &str, value: &str| {
            let _ = writeln!(text, "  <key>{key}</key>\n  {value}");
        };
        put("Label", &string(self.label));
        let words: String = self.words.iter().map(|word| format!("    {}\n", string(word))).collect();
        put("ProgramArguments", &format!("<array>\n{words}  </array>"));
        if self.daemon {
            // Restarted after a failure only: after SIGTERM it exits with 0. launchd sends SIGKILL after
            // the timeout.
            put("KeepAlive", "<dict>\n    <key>SuccessfulExit</key>\n    <false/>\n  </dict>");
            put("ThrottleInterval", "<integer>60</integer>");
        } else {
            put("StartInterval", &format!("<integer>{INTERVAL}</integer>"));
        }
        put("RunAtLoad", "<true/>");
        put("ExitTimeOut", "<integer>300</integer>");
        put("ProcessType", &string("Background"));
        put("LowPriorityIO", "<true/>");
        put("Nice", "<integer>10</integer>");
        put("StandardOutPath", &string(self.log));
        put("StandardErrorPath", &string(self.log));
        text += "</dict>\n</plist>\n";
        text
    }
}

fn string(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<string>{escaped}</string>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plist(daemon: bool) -> String {
        let words = ["/opt/snap", "--config", "/Users/a b/<&>.toml", "schedule", "run"].map(str::to_owned);
        LaunchdJob { label: "snap-backup", words: &words, daemon, log: "/var/log/snap-backup.log" }.plist()
    }

    #[test]
    fn a_job_of_launchd_has_each_word_of_the_call_for_itself() {
        let text = plist(false);
        assert!(text.contains(
            "  <key>ProgramArguments</key>\n  <array>\n    <string>/opt/snap</string>\n    \
             <string>--config</string>\n    <string>/Users/a b/&lt;&amp;&gt;.toml</string>\n    \
             <string>schedule</string>\n    <string>run</string>\n  </array>\n"
        ));
        assert!(text.contains("<key>StartInterval</key>\n  <integer>300</integer>"));
        assert!(!text.contains("KeepAlive") && text.ends_with("</dict>\n</plist>\n"));
        let text = plist(true);
        assert!(text.contains("<key>SuccessfulExit</key>") && !text.contains("StartInterval"));
        for tag in ["dict", "array", "key", "string", "integer", "plist"] {
            let count = |mark: String| text.matches(&mark).count();
            let opened = count(format!("<{tag}>")) + count(format!("<{tag} "));
            assert_eq!(opened, count(format!("</{tag}>")), "{tag}");
        }
    }

    #[test]
    fn agents_are_the_users_and_daemons_the_machines() {
        assert_eq!(folder(Some("/Users/a".into())), PathBuf::from("/Users/a/Library/LaunchAgents"));
        assert_eq!(folder(None), PathBuf::from("/Library/LaunchDaemons"));
        assert_eq!((domain(Some(501)), domain(None)), ("gui/501".to_owned(), "system".to_owned()));
    }
}
