//! The user's files: selecting, reading and writing them. Knows nothing of repositories.

pub mod ancestors;
pub mod atomic_file;
pub mod filter;
mod metadata;
pub mod ownership;
pub mod path_stack;
pub mod private_dir;
pub mod protected_dirs;
pub mod sources;
pub mod stat;
pub mod target;
pub mod walk;
pub mod xattr;
pub mod xattr_choice;
