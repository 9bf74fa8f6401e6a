//! Compresses on all cores. The plain bytes are cut into pieces of fixed size, each of which becomes a gzip
//! member or a zstd frame, and these are written in order. The output does not depend on the number or speed
//! of the workers.

use std::io::{BufWriter, Write};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::codec::chunk::compress::FrameCompressor;
use crate::codec::gzip::GzipCompressor;
use crate::error::{self, Error, Result};
use crate::model::decode_error::DecodeError;
use crate::util::threads;

/// Format of an archive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// Uncompressed tar.
    Tar,
    /// tar compressed with gzip.
    #[default]
    Gzip,
    /// tar compressed with zstd.
    Zstd,
}

impl Format {
    /// Returns the format for a file name, by its extension.
    pub fn of_name(name: &[u8]) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let ends = |ends: &[&[u8]]| ends.iter().any(|end| name.ends_with(end));
        match () {
            () if ends(&[b".tar"]) => Some(Self::Tar),
            () if ends(&[b".tar.gz", b".tgz"]) => Some(Self::Gzip),
            () if ends(&[b".tar.zst", b".tzst"]) => Some(Self::Zstd),
            () => None,
        }
    }

    /// Returns compression levels: (lowest, default, highest).
    pub const fn levels(self) -> (i32, i32, i32) {
        match self {
            Self::Tar => (0, 0, 0),
            Self::Gzip => (1, 6, 12),
            Self::Zstd => (1, 3, 19),
        }
    }

    /// Returns the number of plain bytes of a piece.
    const fn piece_bytes(self) -> usize {
        match self {
            Self::Tar | Self::Gzip => 1 << 20,
            Self::Zstd => 4 << 20,
        }
    }
}

/// A piece to compress, and where to send the result.
type Job = (Vec<u8>, Sender<Result<Vec<u8>>>);

/// Runs `work`, which produces the plain bytes of an archive, and writes them compressed to `out`.
pub(super) fn write_compressed(
    format: Format,
    level: i32,
    out: &mut (dyn Write + Send),
    work: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>,
) -> Result<()> {
    if format == Format::Tar {
        let mut out = BufWriter::with_capacity(256 << 10, out);
        work(&mut |bytes| out.write_all(bytes).map_err(Error::io("write", "the archive")))?;
        return out.flush().map_err(Error::io("write", "the archive"));
    }
    let workers = threads::workers();
    let (jobs, to_compress) = bounded::<Job>(workers);
    let (order, to_write) = bounded::<Receiver<Result<Vec<u8>>>>(2 * workers);
    std::thread::scope(|scope| {
        threads::pool(scope, "compress", workers, || {
            let to_compress = to_compress.clone();
            move || compress_all(format, level, &to_compress)
        })?;
        drop(to_compress);
        let writer = threads::start(scope, "write", move || write_all(&to_write, out))?;
        let mut cutter = Cutter { piece: Vec::new(), size: format.piece_bytes(), jobs, order };
        let worked = work(&mut |bytes| cutter.add(bytes)).and_then(|()| cutter.send_piece());
        drop(cutter);
        let written = writer.join().unwrap_or(Err(Error::Stopped));
        error::fed(worked, written).map(|_| ())
    })
}

struct Cutter {
    piece: Vec<u8>,
    size: usize,
    jobs: Sender<Job>,
    order: Sender<Receiver<Result<Vec<u8>>>>,
}

impl Cutter {
    fn add(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.piece.capacity() == 0 {
                self.piece.reserve_exact(self.size);
            }
            let (now, rest) = bytes.split_at(bytes.len().min(self.size - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = rest;
            if self.piece.len() == self.size {
                self.send_piece()?;
            }
        }
        Ok(())
    }

    fn send_piece(&mut self) -> Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let (done, result) = bounded(1);
        self.order.send(result).map_err(|_| Error::Stopped)?;
        self.jobs.send((std::mem::take(&mut self.piece), done)).map_err(|_| Error::Stopped)
    }
}

fn compress_all(format: Format, level: i32, jobs: &Receiver<Job>) {
    let mut compress = compressor(format, level);
    for (plain, done) in jobs {
        let compressed = match &mut compress {
            Ok(compress) => {
                let mut compressed = Vec::new();
                compress(&plain, &mut compressed).map(|()| compressed)
            }
            Err(why) => Err(why.clone()),
        };
        // The receiver is gone only if the writer has failed.
        let _ = done.send(compressed.map_err(Error::making("the archive")));
    }
}

/// Appends a compressed piece to a buffer.
type Compress = Box<dyn FnMut(&[u8], &mut Vec<u8>) -> Result<(), DecodeError>>;

fn compressor(format: Format, level: i32) -> Result<Compress, DecodeError> {
    if format == Format::Zstd {
        let mut compressor = FrameCompressor::new(level)?;
        return Ok(Box::new(move |plain, packed| compressor.compress(plain, packed)));
    }
    let mut compressor = GzipCompressor::new(level)?;
    Ok(Box::new(move |plain, packed| compressor.compress(plain, packed)))
}

fn write_all(pieces: &Receiver<Receiver<Result<Vec<u8>>>>, out: &mut (dyn Write + Send)) -> Result<()> {
    for piece in pieces {
        let compressed = piece.recv().unwrap_or(Err(Error::Stopped))?;
        out.write_all(&compressed).map_err(Error::io("write", "the archive"))?;
    }
    out.flush().map_err(Error::io("write", "the archive"))
}
