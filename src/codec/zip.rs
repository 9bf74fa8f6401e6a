//! Writes ZIP archives (PKWARE's APPNOTE 6.3.10) to an output that is only appended to: sizes follow each
//! member, and are repeated in the directory at the end. Values that need more than 32 bits are written as
//! ZIP64.

use std::io::{self, Write};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

use crate::error::{Error, Result};

/// Placeholder in a 32-bit field whose value is in an extra field.
const IN_ZIP64: u32 = u32::MAX;
/// Like [`IN_ZIP64`], for 16 bits.
const IN_ZIP64_SHORT: u16 = u16::MAX;
/// Sizes and the checksum follow the member.
const DESCRIBED_LATER: u16 = 1 << 3;
const NAME_IS_UTF8: u16 = 1 << 11;
const DEFLATED: u16 = 8;
/// The first version of the format that has deflate and directories, and the one that has ZIP64.
const PLAIN: u16 = 20;
const ZIP64: u16 = 45;
/// Attributes are those of Unix.
const UNIX: u16 = 3 << 8;

/// A member without its content.
#[derive(Debug, Clone, Copy)]
pub struct ZipMember<'a> {
    /// Path; that of a directory ends with a slash.
    pub name: &'a [u8],
    /// Type and permissions, as `stat` gives them.
    pub mode: u32,
    /// Local time and date as MS-DOS has them.
    pub local: (u16, u16),
    /// Seconds since 1970.
    pub mtime: i64,
}

/// Numbers of a member that are known when it is written.
#[derive(Debug, Clone, Copy, Default)]
struct Sizes {
    crc: u32,
    compressed: u64,
    plain: u64,
}

/// Writes an archive. Keeps its directory in memory: about a hundred bytes and the name of each member.
#[derive(Debug)]
pub struct ZipWriter<W> {
    out: Counted<W>,
    directory: Vec<u8>,
    members: u64,
    /// Sizes and places from this on are written as ZIP64.
    limit: u64,
}

impl<W: Write> ZipWriter<W> {
    /// Begins an archive.
    pub fn new(out: W) -> Self {
        Self { out: Counted { out, at: 0 }, directory: Vec::new(), members: 0, limit: IN_ZIP64.into() }
    }

    /// Adds a member without content, such as a directory.
    ///
    /// # Errors
    /// The output fails, or the name is longer than 65535 bytes.
    pub fn add_empty(&mut self, member: &ZipMember<'_>) -> Result<()> {
        let (at, flags) = (self.out.at, flags(member.name));
        self.write_header(member, flags, 0)?;
        self.add_to_directory(member, at, (flags, 0), Sizes::default())
    }

    /// Adds a member whose content `write` writes.
    ///
    /// # Errors
    /// As [`Self::add_empty`], and those of `write`.
    pub fn add(
        &mut self,
        member: &ZipMember<'_>,
        write: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<()> {
        let (at, flags) = (self.out.at, flags(member.name) | DESCRIBED_LATER);
        self.write_header(member, flags, DEFLATED)?;
        let begin = self.out.at;
        let (crc, plain) = {
            let deflate = DeflateEncoder::new(&mut self.out, Compression::default());
            let mut content = Content { deflate, crc: Crc::new(), plain: 0 };
            write(&mut content)?;
            content.deflate.try_finish().map_err(failed)?;
            (content.crc.sum(), content.plain)
        };
        let sizes = Sizes { crc, compressed: self.out.at - begin, plain };
        let mut descriptor = Vec::with_capacity(24);
        put32(&mut descriptor, 0x0807_4b50);
        put32(&mut descriptor, sizes.crc);
        for size in [sizes.compressed, sizes.plain] {
            if self.are_large(sizes) {
                descriptor.extend_from_slice(&size.to_le_bytes())
            } else {
                put32(&mut descriptor, capped(size))
            }
        }
        self.out.write_all(&descriptor).map_err(failed)?;
        self.add_to_directory(member, at, (flags, DEFLATED), sizes)
    }

    /// Writes the directory, and returns the output.
    ///
    /// # Errors
    /// The output fails.
    pub fn finish(mut self) -> Result<W> {
        let (at, len, members) = (self.out.at, self.directory.len() as u64, self.members);
        let mut end = std::mem::take(&mut self.directory);
        if members >= IN_ZIP64_SHORT.into() || at >= self.limit || len >= self.limit {
            put32(&mut end, 0x0606_4b50);
            end.extend_from_slice(&44u64.to_le_bytes());
            put16(&mut end, UNIX | ZIP64);
            put16(&mut end, ZIP64);
            end.extend_from_slice(&[0; 8]);
            for number in [members, members, len, at] {
                end.extend_from_slice(&number.to_le_bytes());
            }
            put32(&mut end, 0x0706_4b50);
            put32(&mut end, 0);
            end.extend_from_slice(&(at + len).to_le_bytes());
            put32(&mut end, 1);
        }
        put32(&mut end, 0x0605_4b50);
        end.extend_from_slice(&[0; 4]);
        let count = u16::try_from(members).unwrap_or(IN_ZIP64_SHORT);
        put16(&mut end, count);
        put16(&mut end, count);
        put32(&mut end, capped(len));
        put32(&mut end, capped(at));
        put16(&mut end, 0);
        self.out.write_all(&end).and_then(|()| self.out.flush()).map_err(failed)?;
        Ok(self.out.out)
    }

    fn are_large(&self, sizes: Sizes) -> bool {
        sizes.compressed >= self.limit || sizes.plain >= self.limit
    }

    fn write_header(&mut self, member: &ZipMember<'_>, flags: u16, method: u16) -> Result<()> {
        let (mut head, time) = (Vec::new(), mtime_field(member));
        put32(&mut head, 0x0403_4b50);
        put16(&mut head, PLAIN);
        put16(&mut head, flags);
        put16(&mut head, method);
        put16(&mut head, member.local.0);
        put16(&mut head, member.local.1);
        head.extend_from_slice(&[0; 12]);
        put16(&mut head, name_len(member.name)?);
        put16(&mut head, time.len() as u16);
        head.extend_from_slice(member.name);
        head.extend_from_slice(&time);
        self.out.write_all(&head).map_err(failed)
    }

    /// Adds a member to the directory.
    fn add_to_directory(
        &mut self,
        member: &ZipMember<'_>,
        at: u64,
        (flags, method): (u16, u16),
        sizes: Sizes,
    ) -> Result<()> {
        let is_large = self.are_large(sizes) || at >= self.limit;
        let mut extra = Vec::new();
        if is_large {
            put16(&mut extra, 1);
            put16(&mut extra, 24);
            for number in [sizes.plain, sizes.compressed, at] {
                extra.extend_from_slice(&number.to_le_bytes());
            }
        }
        extra.extend(mtime_field(member));
        let version = if is_large { ZIP64 } else { PLAIN };
        let field = |number: u64| if is_large { IN_ZIP64 } else { capped(number) };
        let directory = &mut self.directory;
        put32(directory, 0x0201_4b50);
        put16(directory, UNIX | version);
        for number in [version, flags, method, member.local.0, member.local.1] {
            put16(directory, number);
        }
        put32(directory, sizes.crc);
        put32(directory, field(sizes.compressed));
        put32(directory, field(sizes.plain));
        put16(directory, name_len(member.name)?);
        put16(directory, extra.len() as u16);
        directory.extend_from_slice(&[0; 6]);
        // The mode, followed by the MS-DOS attributes: whether it is a directory.
        put32(directory, (member.mode & 0xffff) << 16 | u32::from(member.name.ends_with(b"/")) << 4);
        put32(directory, field(at));
        directory.extend_from_slice(member.name);
        directory.extend_from_slice(&extra);
        self.members += 1;
        Ok(())
    }
}

#[derive(Debug)]
struct Counted<W> {
    out: W,
    at: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

struct Content<W: Write> {
    deflate: DeflateEncoder<W>,
    crc: Crc,
    plain: u64,
}

impl<W: Write> Write for Content<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.deflate.write_all(bytes)?;
        self.crc.update(bytes);
        self.plain += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn flags(name: &[u8]) -> u16 {
    if !name.is_ascii() && std::str::from_utf8(name).is_ok() { NAME_IS_UTF8 } else { 0 }
}

/// Returns the mtime in seconds since 1970, in the extra field that Info-ZIP defined for it.
fn mtime_field(member: &ZipMember<'_>) -> Vec<u8> {
    let Ok(seconds) = i32::try_from(member.mtime) else { return Vec::new() };
    let mut field = Vec::with_capacity(9);
    put16(&mut field, 0x5455);
    put16(&mut field, 5);
    field.push(1);
    field.extend_from_slice(&seconds.to_le_bytes());
    field
}

fn name_len(name: &[u8]) -> Result<u16> {
    u16::try_from(name.len())
        .map_err(|_| Error::Usage("ZIP archives hold no paths of more than 65535 bytes".to_owned()))
}

fn capped(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(IN_ZIP64)
}

fn put16(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn failed(source: io::Error) -> Error {
    Error::io("write", "the archive")(source)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom};
    use std::process::Command;

    use super::*;

    fn named(name: &[u8]) -> ZipMember<'_> {
        ZipMember { name, mode: 0o100_644, local: (0, 0x21), mtime: 1_700_000_000 }
    }

    fn fill<W: Write>(writer: &mut ZipWriter<W>) {
        writer.add_empty(&ZipMember { mode: 0o40_755, ..named(b"dir/") }).unwrap();
        writer.add(&named(b"dir/small"), |out| out.write_all(b"small").map_err(failed)).unwrap();
        writer
            .add(&named("dir/gr\u{f6}\u{df}er".as_bytes()), |out| out.write_all(&[7; 5000]).map_err(failed))
            .unwrap();
        writer.add(&named(b"dir/last"), |out| out.write_all(b"last").map_err(failed)).unwrap();
    }

    /// Has Python read an archive and count its members and bytes. `None` if Python is not installed.
    fn read_by_python(path: &std::path::Path) -> Option<String> {
        const READ: &str = "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nn = z.namelist()\n\
            print(len(n), z.testzip(), n[2:4], z.read(n[3])[:4]) if len(n) < 9 else print(len(n))";
        let Ok(out) = Command::new("python3").arg("-c").arg(READ).arg(path).output() else {
            eprintln!("SKIPPED: there is no python3 to read ZIP archives");
            return None;
        };
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        Some(String::from_utf8(out.stdout).unwrap())
    }

    fn count(bytes: &[u8], signature: u32) -> usize {
        bytes.windows(4).filter(|four| *four == signature.to_le_bytes()).count()
    }

    #[test]
    fn large_archives_are_zip64_that_other_programs_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.zip");
        let expected = "4 None ['dir/gr\u{f6}\u{df}er', 'dir/last'] b'last'\n";
        for (limit, start, is_zip64) in [
            (u64::from(IN_ZIP64), 0, false),
            // One member is large, by its plain length alone.
            (4000, 0, true),
            // All places are, and no length.
            (u64::from(IN_ZIP64), 5 << 30, true),
        ] {
            let mut out = std::fs::File::create(&path).unwrap();
            out.seek(SeekFrom::Start(start)).unwrap();
            let mut writer = ZipWriter { limit, ..ZipWriter::new(out) };
            writer.out.at = start;
            fill(&mut writer);
            let begin = writer.out.at - start;
            writer.finish().unwrap();
            let mut file = std::fs::File::open(&path).unwrap();
            file.seek(SeekFrom::Start(start + begin)).unwrap();
            let mut directory = Vec::new();
            io::Read::read_to_end(&mut file, &mut directory).unwrap();
            let large = directory.windows(8).filter(|eight| *eight == [0xff; 8]).count();
            assert_eq!(large > 0, is_zip64, "limit {limit}, from {start}");
            assert_eq!(count(&directory, 0x0606_4b50) == 1, start > 0, "limit {limit}, from {start}");
            assert!(
                read_by_python(&path).is_none_or(|output| output == expected),
                "limit {limit}, from {start}"
            );
        }
    }

    #[test]
    fn more_members_than_16_bits_can_count_are_all_there() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        for (members, is_zip64) in [(65_534_u32, false), (65_535, true)] {
            let mut writer = ZipWriter::new(Vec::new());
            (0..members).for_each(|number| writer.add_empty(&named(number.to_string().as_bytes())).unwrap());
            let bytes = writer.finish().unwrap();
            let end = &bytes[bytes.len() - 98..];
            assert_eq!(
                (count(end, 0x0606_4b50), count(end, 0x0706_4b50)),
                (is_zip64.into(), is_zip64.into())
            );
            std::fs::write(&path, bytes).unwrap();
        }
        assert!(read_by_python(&path).is_none_or(|output| output == "65535\n"));
    }
}
