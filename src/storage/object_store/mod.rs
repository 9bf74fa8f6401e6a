//! A repository on an object store, in the same folders as on a disk. Exclusive creation is a conditional
//! PUT, which the server must reject if the name is taken; whether it does is tested with the first object
//! that is written.
//!
//! Each request is made by the thread that needs it, and may be repeated.

mod failure;
mod http_bridge;
mod probe;
mod storage;
pub mod url;

use std::io::Read;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::{fmt, io};

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{GetOptions, MultipartId, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::storage::http::{Http, Parts};
use crate::storage::object_store::failure::{Rejection, interpret};
use crate::storage::object_store::http_bridge::wait;
use crate::storage::object_store::probe::StorageProbe;
use crate::storage::object_store::url::ObjectStoreUrl;
pub use crate::storage::object_store::url::credentials;
use crate::storage::rate_limit::RateLimits;
use crate::storage::retry::{Failure, Retrier, RetryPolicy};
use crate::storage::tls::Tls;
use crate::storage::{CreateOutcome, ObjectKind, check_name, too_short};

/// Larger objects are uploaded in parts.
const MAX_WHOLE: u64 = 128 << 20;
/// Bytes of such a part.
const PART: usize = 32 << 20;

/// A prefix of a bucket.
pub struct CloudStorage {
    place: ObjectStoreUrl,
    store: Box<dyn Bucket>,
    retrier: Arc<Retrier>,
    /// The guarantee that the server lacks; known once it was tested.
    lacks: OnceLock<Option<&'static str>>,
    /// An object created by this process, with which the guarantees are tested before the next one.
    pending_probe: Mutex<Option<StorageProbe>>,
}

/// The operations that are needed of a client.
trait Bucket: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Bucket for T {}

/// An event of reading an object.
enum ReadEvent<'a> {
    /// The object has `len` bytes, of which `expected` will follow.
    Found { len: u64, expected: u64 },
    /// The next bytes.
    Bytes(&'a [u8]),
}

/// How the object store is reached.
#[derive(Debug, Default)]
pub struct ObjectStoreOptions {
    /// Environment variables: credentials, endpoint, region.
    pub variables: Vec<(String, String)>,
    /// Rate limits.
    pub limits: Arc<RateLimits>,
    /// How failed requests are repeated.
    pub retry_policy: RetryPolicy,
    /// Which server certificates connections trust.
    pub tls: Tls,
}

impl fmt::Debug for CloudStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloudStorage({})", self.place)
    }
}

impl CloudStorage {
    /// Creates a storage at `place` without any request.
    ///
    /// # Errors
    /// The variables are incomplete or invalid.
    pub fn new(place: ObjectStoreUrl, options: ObjectStoreOptions) -> Result<Self> {
        let retrier = Arc::new(Retrier::new(place.to_string(), options.retry_policy));
        let http =
            Arc::new(Http::new(Arc::clone(&retrier), options.retry_policy, options.limits, &options.tls));
        let store = place.open(&options.variables, &http);
        let store = store.map_err(|err| {
            let why = match err {
                object_store::Error::Generic { source, .. } => source.to_string(),
                other => other.to_string(),
            };
            let help = credentials(&place.to_string()).unwrap_or("docs/remote.md describes its settings");
            Error::Usage(format!("cannot reach {place}: {why}: {help}"))
        })?;
        Ok(Self { place, store, retrier, lacks: OnceLock::new(), pending_probe: Mutex::default() })
    }

    fn path(&self, area: ObjectKind, name: &str) -> Result<Path> {
        check_name(area, name)?;
        Ok(self.path_of(&area.path(name)))
    }

    fn path_of(&self, what: &str) -> Path {
        // Percent-encodes characters that the servers advise against, in each path segment.
        Path::from(format!("{}/{what}", self.place.prefix))
    }

    /// Repeats a request as the retry policy allows. The caller interprets error responses other than
    /// [`Rejection::Failed`].
    fn request<T>(
        &self,
        doing: &'static str,
        what: &str,
        mut work: impl AsyncFnMut(bool) -> Result<T, object_store::Error>,
    ) -> Result<Result<T, Rejection>> {
        self.retrier.retry(doing, what, |again| match wait(work(again)) {
            Ok(done) => Ok(Ok(done)),
            Err(err) => match interpret(&self.retrier, doing, what, &err) {
                Rejection::Failed(failure) => Err(failure),
                rejection @ Rejection::Unclear(_) => Err(self.unexpected(doing, what, &rejection).into()),
                other => Ok(Err(other)),
            },
        })
    }

    fn unexpected(&self, doing: &'static str, what: &str, rejection: &Rejection) -> Error {
        let why = match rejection {
            Rejection::Unclear(why) => why.clone(),
            rejection => format!("the server's response is not valid for this request ({rejection:?})"),
        };
        Error::io(doing, self.retrier.full_path(what))(io::Error::other(why))
    }

    /// Returns an object's metadata; `None` if it does not exist.
    fn head(&self, path: &Path, what: &str) -> Result<Option<ObjectMeta>> {
        match self.request("check for", what, async |_| self.store.head(path).await)? {
            Ok(meta) => Ok(Some(meta)),
            Err(Rejection::Missing) => Ok(None),
            Err(rejection) => Err(self.unexpected("check for", what, &rejection)),
        }
    }

    fn ends_before(&self, path: &Path, what: &str, range: Option<&Range<u64>>) -> bool {
        let end = range.map_or(0, |range| range.end);
        self.head(path, what).is_ok_and(|there| there.is_some_and(|meta| meta.size < end))
    }

    /// Reads an object, or a range of it. `take` receives the data, and all of it again if the response was
    /// cut short.
    fn read_with(
        &self,
        area: ObjectKind,
        name: &str,
        range: Option<Range<u64>>,
        mut take: impl FnMut(ReadEvent<'_>) -> Result<()>,
    ) -> Result<()> {
        let (path, what) = (self.path(area, name)?, area.path(name));
        self.retrier.retry("read", &what, |_| {
            let failure_of = |err: object_store::Error| match interpret(&self.retrier, "read", &what, &err) {
                Rejection::Failed(failure) => failure,
                Rejection::Missing => Failure::Permanent(Error::Missing { what: what.clone() }),
                Rejection::TooShort => Failure::Permanent(too_short(&what)),
                // Not all servers report clearly that an object ends before the range.
                Rejection::Unclear(_) if self.ends_before(&path, &what, range.as_ref()) => {
                    Failure::Permanent(too_short(&what))
                }
                rejection => Failure::Permanent(self.unexpected("read", &what, &rejection)),
            };
            let options = GetOptions { range: range.clone().map(Into::into), ..GetOptions::default() };
            let found = wait(self.store.get_opts(&path, options)).map_err(failure_of)?;
            let expected = found.range.end.saturating_sub(found.range.start);
            take(ReadEvent::Found { len: found.meta.size, expected })?;
            let (mut left, mut stream) = (expected, found.into_stream());
            while let Some(bytes) = wait(stream.next()) {
                let bytes = bytes.map_err(failure_of)?;
                left = left.checked_sub(bytes.len() as u64).ok_or_else(|| {
                    Failure::Transient("the server sent more bytes than it announced".into())
                })?;
                take(ReadEvent::Bytes(&bytes))?;
            }
            match left {
                0 => Ok(()),
                left => Err(Failure::Transient(format!(
                    "the last {left} of {expected} bytes are missing from the response"
                ))),
            }
        })
    }

    /// Creates an object; [`CreateOutcome::Exists`] if the server says that the name is taken. Also returns
    /// whether the request was repeated, so that an earlier attempt may have succeeded.
    fn put(
        &self,
        path: &Path,
        what: &str,
        payload: &PutPayload,
        mode: PutMode,
    ) -> Result<(CreateOutcome, bool)> {
        let mut is_repeated = false;
        let put = self.request("write", what, async |again| {
            is_repeated = again;
            self.store.put_opts(path, payload.clone(), mode.clone().into()).await
        })?;
        match put {
            Ok(_) => Ok((CreateOutcome::New, is_repeated)),
            Err(Rejection::Taken) => Ok((CreateOutcome::Exists, is_repeated)),
            Err(rejection) => Err(self.unexpected("write", what, &rejection)),
        }
    }

    /// Like [`Self::put`], for objects too large to be sent again as a whole after a broken connection.
    /// Servers cannot make multipart uploads conditional, but an object that large is a pack, whose name
    /// determines its content.
    fn put_in_parts(&self, path: &Path, what: &str, parts: &[&[u8]], len: u64) -> Result<CreateOutcome> {
        if self.head(path, what)?.is_some() {
            return Ok(CreateOutcome::Exists);
        }
        let begun = self.request("write", what, async |_| self.store.create_multipart(path).await)?;
        let upload = begun.map_err(|rejection| self.unexpected("write", what, &rejection))?;
        let sent = self.send_parts((path, &upload), what, parts, len);
        if sent.is_err() {
            // Leftover parts are harmless: a lifecycle rule of the bucket removes them (docs/remote.md).
            let _ = wait(self.store.abort_multipart(path, &upload));
        }
        sent.map(|()| CreateOutcome::New)
    }

    fn send_parts(
        &self,
        (path, upload): (&Path, &MultipartId),
        what: &str,
        parts: &[&[u8]],
        len: u64,
    ) -> Result<()> {
        let (mut source, mut left, mut sent) = (Parts::new(parts), len, Vec::new());
        while left > 0 {
            let mut part = vec![0; PART.min(usize::try_from(left).unwrap_or(PART))];
            source.read_exact(&mut part).map_err(Error::io("write", self.retrier.full_path(what)))?;
            left -= part.len() as u64;
            let payload = PutPayload::from(Bytes::from(part));
            // A part that is sent again keeps its number where parts have numbers; elsewhere the first upload
            // is left out.
            let put = async |_| self.store.put_part(path, upload, sent.len(), payload.clone()).await;
            let part = self.request("write", what, put)?;
            sent.push(part.map_err(|rejection| self.unexpected("write", what, &rejection))?);
        }
        let mut again = false;
        let done = self.request("write", what, async |retry| {
            again = retry;
            self.store.complete_multipart(path, upload, sent.clone()).await
        });
        // If the response to the first attempt was lost, the upload no longer exists because it has become
        // the object; servers report that in different ways.
        if again
            && !matches!(done, Ok(Ok(_)))
            && self.head(path, what)?.is_some_and(|there| there.size == len)
        {
            return Ok(());
        }
        done?.map(drop).map_err(|rejection| self.unexpected("write", what, &rejection))
    }
}
