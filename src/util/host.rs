//! This machine and its user, as records name them.

use std::net::IpAddr;

pub use crate::sys::host::{boot_id, name as host_name};
use crate::sys::users;

/// Returns the name of the user that runs this process.
pub fn user_name() -> String {
    let uid = users::this_user();
    users::user_name(uid).unwrap_or_else(|| uid.to_string())
}

/// Returns whether a server on this machine may answer a request for this host (the `Host` header without its
/// port): an address, `localhost`, or one of `names`. Otherwise a web page whose own name resolves to this
/// machine could read the answers (DNS rebinding).
pub fn is_own_name(host: &str, names: &[String]) -> bool {
    let host = host.to_ascii_lowercase();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
    host == "localhost"
        || bare.parse::<IpAddr>().is_ok()
        || names.iter().any(|name| name.eq_ignore_ascii_case(&host))
}
