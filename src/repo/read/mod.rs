//! Reading: the session that every reader holds (rule R1), chunks, and content in a planned order.

pub(crate) mod base_blocks;
mod base_reader;
pub mod chunk_reader;
pub mod read_session;
pub mod sequential;
