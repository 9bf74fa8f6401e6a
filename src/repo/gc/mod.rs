//! The state that every gc run needs first: other sessions, and the roots that keep chunks alive.

pub mod lost_roots;
pub mod peers;
pub mod roots;
