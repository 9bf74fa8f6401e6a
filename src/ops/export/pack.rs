//! Compresses on all cores. The plain bytes are cut into pieces of fixed size, each becomes a gzip member or
//! a zstd frame, and they are written in order. So the output does not depend on the number or speed of
//! workers.

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

    /// Returns the plain bytes of a piece.
    const fn piece(self) -> usize {
        match self {
            Self::Tar | Self::Gzip => 1 << 20,
            Self::Zstd => 4 << 20,
        }
    }
}

/// A piece to compress, and where to send the result.
type Job = (Vec<u8>, Sender<Result<Vec<u8>>>);

/// Runs `work`, which writes the plain bytes of an archive, and writes them compressed to `out`.
pub(super) fn packed(
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
    let (jobs, to_pack) = bounded::<Job>(workers);
    let (order, to_write) = bounded::<Receiver<Result<Vec<u8>>>>(2 * workers);
    std::thread::scope(|scope| {
        threads::pool(scope, "pack", workers, || {
            let to_pack = to_pack.clone();
            move || pack_all(format, level, &to_pack)
        })?;
        drop(to_pack);
        let writer = threads::start(scope, "write", move || write_all(&to_write, out))?;
        let mut cutter = Cutter { piece: Vec::new(), size: format.piece(), jobs, order };
        let worked = work(&mut |bytes| cutter.take(bytes)).and_then(|()| cutter.send());
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
    fn take(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.piece.capacity() == 0 {
                self.piece.reserve_exact(self.size);
            }
            let (now, rest) = bytes.split_at(bytes.len().min(self.size - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = rest;
            if self.piece.len() == self.size {
                self.send()?;
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let (done, result) = bounded(1);
        self.order.send(result).map_err(|_| Error::Stopped)?;
        self.jobs.send((std::mem::take(&mut self.piece), done)).map_err(|_| Error::Stopped)
    }
}

fn pack_all(format: Format, level: i32, jobs: &Receiver<Job>) {
    let mut pack = compressor(format, level);
    for (plain, done) in jobs {
        let packed = match &mut pack {
            Ok(pack) => {
                let mut packed = Vec::new();
                pack(&plain, &mut packed).map(|()| packed)
            }
            Err(why) => Err(why.clone()),
        };
        // The receiver is gone only if the writer has failed.
        let _ = done.send(packed.map_err(Error::making("the archive")));
    }
}

type Pack = Box<dyn FnMut(&[u8], &mut Vec<u8>) -> Result<(), DecodeError>>;

fn compressor(format: Format, level: i32) -> Result<Pack, DecodeError> {
    if format == Format::Zstd {
        let mut compressor = FrameCompressor::new(level)?;
        return Ok(Box::new(move |plain, packed| compressor.compress(plain, packed)));
    }
    let mut compressor = GzipCompressor::new(level)?;
    Ok(Box::new(move |plain, packed| compressor.compress(plain, packed)))
}

fn write_all(pieces: &Receiver<Receiver<Result<Vec<u8>>>>, out: &mut (dyn Write + Send)) -> Result<()> {
    for piece in pieces {
        let packed = piece.recv().unwrap_or(Err(Error::Stopped))?;
        out.write_all(&packed).map_err(Error::io("write", "the archive"))?;
    }
    out.flush().map_err(Error::io("write", "the archive"))
}
