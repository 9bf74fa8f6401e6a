//! Locations on SFTP servers: `sftp://user@host:port/path`, or `sftp:user@host:path` as in restic.

use std::fmt;

/// A location that ssh can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SftpUrl {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    /// Absolute path, or relative to the user's home directory if it begins with `/~/`.
    path: String,
}

impl SftpUrl {
    /// Returns whether a text is meant as such a location, valid or not.
    pub fn is_meant(text: &[u8]) -> bool {
        text.starts_with(b"sftp:")
    }

    /// Parses `sftp://[user@]host[:port]/path` and `sftp:[user@]host:path`.
    /// In the latter a relative path is below the home directory. A host may be an alias in ssh's
    /// configuration.
    ///
    /// # Errors
    /// The reason why it is invalid, for the user.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("sftp:").ok_or("it does not begin with sftp:")?;
        let Some(rest) = rest.strip_prefix("//") else {
            let (authority, path) = rest.split_once(':').ok_or("the path is missing: sftp://host/path")?;
            let home = if path.starts_with('/') || path.is_empty() { "" } else { "/~/" };
            return Self::parse(&format!("sftp://{authority}{home}{path}"));
        };
        let (authority, path) = rest.split_once('/').ok_or("the path is missing: sftp://host/path")?;
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let (host, port) = match host.strip_prefix('[') {
            // An IPv6 address.
            Some(rest) => {
                let (host, behind) = rest.split_once(']').ok_or("its [ has no ]")?;
                (host, behind.strip_prefix(':'))
            }
            None => match host.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (host, None),
            },
        };
        let port =
            port.map(|port| port.parse().map_err(|_| format!("'{port}' is not a port"))).transpose()?;
        // ssh would take these for options.
        if host.is_empty()
            || host.starts_with('-')
            || user.is_some_and(|user| user.is_empty() || user.starts_with('-'))
        {
            return Err("the host, or the user before the @, is missing".into());
        }
        if user.is_some_and(|user| user.contains(':')) {
            return Err("it cannot contain a password: ssh asks for it, or uses a key".into());
        }
        let path = path.trim_end_matches('/');
        if path.is_empty() || path == "~" {
            return Err(
                "the path must name a directory below / or the home directory: sftp://host/path".into()
            );
        }
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port, path: format!("/{path}") })
    }

    /// Returns the directory as sent to the server: a relative path is below the home directory.
    pub(super) fn directory(&self) -> &str {
        self.path.strip_prefix("/~/").unwrap_or(&self.path)
    }

    /// Returns ssh's arguments for reaching the server.
    pub(super) fn arguments(&self) -> Vec<String> {
        // Detects a silently dead connection after two minutes.
        let mut arguments = ["-oServerAliveInterval=30", "-oServerAliveCountMax=4", "-oConnectTimeout=60"]
            .map(str::to_owned)
            .to_vec();
        if let Some(port) = self.port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        if let Some(user) = &self.user {
            arguments.extend(["-l".to_owned(), user.clone()]);
        }
        arguments.extend(["-s", "--", &self.host, "sftp"].map(str::to_owned));
        arguments
    }
}

impl fmt::Display for SftpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sftp://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(&self.path)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn urls_roundtrip() {
        for (text, directory, arguments) in [
            ("sftp://host/srv/repo", "/srv/repo", "-s -- host sftp"),
            ("sftp://me@host:2222/~/repo", "repo", "-p 2222 -l me -s -- host sftp"),
            ("sftp://[::1]:22/x", "/x", "-p 22 -s -- ::1 sftp"),
        ] {
            let place = SftpUrl::parse(text).unwrap();
            assert_eq!((place.to_string().as_str(), place.directory()), (text, directory));
            assert!(place.arguments().join(" ").ends_with(arguments), "{:?}", place.arguments());
        }
        for (text, url) in [
            ("sftp://h/a/", "sftp://h/a"),
            ("sftp:me@h:/srv/repo", "sftp://me@h/srv/repo"),
            ("sftp:h:repo", "sftp://h/~/repo"),
        ] {
            assert_eq!(SftpUrl::parse(text).unwrap().to_string(), url);
        }
    }

    #[test]
    fn invalid_urls_are_refused() {
        for text in [
            "http://h/a",
            "sftp://h",
            "sftp://h/",
            "sftp:///a",
            "sftp://-oProxyCommand=x/a",
            "sftp://-l@h/a",
            "sftp://@h/a",
            "sftp://h:port/a",
            "sftp://h:70000/a",
            "sftp://me:secret@h/a",
            "sftp://[::1/a",
            "sftp://h/~",
            "sftp:h",
            "sftp:h:",
        ] {
            assert!(SftpUrl::parse(text).is_err(), "{text}");
        }
    }
}
