//! Repository locations in the syntax of other backup programs. They are rejected instead of being taken
//! for a directory: a backup meant for another machine must not end up below the working directory.

use crate::terminal::output;

/// Returns the `--repo` syntax for what `text` probably means. Returns `None` if it can only be a directory:
/// it has no colon before its first slash, and nothing that a shell should have expanded.
pub(crate) fn refusal(text: &str) -> Option<String> {
    let advice = match unexpanded(text) {
        Some(advice) => advice,
        None => {
            let (word, rest) = word_and_rest(text).filter(|(word, _)| !word.contains('/'))?;
            let advice = rest.strip_prefix("//").map_or_else(|| prefixed(word, rest), |rest| url(word, rest));
            let supported = "directories, file://, sftp://, s3://, gs://, az:// and rest: are supported";
            advice.unwrap_or_else(|| supported.to_owned())
        }
    };
    Some(format!("{advice} (for a directory of that name, write ./{text})"))
}

/// Splits at the first colon that is not part of an IPv6 address in brackets.
fn word_and_rest(text: &str) -> Option<(&str, &str)> {
    match text.split_once("]:") {
        Some((host, rest)) if host.contains('[') => Some((text.get(..=host.len())?, rest)),
        _ => text.split_once(':'),
    }
}

/// Returns advice about `~` and variables that no shell has expanded, and about Windows paths.
fn unexpanded(text: &str) -> Option<String> {
    let first = text.split('/').next().unwrap_or_default();
    if let Some(user) = first.strip_prefix('~') {
        let instead = if user.is_empty() { "$HOME" } else { "/home/" };
        let rest = text.trim_start_matches('~');
        return Some(format!("the shell expands ~ only if it is not quoted: write \"{instead}{rest}\""));
    }
    if first.starts_with('$') {
        let why = "the shell expands variables only outside of single quotes: write the directory";
        return Some(why.to_owned());
    }
    if text.starts_with("\\\\") || is_drive(text) {
        return Some("it is a Windows path: mount it and give the directory".to_owned());
    }
    text.trim().is_empty().then(|| "it is blank".to_owned())
}

/// Returns whether it begins with a drive of Windows: `C:\` or `c:/`.
fn is_drive(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic())
        && chars.next() == Some(':')
        && matches!(chars.next(), Some('\\' | '/'))
        && !text.get(2..).is_some_and(|rest| rest.starts_with("//"))
}

/// Handles `WORD://REST`.
fn url(word: &str, rest: &str) -> Option<String> {
    Some(match word.to_ascii_lowercase().as_str() {
        "ssh" | "scp" => format!("write sftp://{rest}"),
        "http" | "https" => format!("for a REST server, write rest:{word}://{rest}"),
        "gcs" => format!("write gs://{rest}"),
        "azure" | "abfs" | "abfss" | "wasb" | "wasbs" => format!("write az://CONTAINER/PATH, not {word}://"),
        "b2" => backblaze(rest),
        "rclone" => rclone(rest),
        "file" | "local" => format!("write file://{rest}"),
        "sftp" | "s3" | "gs" | "az" => {
            format!("write {}://{rest}, in lower case", word.to_ascii_lowercase())
        }
        _ => return file_server(word),
    })
}

/// Handles `WORD:REST`, the syntax of restic, rclone and scp.
fn prefixed(word: &str, rest: &str) -> Option<String> {
    // `bucket:/path`, restic's syntax for most services.
    let bucket = || match rest.split_once(':') {
        Some((bucket, path)) => format!("{bucket}/{}", path.trim_start_matches('/')),
        None => rest.trim_start_matches('/').to_owned(),
    };
    Some(match word.to_ascii_lowercase().as_str() {
        "s3" => s3(rest),
        "gs" => format!("write gs://{}", bucket()),
        "az" | "azure" => format!("write az://{}", bucket()),
        "b2" => backblaze(&bucket()),
        "swift" => {
            "OpenStack Swift is not supported: use its S3 interface with s3:https://HOST/BUCKET/PATH, or \
             `rclone serve restic` with rest:"
                .to_owned()
        }
        "rclone" => rclone(rest),
        "file" | "local" => format!("write the directory itself, {rest}, or file://{}", absolute(rest)),
        "http" | "https" => {
            format!("for a REST server, write rest:{word}://{}", rest.trim_start_matches('/'))
        }
        "sftp" => match rest.strip_prefix("//").unwrap_or(rest).split_once(':') {
            Some((host, path)) if path.starts_with('/') => {
                format!("write sftp://{host}{path}, in lower case")
            }
            Some((host, path)) => format!("write sftp://{host}/~/{path}, in lower case"),
            None => "write sftp://HOST/PATH, in lower case".to_owned(),
        },
        "rest" => format!("write rest:{rest}, in lower case"),
        "" => return None,
        _ if file_server(word).is_some() => return file_server(word),
        _ if rest.is_empty() => return None,
        // `user@host:path`, the syntax of scp, rsync and borg.
        _ if rest.starts_with('/') => format!("for a directory over SSH, write sftp://{word}{rest}"),
        _ => format!("for a directory over SSH, write sftp://{word}/~/{rest}"),
    })
}

/// Handles restic's `s3:HOST/BUCKET[/PATH]`, which lacks the protocol.
fn s3(rest: &str) -> String {
    let (scheme, rest) = rest.split_once("://").unwrap_or(("https", rest));
    match rest.split_once('/') {
        Some(("s3.amazonaws.com", path)) => format!("write s3://{path}"),
        Some((host, path)) if host.contains(['.', ':']) => {
            format!("write s3:{scheme}://{host}/{path}")
        }
        _ => format!("write s3://{}", rest.trim_start_matches('/')),
    }
}

fn backblaze(bucket: &str) -> String {
    format!("use the S3 interface of Backblaze B2: write s3:https://s3.REGION.backblazeb2.com/{bucket}")
}

fn rclone(remote: &str) -> String {
    format!("run `rclone serve restic {remote}` and write rest:http://localhost:8080/")
}

/// Handles protocols for which the operating system has clients.
fn file_server(word: &str) -> Option<String> {
    let word = word.to_ascii_lowercase();
    let known =
        ["smb", "cifs", "nfs", "ftp", "ftps", "dav", "davs", "webdav", "webdavs", "rsync", "hdfs", "gdrive"];
    known.contains(&word.as_str()).then(|| {
        format!(
            "{word}: is not supported: mount it and give the directory, or use `rclone serve restic` with \
             rest:"
        )
    })
}

fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { "/ABSOLUTE/PATH".to_owned() }
}

/// Returns the whole error message; passwords in a URL are hidden.
pub(crate) fn message(text: &str) -> Option<String> {
    let text = output::redacted(text);
    let advice = refusal(&text)?;
    Some(output::printable(&format!("{text} is not a repository location: {advice}")))
}

#[cfg(test)]
mod tests {
    use super::{message, refusal};

    #[test]
    fn urls_of_other_programs_are_answered_with_snaps_spelling() {
        for (text, part) in [
            ("me@nas:/backup", "sftp://me@nas/backup"),
            ("nas:repo", "sftp://nas/~/repo"),
            ("ssh://me@nas:2222/srv/r", "sftp://me@nas:2222/srv/r"),
            ("rclone:remote:path", "rclone serve restic remote:path"),
            ("b2:bucket:x", "s3:https://s3.REGION.backblazeb2.com/bucket/x"),
            ("azure:c:/p", "az://c/p"),
            ("gs:bucket:/x", "gs://bucket/x"),
            ("swift:c:/p", "not supported"),
            ("s3:s3.amazonaws.com/bucket/x", "s3://bucket/x"),
            ("s3:minio:9000/bucket", "s3:https://minio:9000/bucket"),
            ("s3:bucket/x", "s3://bucket/x"),
            ("S3://bucket/x", "s3://bucket/x"),
            ("file:/srv/r", "itself, /srv/r"),
            ("local:r", "itself, r"),
            ("https://host/x/", "rest:https://host/x/"),
            ("smb://nas/share", "mount it"),
            ("gdrive:x", "rclone"),
            ("foo://bar", "are supported"),
            ("[::1]:repo", "sftp://[::1]/~/repo"),
            ("me@[fe80::1]:/srv/r", "sftp://me@[fe80::1]/srv/r"),
            ("SFTP:me@nas:/r", "sftp://me@nas/r"),
            ("Sftp:nas:r", "sftp://nas/~/r"),
            ("REST:http://h/x", "rest:http://h/x"),
            ("C:", "are supported"),
            ("C:\\backup", "Windows path"),
            ("c:/backup", "Windows path"),
            ("\\\\server\\share", "Windows path"),
            ("~/repo", "write \"$HOME/repo\""),
            ("~", "write \"$HOME\""),
            ("~me/repo", "write \"/home/me/repo\""),
            ("$HOME/repo", "variables"),
            ("${BACKUP}", "variables"),
            (" ", "blank"),
            (":x", "are supported"),
        ] {
            let told = refusal(text).unwrap();
            assert!(told.contains(part) && told.contains(&format!("./{text}")), "{text}: {told}");
        }
    }

    #[test]
    fn a_path_may_hold_colons_after_a_slash() {
        for text in
            ["r", "./nas:repo", "/mnt/a:b", "a/b:c", "../x:y", "./~/r", "a~", "r$", "a/$b", "r/~", " r"]
        {
            assert_eq!(refusal(text), None, "{text}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_shown() {
        let told = message("https://me:hunter2@host/x").unwrap();
        assert!(!told.contains("hunter2"), "{told}");
    }
}
