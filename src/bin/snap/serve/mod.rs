//! `snap serve`: pages for browsing snapshots, and WebDAV. Asynchronous code of the program is only here. The
//! repository is accessed through the same operations as in the other verbs, on threads that may block.
//!
//! A request is received by `server`, checked by `admission` and `access`, parsed by `request`, and answered
//! by `router`: with a page (`pages`), an archive (`downloads`) or by WebDAV (`webdav`). Forms are checked
//! and answered by `actions`. All of these read through a session of `sessions`.

mod access;
mod actions;
mod admission;
mod app_state;
mod background;
mod downloads;
pub(crate) mod overview;
mod pages;
mod request;
mod response;
mod router;
mod server;
mod sessions;
mod style;
mod url;
mod webdav;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use snap_backup::repo::repository::Repository;
use snap_backup::{Error, Result};
use tokio::runtime::Builder;
use zeroize::Zeroizing;

pub(crate) use access::is_strong;
pub(crate) use access::password;
use access::{Access, Secret};
pub(crate) use actions::allow::{Allow, RunOf, Wait};
use app_state::AppState;
use overview::StatusOf;

/// Number of threads that access the repository. Further requests wait for a free one.
const THREADS: usize = 8;
/// How long to wait for running requests at shutdown.
const GRACE: Duration = Duration::from_secs(10);

/// Settings of the server.
pub(crate) struct Settings {
    /// Address to listen on; port 0 means any free port.
    pub(crate) address: SocketAddr,
    /// The permanent token; generated if it is `None`.
    pub(crate) token: Option<Zeroizing<String>>,
    /// File that may contain the hash of a password for the login form.
    pub(crate) password: Option<PathBuf>,
    /// Accepted host names, besides IP addresses and `localhost`.
    pub(crate) names: Vec<String>,
    /// Whether to print warnings as JSON.
    pub(crate) json: bool,
    pub(crate) status: StatusOf,
    /// Permissions of browsers beyond reading.
    pub(crate) allow: Allow,
}

/// A listening server.
pub(crate) struct Server {
    listener: TcpListener,
    site: Arc<AppState>,
    address: SocketAddr,
    token: Zeroizing<String>,
    /// The token for one browser; `None` if the user chose the permanent token.
    once: Option<Zeroizing<String>>,
}

impl Server {
    /// Starts to listen. Requests are not answered before `run`.
    ///
    /// # Errors
    /// The address is not available.
    pub(crate) fn bind(repo: &Repository, settings: Settings) -> Result<Self> {
        let failed = |err| Error::io("listen on", settings.address.to_string())(err);
        let listener = TcpListener::bind(settings.address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (token, once) = match settings.token {
            Some(token) => (token, None),
            None => (access::made_up()?, Some(access::made_up()?)),
        };
        let tokens = (Secret::new(token.clone()), once.clone().map(Secret::new));
        let access = Access::new(tokens, settings.password, settings.names)?;
        let site = Arc::new(AppState::new(repo, access, (settings.status, settings.allow), settings.json));
        Ok(Self { listener, site, address, token, once })
    }

    /// Returns the address on which it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the permanent token, for WebDAV clients and scripts.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Returns the token that signs one browser in, once.
    pub(crate) fn once(&self) -> Option<&str> {
        self.once.as_ref().map(|once| once.as_str())
    }

    /// Answers requests until `stop` is set. Then running requests are aborted, and all sessions end.
    ///
    /// # Errors
    /// The runtime or its threads cannot be started.
    pub(crate) fn run(self, stop: &AtomicBool) -> Result<()> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(THREADS)
            .build()
            .map_err(Error::io("start", "the server"))?;
        let served = runtime.block_on(server::serve(self.listener, &self.site, stop));
        self.site.jobs.stop.store(true, Ordering::Relaxed);
        self.site.background.stop.store(true, Ordering::Relaxed);
        // Threads that read for an aborted request notice the abort.
        runtime.shutdown_timeout(GRACE);
        self.site.close();
        served.map_err(Error::io("listen on", self.address.to_string()))
    }
}
