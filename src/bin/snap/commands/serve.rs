//! `snap serve`: serves snapshots to browsers and WebDAV clients.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use snap_backup::{Error, Result};
use zeroize::Zeroizing;

use super::{serve_run, status};
use crate::context::Context;
use crate::exit::Outcome;
use crate::password::NewPassword;
use crate::process::heaps;
use crate::serve::{Allow, Server, Settings, is_strong};
use crate::terminal::output;
use crate::terminal::progress::stop_on_signals;
use crate::{password, serve};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "The printed address signs one browser in, once, for up to 12 hours. WebDAV is at /dav/, with any user \
    and the token as password. SIGINT and SIGTERM stop the server in an orderly way."
)]
pub(crate) struct Serve {
    /// Listen on this port; 0: any free port
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) port: u16,
    /// Listen on this address; connections are not encrypted
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub(crate) listen: IpAddr,
    /// Read the token from this file instead of generating one: at least 20 letters, digits, -, _, . or ~
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Also accept requests for this host name, not only for IP addresses and localhost; can be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<String>,
    /// Also allow signed-in browsers to `restore` to a new directory in the working directory (`restore=DIR`:
    /// in DIR), or to `run` a set's backup, check or drill; can be repeated
    #[arg(long, value_name = "WHAT", value_parser = allowed)]
    pub(crate) allow: Vec<Allowed>,
    #[command(subcommand)]
    pub(crate) verb: Option<ServeVerb>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServeVerb {
    /// Set a password that the login form accepts as well as the token
    #[command(
        after_help = "The hash (Argon2id) is in the file serve-password of the state directory. The password is asked for \
        twice, or taken from SNAP_NEW_PASSWORD. WebDAV and scripts need the token."
    )]
    Passwd {
        /// Read the password from this file (at least 12 characters) instead of asking for it
        #[arg(long, value_name = "FILE")]
        new_password_file: Option<PathBuf>,
        /// Remove the password, so that only tokens are accepted
        #[arg(long, conflicts_with = "new_password_file")]
        remove: bool,
    },
}

/// What browsers may do in addition to reading.
#[derive(Debug, Clone)]
pub(crate) enum Allowed {
    /// Restore to new directories in this one; `None` is the working directory.
    Restore(Option<PathBuf>),
    /// Run a set's backup, check or drill.
    Run,
}

fn allowed(text: &str) -> std::result::Result<Allowed, String> {
    match text.split_once('=') {
        None if text == "restore" => Ok(Allowed::Restore(None)),
        Some(("restore", dir)) if !dir.is_empty() => Ok(Allowed::Restore(Some(dir.into()))),
        None if text == "run" => Ok(Allowed::Run),
        _ => Err("what can be allowed is restore, restore=DIR and run".to_owned()),
    }
}

/// Returns the permissions.
///
/// # Errors
/// The directory for restores is not a directory, or must not be written to.
fn allow(context: &Context, given: &[Allowed]) -> Result<Allow> {
    let mut allow = Allow { protected: context.protected(), ..Allow::default() };
    for one in given {
        match one {
            Allowed::Run => allow.run = Some(serve_run::starter(&context.given)),
            Allowed::Restore(dir) => {
                let dir = dir.clone().unwrap_or_else(|| ".".into());
                let dir = std::fs::canonicalize(&dir)
                    .map_err(Error::io("find the directory for restores", &dir))?;
                if !dir.is_dir() {
                    return Err(Error::Usage(format!("{} is not a directory", dir.display())));
                }
                context.may_write(&dir.join("restored"))?;
                allow.restore = Some(dir);
            }
        }
    }
    Ok(allow)
}

/// Sets or removes the password for the login form.
fn passwd(context: &Context, new_password_file: Option<PathBuf>, remove: bool) -> Result<Outcome> {
    let no_place =
        || Error::Usage("no state directory for the password: set HOME, or give --state-dir".to_owned());
    let file = context.global.state().ok_or_else(no_place)?.join(serve::password::NAME);
    let action = if remove {
        if serve::password::remove(&file)? { "removed" } else { "none" }
    } else {
        let new = NewPassword { new_password_file, new_key_file: None };
        serve::password::set(&file, &password::new_text(&new, context.global.json)?)?;
        "set"
    };
    if context.global.json {
        let line =
            json!({"message_type": "serve_password", "action": action, "file": file.display().to_string()});
        output::print(&line.to_string())?;
    } else if context.prints_success() {
        output::print(match action {
            "set" => {
                "the password was set: the login form of `snap serve` accepts it from now on, also in \
                 servers that are running"
            }
            "removed" => "the password was removed: the login form accepts only tokens",
            _ => "no password is set",
        })?;
    }
    Ok(Outcome::Done)
}

pub(crate) fn run(context: &Context, args: &Serve) -> Result<Outcome> {
    if let Some(ServeVerb::Passwd { new_password_file, remove }) = &args.verb {
        return passwd(context, new_password_file.clone(), *remove);
    }
    heaps::share_heaps();
    let password = context.global.state().map(|dir| dir.join(serve::password::NAME));
    password.as_deref().map(serve::password::expect_sound).transpose()?;
    let token = args.token_file.as_deref().map(|path| token(context, path)).transpose()?;
    let is_given = token.is_some();
    let allow = allow(context, &args.allow)?;
    context.with(|repo| {
        let stop = stop_on_signals()?;
        let global = context.given.clone();
        let settings = Settings {
            address: SocketAddr::new(args.listen, args.port),
            token,
            password: password.clone(),
            names: args.allow_host.clone(),
            json: context.global.json,
            allow,
            status: Box::new(move |repo, snapshots| status::overview(&global, repo, snapshots)),
        };
        let server = Server::bind(repo, settings)?;
        if !args.listen.is_loopback() {
            let text = "other machines can connect, and connections are not encrypted: anybody who sees the \
                        traffic sees the token";
            output::warn(context.global.json, text);
        }
        announce(context, &server, is_given)?;
        server.run(&stop)?;
        Ok(Outcome::Done)
    })
}

/// Prints the address. A token from a file is not printed: it stays valid, and output may be logged. A
/// generated token is printed to standard error, separately from the address, which browsers keep in their
/// history.
fn announce(context: &Context, server: &Server, is_given: bool) -> Result<()> {
    let mut address = server.address();
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let base = format!("http://{address}/");
    let url = server.once().map_or_else(|| base.clone(), |once| format!("{base}?token={once}"));
    let token = (!is_given).then(|| server.token());
    if context.global.json {
        let webdav = format!("{base}dav/");
        let line = json!({"message_type": "serving", "url": url, "webdav": webdav, "token": token});
        return output::print(&line.to_string());
    }
    output::print(&url)?;
    if context.prints_success() {
        output::eprint(match token {
            Some(_) => "snap: this address signs in one browser, once; stop with Ctrl-C",
            None => "snap: a browser asks for the token of the file; stop with Ctrl-C",
        });
    }
    if let Some(token) = token.filter(|_| context.prints_success()) {
        output::eprint(&format!("snap: for WebDAV ({base}dav/) and further browsers, the token is {token}"));
    }
    Ok(())
}

fn token(context: &Context, path: &Path) -> Result<Zeroizing<String>> {
    if let Some(warning) = password::warning_if_readable(path) {
        output::warn(context.global.json, &warning.replacen("password", "token", 1));
    }
    let text = std::fs::read_to_string(path).map_err(Error::io("read the token file", path))?;
    let text = Zeroizing::new(text);
    let token = text.trim();
    if is_strong(token) {
        Ok(Zeroizing::new(token.to_owned()))
    } else {
        Err(Error::Usage(format!(
            "the token in {} is not valid: it needs at least 20 characters, all of them letters, digits, -, \
             _, . or ~, such as `openssl rand -hex 32` prints",
            path.display()
        )))
    }
}
