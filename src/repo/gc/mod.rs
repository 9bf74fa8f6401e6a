//! What every gc run needs to know first: which other sessions exist, and what keeps chunks alive.

pub mod lost_roots;
pub mod peers;
pub mod roots;
