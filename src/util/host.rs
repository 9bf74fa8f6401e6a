//! This machine and its user, as records name them.

use std::net::IpAddr;

use crate::sys::{host, users};

/// Returns this machine's host name.
pub fn host_name() -> String {
    host::name()
}

/// Returns the kernel's id of this boot; empty if the system has none.
pub fn boot_id() -> String {
    host::boot_id()
}

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
