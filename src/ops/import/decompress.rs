//! Reads an archive: decompresses it in a separate thread, a few pieces ahead.

use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::codec::chunk::compress;
use crate::codec::gzip;
use crate::error::{Error, Result};
use crate::model::decode_error::DecodeError;
use crate::progress::{Event, Observer};
use crate::util::threads;

/// Plain bytes of a piece.
const PIECE_BYTES: usize = 256 << 10;
/// Maximum number of pieces that wait for the parser.
const MAX_PIECES: usize = 8;
/// How often a thread that waits for input checks whether to stop.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Starts to read an archive, and returns a reader of its plain bytes.
///
/// Errors of the reader need no context. A read of a pipe may block forever, so the thread is not joined: it
/// ends when the reader is dropped.
///
/// # Errors
/// When the thread cannot be started.
pub(super) fn start<'a>(
    input: Box<dyn Read + Send>,
    stop: &Arc<AtomicBool>,
    observer: &'a dyn Observer,
) -> Result<DecompressThread<'a>> {
    let (out, pieces) = bounded(MAX_PIECES);
    let consumed = Arc::<AtomicU64>::default();
    let input = CountingReader { input, consumed: Arc::clone(&consumed) };
    threads::detached("input", move || match decompressed(Box::new(input)) {
        Ok(plain) => send_pieces(plain, &out),
        // The receiver is gone if the import was interrupted.
        Err(err) => drop(out.send(Err(err))),
    })?;
    Ok(DecompressThread {
        pieces,
        piece: Cursor::new(Vec::new()),
        stop: Arc::clone(stop),
        observer,
        consumed,
        reported: 0,
    })
}

/// Counts the bytes read of an archive.
struct CountingReader {
    input: Box<dyn Read + Send>,
    consumed: Arc<AtomicU64>,
}

impl Read for CountingReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(out)?;
        self.consumed.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Returns a reader of the plain bytes. The first bytes of the archive tell how it is compressed.
fn decompressed(input: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let mut input = BufReader::with_capacity(PIECE_BYTES, input);
    let mut head = Vec::new();
    (&mut input).take(6).read_to_end(&mut head)?;
    let whole = BufReader::with_capacity(PIECE_BYTES, Cursor::new(head.clone()).chain(input));
    let unknown = |name: &'static str| {
        Err(invalid(format!(
            "it is compressed with {name}, which snap cannot read: pipe it through `{name} -dc` to \
             `Repository::import`"
        )))
    };
    Ok(match head.as_slice() {
        [0x1f, 0x8b, ..] => gzip::decompressing(whole),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => compress::decompressing(whole)?,
        [0xfd, b'7', b'z', b'X', b'Z', ..] => return unknown("xz"),
        [b'B', b'Z', b'h', ..] => return unknown("bzip2"),
        [0x04, 0x22, 0x4d, 0x18, ..] => return unknown("lz4"),
        [b'L', b'Z', b'I', b'P', ..] => return unknown("lzip"),
        [b'P', b'K', 3, 4, ..] => {
            return Err(invalid("it is a zip file, which snap cannot read".to_owned()));
        }
        _ => Box::new(whole),
    })
}

fn invalid(why: String) -> io::Error {
    io::Error::other(Error::Archive { what: "the archive".into(), source: DecodeError::with(why) })
}

fn send_pieces(mut plain: Box<dyn Read + Send>, out: &Sender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let read = (&mut plain).take(PIECE_BYTES as u64).read_to_end(&mut piece);
        let last = piece.is_empty() || read.is_err();
        // Bytes read before a failure are valid. The receiver is gone if the import has failed.
        if !piece.is_empty() && out.send(Ok(piece)).is_err() {
            return;
        }
        if let Err(err) = read {
            let _ = out.send(Err(err));
        }
        if last {
            return;
        }
    }
}

/// Reads plain bytes that another thread has decompressed.
pub(super) struct DecompressThread<'a> {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Cursor<Vec<u8>>,
    stop: Arc<AtomicBool>,
    observer: &'a dyn Observer,
    /// Bytes read of the archive; `reported`: those that the observer knows.
    consumed: Arc<AtomicU64>,
    reported: u64,
}

impl DecompressThread<'_> {
    fn report(&mut self) {
        let consumed = self.consumed.load(Ordering::Relaxed);
        self.observer.notice(Event::Input { bytes: consumed.saturating_sub(self.reported) });
        self.reported = consumed;
    }
}

impl Read for DecompressThread<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.piece.read(out)?;
            if count > 0 || out.is_empty() {
                return Ok(count);
            }
            match self.pieces.recv_timeout(STOP_CHECK_INTERVAL) {
                Ok(piece) => {
                    self.piece = Cursor::new(piece?);
                    self.report();
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(0),
                Err(RecvTimeoutError::Timeout) if self.stop.load(Ordering::Relaxed) => {
                    return Err(io::Error::other(Error::Interrupted));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}
