//! `snap serve`: a page to look at snapshots with, and WebDAV. All that is asynchronous is here; what is asked of the
//! repository are the operations that the other verbs call, on threads that may wait.
//!
//! A request comes through `net`, is let in by `door` and `access`, taken apart by `asked`, and answered by `site`: by a page
//! (`pages`), an archive (`reply`) or WebDAV (`dav`), all of which read what a visit has open (`session_pool`).

mod admission;
mod auth;
mod browsers;
mod pages;
mod request;
mod response;
mod router;
mod server;
mod sessions;
mod webdav;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use snap_backup::repo::repository::Repository;
use snap_backup::{Error, Result};
use tokio::runtime::Builder;
use zeroize::Zeroizing;

pub(crate) use auth::is_strong;
use auth::{Access, Secret};
use router::AppState;

/// Threads that wait for the repository: requests beyond wait for one.
const THREADS: usize = 8;
/// How long those that still read are waited for at the end.
const GRACE: Duration = Duration::from_secs(10);

/// Says how a repository is, as `snap status` does.
pub(crate) type StatusOf = Box<dyn Fn(&Repository) -> Result<String> + Send + Sync>;

/// What is served, and to whom.
pub(crate) struct Settings {
    /// Where to listen; port 0 means any.
    pub(crate) address: SocketAddr,
    /// What lets in; without one, it is made up.
    pub(crate) token: Option<Zeroizing<String>>,
    /// Names, beside addresses and `localhost`, by which this may be asked for.
    pub(crate) names: Vec<String>,
    /// Warnings are JSON.
    pub(crate) json: bool,
    pub(crate) status: StatusOf,
}

/// Listens.
pub(crate) struct Server {
    listener: TcpListener,
    site: Arc<AppState>,
    address: SocketAddr,
    token: Zeroizing<String>,
    /// What one browser is let in by; `None` where the token is one that was given.
    once: Option<Zeroizing<String>>,
}

impl Server {
    /// Begins to listen; nobody is answered before `run`.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub(crate) fn bind(repo: &Repository, settings: Settings) -> Result<Self> {
        let failed = |err| Error::io("listen on", settings.address.to_string())(err);
        let listener = TcpListener::bind(settings.address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (token, once) = match settings.token {
            Some(token) => (token, None),
            None => (auth::made_up()?, Some(auth::made_up()?)),
        };
        let access = Access::new(Secret::new(token.clone()), once.clone().map(Secret::new), settings.names)?;
        let site = Arc::new(AppState::new(repo, access, settings.status, settings.json));
        Ok(Self { listener, site, address, token, once })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What lets WebDAV clients and scripts in.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// What lets one browser in, once.
    pub(crate) fn once(&self) -> Option<&str> {
        self.once.as_ref().map(|once| once.as_str())
    }

    /// Answers until told to stop; then what is being answered is cut off, and all sessions end.
    ///
    /// # Errors
    /// When the threads that it takes cannot be had.
    pub(crate) fn run(self, stop: &AtomicBool) -> Result<()> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(THREADS)
            .build()
            .map_err(Error::io("start", "the server"))?;
        let served = runtime.block_on(server::serve(self.listener, &self.site, stop));
        // What reads for somebody notices that nobody waits for it any more.
        runtime.shutdown_timeout(GRACE);
        self.site.close();
        served.map_err(Error::io("listen on", self.address.to_string()))
    }
}
