//! The state that a garbage collection depends on: other sessions, and the roots that keep chunks alive.

pub mod lost_roots;
pub mod peers;
pub mod roots;
