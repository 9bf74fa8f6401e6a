//! Interprets failed requests, with messages that tell the user what to do next.

use std::error::Error as _;
use std::io;

use crate::error::Error;
use crate::storage::http::Lost;
use crate::storage::object_store::http_bridge::Refused;
use crate::storage::retry::{Failure, Retrier};

/// The meaning of an error response.
#[derive(Debug)]
pub(super) enum Rejection {
    Missing,
    Taken,
    /// The object ends before the requested range.
    TooShort,
    /// An error that did not come from the server.
    Unclear(String),
    /// Anything else.
    Failed(Failure),
}

/// Error codes of overloaded servers, with whatever status.
const BUSY: [&str; 6] = [
    "SlowDown",
    "RequestTimeout",
    "ServerBusy",
    "OperationTimedOut",
    "ConditionalRequestConflict",
    "OperationAborted",
];
const NO_BUCKET: [&str; 2] = ["NoSuchBucket", "ContainerNotFound"];
const TAKEN: [&str; 3] = ["PreconditionFailed", "BlobAlreadyExists", "ConditionNotMet"];
/// Error codes of expired credentials.
const EXPIRED: [&str; 3] = ["ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"];
/// Error codes of invalid credentials.
const WRONG: [&str; 4] =
    ["InvalidAccessKeyId", "SignatureDoesNotMatch", "AuthenticationFailed", "InvalidToken"];

/// Interprets an error of doing `doing` to `what`.
pub(super) fn interpret(
    retrier: &Retrier,
    doing: &'static str,
    what: &str,
    err: &object_store::Error,
) -> Rejection {
    let mut cause = err.source();
    while let Some(inner) = cause {
        if let Some(refused) = inner.downcast_ref::<Refused>() {
            return of_answer(retrier, doing, what, refused);
        }
        if let Some(Lost(why)) = inner.downcast_ref() {
            return Rejection::Failed(Failure::Transient(why.clone()));
        }
        cause = inner.source();
    }
    match err {
        // Azure deletes in a batch, whose parts have responses of their own.
        object_store::Error::NotFound { .. } => Rejection::Missing,
        other => Rejection::Unclear(other.to_string()),
    }
}

fn of_answer(retrier: &Retrier, doing: &'static str, what: &str, refused: &Refused) -> Rejection {
    let Refused { status, code, message } = refused;
    let failed = |kind, why: String| {
        let source = io::Error::new(kind, why);
        Rejection::Failed(Failure::Permanent(Error::io(doing, retrier.full_path(what))(source)))
    };
    let is = |codes: &[&str]| codes.contains(&code.as_str());
    let said = match (code.is_empty(), message.is_empty()) {
        (true, _) => format!("the server answered {status}"),
        (false, true) => format!("the server answered {status} {code}"),
        (false, false) => format!("the server answered {status} {code}: {message}"),
    };
    if is(&NO_BUCKET) || *status == 404 && message.contains("bucket does not exist") {
        let location = format!("{}: the bucket does not exist", retrier.location);
        return Rejection::Failed(Failure::Permanent(Error::NoRepository { location }));
    }
    if is(&EXPIRED) {
        let why = format!("{said}: the credentials have expired; renew them and run the command again");
        return failed(io::ErrorKind::PermissionDenied, why);
    }
    if is(&WRONG) || *status == 401 {
        let why = format!(
            "{said}: the credentials in the environment were rejected (docs/remote.md lists those that are \
             read)"
        );
        return failed(io::ErrorKind::PermissionDenied, why);
    }
    if is(&BUSY) {
        return Rejection::Failed(Failure::Transient(said));
    }
    match status {
        404 => Rejection::Missing,
        412 => Rejection::Taken,
        409 if is(&TAKEN) => Rejection::Taken,
        416 => Rejection::TooShort,
        403 => failed(io::ErrorKind::PermissionDenied, said),
        501 | 505 => failed(io::ErrorKind::Unsupported, said),
        507 => failed(io::ErrorKind::StorageFull, said),
        408 | 425 | 429 | 500.. => Rejection::Failed(Failure::Transient(said)),
        _ => failed(io::ErrorKind::Other, said),
    }
}
