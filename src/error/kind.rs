//! Kinds of errors, by which callers decide what to do.

use std::io;

use crate::error::{Error, UNTRUSTED};

/// The kind of an [`Error`], by which callers decide what to do. Messages may change between versions, and
/// variants of [`Error`] may be added; a kind keeps its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A system call, a device or a server failed. A retry may succeed later.
    Io,
    /// The system or a server denied access. Other permissions or credentials are required.
    Forbidden,
    /// The reader of the output has closed it. In a pipe this is not a failure.
    OutputClosed,
    /// The disk is full, or the repository has reached its quota. No committed data is lost: free some space,
    /// and run the operation again.
    NoSpace,
    /// The system grants this process no more memory or threads. Raise the limits.
    NoResources,
    /// There is no repository at the location. Create one, or use another location.
    NoRepository,
    /// A repository cannot be created, because one exists already.
    AlreadyExists,
    /// The password opens no key slot. Ask for another.
    WrongPassword,
    /// The repository is encrypted, and there is no password. Ask for one.
    NoPassword,
    /// No snapshot, path or key matches the name, or several do. Nothing was done.
    NotFound,
    /// Stored bytes are wrong or missing. A check shows what is affected; a repair saves the rest.
    Damaged,
    /// A newer version wrote the object. It is neither damaged nor missing: use a newer version.
    Newer,
    /// The repository differs from what this machine last saw at the location: it is in an older state, or
    /// another repository. Ask the user before trusting it.
    Diverged,
    /// The request is not allowed in the current state, or data must not be trusted. Nothing was done.
    Refused,
    /// Retention protects the snapshots, or there is no usable retention rule. Nothing was forgotten.
    Protected,
    /// Options are invalid, or contradict each other. Nothing was done; the caller has to change them.
    Usage,
    /// Data from outside, such as an archive, cannot be parsed or is incomplete. Nothing of it was saved.
    BadInput,
    /// The operation was cancelled.
    Interrupted,
    /// The time limit of the operation was reached before anything could be kept.
    TimeUp,
    /// Another thread of the operation failed first. Operations return the error of that thread instead.
    Stopped,
    /// An invariant of this library was violated, so the operation was stopped. Please report it.
    Bug,
}

impl Error {
    /// Returns the kind of the error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { source, .. } => kind_of(source),
            Self::Missing { .. } | Self::Damaged { .. } => ErrorKind::Damaged,
            Self::NoRepository { .. } | Self::NoOtherRepository { .. } => ErrorKind::NoRepository,
            Self::RepositoryExists { .. } => ErrorKind::AlreadyExists,
            Self::WrongPassword { .. } | Self::KeyRemoved { .. } => ErrorKind::WrongPassword,
            Self::NoPassword { .. } | Self::PasswordSource { .. } => ErrorKind::NoPassword,
            Self::Archive { .. } | Self::NothingRead(_) => ErrorKind::BadInput,
            Self::NewerFormat { .. } | Self::NeedsNewer { .. } => ErrorKind::Newer,
            Self::CannotInit { .. } | Self::Refused(_) => ErrorKind::Refused,
            Self::Usage(_) => ErrorKind::Usage,
            Self::NoSnapshot { .. } | Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Retention(_) => ErrorKind::Protected,
            Self::Quota { .. } => ErrorKind::NoSpace,
            Self::Diverged { .. } => ErrorKind::Diverged,
            Self::NoThread { .. } => ErrorKind::NoResources,
            Self::Interrupted => ErrorKind::Interrupted,
            Self::TimeUp => ErrorKind::TimeUp,
            Self::Stopped => ErrorKind::Stopped,
            Self::Bug { .. } => ErrorKind::Bug,
        }
    }

    /// Returns whether the object does not exist. The kind is [`ErrorKind::Damaged`].
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    /// Returns whether permission was denied.
    pub fn is_forbidden(&self) -> bool {
        self.kind() == ErrorKind::Forbidden
    }

    /// Returns whether stored bytes are wrong or missing, as opposed to a failure of this machine.
    pub fn is_damage(&self) -> bool {
        self.kind() == ErrorKind::Damaged
    }

    /// Returns whether a newer version wrote the object: it is neither damaged nor missing, and must not be
    /// repaired, moved or deleted.
    pub fn is_newer(&self) -> bool {
        self.kind() == ErrorKind::Newer
    }

    /// Returns whether the reader of an output has closed it. In a pipe this is not a failure.
    pub fn is_broken_pipe(&self) -> bool {
        self.kind() == ErrorKind::OutputClosed
    }

    /// Returns whether the library violated one of its own invariants.
    pub fn is_bug(&self) -> bool {
        self.kind() == ErrorKind::Bug
    }

    /// Returns whether the disk or quota is full.
    pub fn is_full(&self) -> bool {
        self.kind() == ErrorKind::NoSpace
    }

    /// Returns whether no trusted authority signed the certificate of a server.
    pub fn is_untrusted(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.to_string().contains(UNTRUSTED))
    }

    /// Returns whether this machine had too little memory.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Io { .. }) && self.kind() == ErrorKind::NoResources
    }
}

fn kind_of(source: &io::Error) -> ErrorKind {
    match source.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::Forbidden,
        io::ErrorKind::BrokenPipe => ErrorKind::OutputClosed,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
        io::ErrorKind::OutOfMemory => ErrorKind::NoResources,
        _ => ErrorKind::Io,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_system_has_the_kind_that_its_caller_acts_on() {
        let kind = |kind: io::ErrorKind| Error::io("write", "x")(kind.into()).kind();
        assert_eq!(kind(io::ErrorKind::StorageFull), ErrorKind::NoSpace);
        assert_eq!(kind(io::ErrorKind::QuotaExceeded), ErrorKind::NoSpace);
        assert_eq!(kind(io::ErrorKind::PermissionDenied), ErrorKind::Forbidden);
        assert_eq!(kind(io::ErrorKind::BrokenPipe), ErrorKind::OutputClosed);
        assert_eq!(kind(io::ErrorKind::OutOfMemory), ErrorKind::NoResources);
        // A missing file on this machine is not a missing object of a repository.
        assert_eq!(kind(io::ErrorKind::NotFound), ErrorKind::Io);
    }
}
