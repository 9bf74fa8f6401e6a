//! Reports the state to the service manager, if there is one.

use std::env;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;

use snap_backup::sys::io::notify_address;

/// Sends a state such as `READY=1`. Does nothing without a service manager, and ignores errors.
pub(crate) fn notify(state: &str) {
    let Some(place) = env::var_os("NOTIFY_SOCKET").filter(|place| !place.is_empty()) else { return };
    let address = notify_address(place.as_bytes());
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        let _ = socket.send_to_addr(state.as_bytes(), &address);
    }
}
