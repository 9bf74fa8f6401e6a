//! Installs the schedule in the system: systemd units, a job of launchd, or a line in the crontab. All are
//! built as values first, so that they can be printed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use snap_backup::sys::users;
use snap_backup::util::programs;
use snap_backup::{Error, Result};

use crate::schedule::launchd::{self, LaunchdJob};
use crate::terminal::output;

/// Who runs the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    Systemd,
    /// The service manager of macOS.
    Launchd,
    Cron,
}

/// What to install.
#[derive(Debug)]
pub(crate) struct Installation {
    pub(crate) program: PathBuf,
    pub(crate) config: Option<PathBuf>,
    pub(crate) profile: Option<String>,
    pub(crate) state: Option<PathBuf>,
    /// A daemon instead of a timer.
    pub(crate) daemon: bool,
    /// For the machine instead of the user.
    pub(crate) system: bool,
    /// Who is to run it.
    pub(crate) runner: Runner,
}

/// Mark at the end of the crontab line, by which it is found again.
const MARK: &str = "# snap schedule";

impl Installation {
    /// Returns the name of the units. It contains the profile, so that several profiles can be installed.
    fn name(&self) -> String {
        match &self.profile {
            Some(profile) => format!("snap-backup-{profile}"),
            None => "snap-backup".to_owned(),
        }
    }

    fn folder(&self) -> Result<PathBuf> {
        let absolute =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let unknown = || Error::Usage("HOME is not set: cannot find the user's units".to_owned());
        let home = || absolute("HOME").ok_or_else(unknown);
        Ok(match (self.runner, self.system) {
            (Runner::Launchd, true) => launchd::folder(None),
            (Runner::Launchd, false) => launchd::folder(Some(home()?)),
            (_, true) => PathBuf::from("/etc/systemd/system"),
            (_, false) => match absolute("XDG_CONFIG_HOME") {
                Some(config) => config.join("systemd/user"),
                None => home()?.join(".config/systemd/user"),
            },
        })
    }

    /// Returns the command line with its options, each word quoted by `quote`.
    fn command_line(&self, verb: &[&str], quote: impl Fn(&str) -> String) -> Result<String> {
        Ok(self.arguments(verb)?.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "))
    }

    /// Returns the program and its arguments.
    fn arguments(&self, verb: &[&str]) -> Result<Vec<String>> {
        let text = |path: &Path| {
            path.to_str().map(str::to_owned).ok_or_else(|| {
                Error::Usage(format!(
                    "{} is not UTF-8: systemd, launchd and cron cannot use this path",
                    path.display()
                ))
            })
        };
        let mut words = vec![text(&self.program)?];
        for (flag, path) in [("--config", &self.config), ("--state-dir", &self.state)] {
            if let Some(path) = path {
                words.push(flag.to_owned());
                words.push(text(&std::path::absolute(path).map_err(Error::io("make absolute", path))?)?);
            }
        }
        if let Some(profile) = &self.profile {
            words.extend(["--profile".to_owned(), profile.clone()]);
        }
        words.extend(verb.iter().map(|word| (*word).to_owned()));
        Ok(words)
    }

    /// Returns names and contents of the files.
    fn files(&self) -> Result<Vec<(String, String)>> {
        match self.runner {
            Runner::Systemd => self.units(),
            Runner::Launchd => Ok(vec![(self.plist_name(), self.plist()?)]),
            Runner::Cron => Ok(Vec::new()),
        }
    }

    fn plist_name(&self) -> String {
        format!("{}.plist", self.name())
    }

    fn plist(&self) -> Result<String> {
        let label = self.name();
        let words =
            self.arguments(if self.daemon { &["daemon"] } else { &["--quiet", "schedule", "run"] })?;
        // The folder of a user's property lists is `Library/LaunchAgents`.
        let logs = if self.system {
            Some("/var/log".into())
        } else {
            self.folder()?.parent().map(|dir| dir.join("Logs"))
        };
        let log = logs.unwrap_or_default().join(format!("{label}.log")).display().to_string();
        Ok(LaunchdJob { label: &label, words: &words, daemon: self.daemon, log: &log }.plist())
    }

    /// Returns launchd's domain, and the full name of the job in it.
    fn domain(&self) -> (String, String) {
        let domain = launchd::domain((!self.system).then(users::this_user));
        let job = format!("{domain}/{}", self.name());
        (domain, job)
    }

    /// Returns the commands that make the written files take effect.
    fn start_commands(&self, folder: &Path) -> Vec<Vec<String>> {
        match self.runner {
            Runner::Systemd => vec![
                self.systemctl(&["daemon-reload"]),
                self.systemctl(&["enable", "--now", &self.enabled_unit()]),
            ],
            Runner::Launchd => {
                let file = folder.join(self.plist_name()).display().to_string();
                let (domain, job) = self.domain();
                vec![
                    owned(&["launchctl", "enable", &job]),
                    owned(&["launchctl", "bootstrap", &domain, &file]),
                ]
            }
            Runner::Cron => Vec::new(),
        }
    }

    /// Returns names and contents of the units.
    fn units(&self) -> Result<Vec<(String, String)>> {
        let name = self.name();
        let target = if self.system { "multi-user.target" } else { "default.target" };
        let unit = "[Unit]\nDescription=Scheduled backups by snap\nDocumentation=man:snap(1)\n";
        // Only the main process gets SIGTERM; it forwards it to its jobs, once.
        let common =
            "SuccessExitStatus=26 75\nKillMode=mixed\nTimeoutStopSec=5min\nNice=10\nIOSchedulingClass=idle\n";
        let network =
            if self.system { "Wants=network-online.target\nAfter=network-online.target\n" } else { "" };
        if self.daemon {
            let call = self.command_line(&["daemon"], unit_word)?;
            let service = format!(
                "{unit}{network}\n[Service]\nType=notify\nExecStart={call}\nExecReload=/bin/kill -HUP $MAINPID\n\
                 Restart=on-failure\nRestartSec=1min\n{common}\n[Install]\nWantedBy={target}\n"
            );
            return Ok(vec![(format!("{name}.service"), service)]);
        }
        let call = self.command_line(&["schedule", "run"], unit_word)?;
        let service = format!("{unit}{network}\n[Service]\nType=oneshot\nExecStart={call}\n{common}");
        let timer = "[Unit]\nDescription=Starts the backups by snap that are due, every five minutes\n\n\
             [Timer]\nOnCalendar=*:0/5\nPersistent=true\nAccuracySec=1s\n\n[Install]\nWantedBy=timers.target\n";
        Ok(vec![(format!("{name}.service"), service), (format!("{name}.timer"), timer.to_owned())])
    }

    /// Returns the unit that systemd must start.
    fn enabled_unit(&self) -> String {
        format!("{}.{}", self.name(), if self.daemon { "service" } else { "timer" })
    }

    fn systemctl(&self, args: &[&str]) -> Vec<String> {
        let mut words = vec!["systemctl".to_owned()];
        if !self.system {
            words.push("--user".to_owned());
        }
        words.extend(args.iter().map(|word| (*word).to_owned()));
        words
    }

    fn cron_line(&self) -> Result<String> {
        let mark = match &self.profile {
            Some(profile) => format!("{MARK} -P {profile}"),
            None => MARK.to_owned(),
        };
        Ok(format!("*/5 * * * * {} {mark}", self.command_line(&["--quiet", "schedule", "run"], cron_word)?))
    }

    /// Writes and starts the schedule; with `dry_run` only prints what would be done.
    ///
    /// # Errors
    /// A file cannot be written or a command fails.
    pub(crate) fn install(&self, dry_run: bool) -> Result<()> {
        if self.runner == Runner::Cron {
            let line = self.cron_line()?;
            return change_crontab(dry_run, &line, Some(&line));
        }
        let folder = self.folder()?;
        if self.runner == Runner::Launchd && folder.join(self.plist_name()).exists() {
            // launchd refuses to load a job again. This fails if the job is not loaded.
            let _ = run(&owned(&["launchctl", "bootout", &self.domain().1]), dry_run);
        }
        for (name, text) in self.files()? {
            let file = folder.join(name);
            if dry_run {
                output::print(&format!("# {}\n{text}", file.display()))?;
                continue;
            }
            fs::create_dir_all(&folder).map_err(Error::io("create the directory", &folder))?;
            fs::write(&file, text).map_err(Error::io("write", &file))?;
            output::print(&format!("wrote {}", file.display()))?;
        }
        for command in self.start_commands(&folder) {
            run(&command, dry_run)?;
        }
        match self.runner {
            _ if self.system || dry_run => Ok(()),
            Runner::Launchd => output::print("it runs only while you are logged in"),
            _ => output::print(
                "it runs only while you are logged in; `loginctl enable-linger` makes it run always",
            ),
        }
    }

    /// Stops and removes the schedule.
    ///
    /// # Errors
    /// It cannot be removed.
    pub(crate) fn remove(&self, dry_run: bool) -> Result<()> {
        if self.runner == Runner::Cron {
            return change_crontab(dry_run, &self.cron_line()?, None);
        }
        let (folder, name) = (self.folder()?, self.name());
        let ends: &[&str] = if self.runner == Runner::Launchd { &["plist"] } else { &["service", "timer"] };
        let files: Vec<PathBuf> = ends.iter().map(|end| folder.join(format!("{name}.{end}"))).collect();
        let there: Vec<&PathBuf> = files.iter().filter(|file| file.exists()).collect();
        if there.is_empty() {
            return output::print("it is not installed: nothing was changed");
        }
        if self.runner == Runner::Launchd {
            run(&owned(&["launchctl", "bootout", &self.domain().1]), dry_run)?;
        } else {
            let units: Vec<&str> = there.iter().filter_map(|file| file.file_name()?.to_str()).collect();
            run(&self.systemctl(&[&["disable", "--now"], &units[..]].concat()), dry_run)?;
        }
        for file in there {
            if dry_run {
                output::print(&format!("# remove {}", file.display()))?;
            } else {
                fs::remove_file(file).map_err(Error::io("remove", file))?;
                output::print(&format!("removed {}", file.display()))?;
            }
        }
        if self.runner == Runner::Systemd {
            run(&self.systemctl(&["daemon-reload"]), dry_run)?;
        }
        Ok(())
    }
}

/// Replaces the crontab line with the same mark by `put`, or removes it.
fn change_crontab(dry_run: bool, line: &str, put: Option<&str>) -> Result<()> {
    let mark = line.find(MARK).and_then(|at| line.get(at..)).unwrap_or(MARK);
    if dry_run {
        return output::print(
            put.unwrap_or(&format!("# remove the line that ends with {mark} from the crontab")),
        );
    }
    let listed = programs::foreign("crontab").arg("-l").stdin(Stdio::null()).output();
    let listed = listed.map_err(Error::io("run", "crontab"))?;
    // `crontab -l` also fails if the user has no crontab, and gives the reason only on standard error.
    let old = if listed.status.success() { listed.stdout } else { Vec::new() };
    let old = String::from_utf8(old).map_err(|_| {
        Error::Usage("the crontab is not UTF-8: edit it manually, `-n` prints the line".to_owned())
    })?;
    let mut new: String =
        old.lines().filter(|line| !line.ends_with(mark)).map(|line| format!("{line}\n")).collect();
    new.extend(put.map(|line| format!("{line}\n")));
    if new == old {
        let state = if put.is_some() { "has this line already" } else { "has no such line" };
        return output::print(&format!("the crontab {state}: nothing was changed"));
    }
    let child = programs::foreign("crontab").arg("-").stdin(Stdio::piped()).spawn();
    let mut child = child.map_err(Error::io("run", "crontab"))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(new.as_bytes()).map_err(Error::io("write to", "crontab"))?;
    }
    let status = child.wait().map_err(Error::io("run", "crontab"))?;
    if !status.success() {
        return Err(Error::io("run", "crontab")(std::io::Error::other(status.to_string())));
    }
    output::print(
        &put.map_or_else(
            || "removed it from the crontab".to_owned(),
            |line| format!("in the crontab: {line}"),
        ),
    )
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn run(words: &[String], dry_run: bool) -> Result<()> {
    let text = words.join(" ");
    if dry_run {
        return output::print(&format!("# {text}"));
    }
    let Some((program, args)) = words.split_first() else { return Ok(()) };
    let status = programs::foreign(program)
        .args(args)
        .stdin(Stdio::null())
        .status()
        .map_err(Error::io("run", &text))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::io("run", &text)(std::io::Error::other(status.to_string())))
    }
}

/// Returns whether neither systemd nor a shell needs quotes for this word.
fn is_plain(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.,:+=@".contains(c))
}

/// Quotes a word of a unit's command line, and escapes what systemd would expand.
fn unit_word(word: &str) -> String {
    if is_plain(word) {
        return word.to_owned();
    }
    let doubled = word.replace('%', "%%").replace('$', "$$");
    format!("\"{}\"", doubled.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// Quotes a word for the shell in a crontab line, where % means a newline.
fn cron_word(word: &str) -> String {
    if is_plain(word) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''")).replace('%', "\\%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation() -> Installation {
        Installation {
            program: "/usr/bin/snap".into(),
            config: Some("/etc/my snap/100%.toml".into()),
            profile: None,
            state: None,
            daemon: false,
            system: true,
            runner: Runner::Systemd,
        }
    }

    #[test]
    fn quoted_words_stay_one_word_each() {
        let units = installation().units().unwrap();
        assert!(
            units[0]
                .1
                .contains("ExecStart=/usr/bin/snap --config \"/etc/my snap/100%%.toml\" schedule run\n")
        );
        let line = installation().cron_line().unwrap();
        assert_eq!(
            line,
            "*/5 * * * * /usr/bin/snap --config '/etc/my snap/100\\%.toml' --quiet schedule run # snap schedule"
        );
    }
}
