//! What every garbage collection needs to know first: who else is at work, and what keeps chunks alive.

pub mod peers;
pub mod roots;
