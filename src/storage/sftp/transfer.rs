//! Files on a server: whole files are written and read with many pipelined requests, to fill a slow
//! connection.

use std::collections::VecDeque;

use crate::storage::sftp::connection::{Channel, Pending, RequestError, unexpected};
use crate::storage::sftp::protocol::{self, FileAttributes, Names, Reply, Request};

/// Pipelined requests per file: 16 MiB at maximum size, more than the bandwidth-delay product of 100 ms at 1
/// Gbit/s.
const WINDOW: usize = 64;

/// An open file; closed when dropped.
pub(super) struct File<'a> {
    channel: &'a Channel,
    handle: Vec<u8>,
}

impl Drop for File<'_> {
    fn drop(&mut self) {
        self.channel.close(&self.handle);
    }
}

impl<'a> File<'a> {
    pub(super) fn open(channel: &'a Channel, path: &str, flags: u32) -> Result<Self, RequestError> {
        let handle = channel.handle(&Request::Open { path, flags })?;
        Ok(Self { channel, handle })
    }

    /// Writes `parts`, one after the other.
    pub(super) fn write(&self, parts: &[&[u8]]) -> Result<(), RequestError> {
        let size = self.channel.write_size() as usize;
        let (mut offset, mut sent) = (0, VecDeque::<Pending>::new());
        for bytes in parts.iter().flat_map(|part| part.chunks(size)) {
            if sent.len() >= WINDOW
                && let Some(first) = sent.pop_front()
            {
                first.wait_for_status()?;
            }
            self.channel.limits().send(bytes.len());
            sent.push_back(self.channel.send(&Request::Write { handle: &self.handle, offset, bytes })?);
            offset += bytes.len() as u64;
        }
        sent.into_iter().try_for_each(Pending::wait_for_status)
    }

    /// Syncs the file, and with it, on journaling file systems, its current name. The protocol cannot sync a
    /// folder.
    pub(super) fn sync(&self) -> Result<(), RequestError> {
        if self.channel.has_extension("fsync@openssh.com") {
            self.channel.run(&Request::Sync { handle: &self.handle })
        } else {
            Ok(())
        }
    }

    /// Returns its length in bytes.
    pub(super) fn len(&self) -> Result<u64, RequestError> {
        match self.channel.request(&Request::HandleStat { handle: &self.handle })? {
            Reply::Attributes(FileAttributes { size: Some(size), .. }) => Ok(size),
            other => Err(unexpected(&other)),
        }
    }

    /// Fills `out` from `offset`; `false` if the file ends first.
    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> Result<bool, RequestError> {
        let size = self.channel.read_size() as usize;
        let mut sent = VecDeque::<(Pending, u64, &mut [u8])>::new();
        let mut at = offset;
        for part in out.chunks_mut(size) {
            if sent.len() >= WINDOW
                && let Some((answer, at, part)) = sent.pop_front()
                && !self.receive(answer, at, part)?
            {
                return Ok(false);
            }
            let len = part.len();
            // Limiting the requests limits the data received.
            self.channel.limits().receive(len);
            sent.push_back((self.send_read(at, len)?, at, part));
            at += len as u64;
        }
        for (answer, at, part) in sent {
            if !self.receive(answer, at, part)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn send_read(&self, offset: u64, len: usize) -> Result<Pending, RequestError> {
        self.channel.send(&Request::Read { handle: &self.handle, offset, len: len as u32 })
    }

    /// Copies a response, and requests the rest if it is short.
    fn receive(&self, answer: Pending, mut at: u64, mut part: &mut [u8]) -> Result<bool, RequestError> {
        let mut answer = Some(answer);
        while !part.is_empty() {
            let answer = match answer.take() {
                Some(first) => first,
                None => self.send_read(at, part.len())?,
            };
            match answer.wait() {
                Ok(Reply::Data(bytes)) if !bytes.is_empty() && bytes.len() <= part.len() => {
                    let (taken, rest) = part.split_at_mut(bytes.len());
                    taken.copy_from_slice(&bytes);
                    (at, part) = (at + bytes.len() as u64, rest);
                }
                Ok(other) => return Err(unexpected(&other)),
                Err(RequestError::Status { code: protocol::EOF, .. }) => return Ok(false),
                Err(fail) => return Err(fail),
            }
        }
        Ok(true)
    }
}

/// Returns the entries of folders, grouped by folder. A missing folder has none.
pub(super) fn list(channel: &Channel, folders: &[String]) -> Result<Vec<Names>, RequestError> {
    let mut found = Vec::new();
    for some in folders.chunks(WINDOW) {
        let asked = some.iter().map(|path| channel.send(&Request::OpenFolder { path }));
        let asked: Vec<Pending> = asked.collect::<Result<_, _>>()?;
        let mut open = Vec::new();
        for answer in asked {
            found.push(Vec::new());
            match answer.wait_for_handle() {
                Ok(handle) => open.push((found.len() - 1, handle)),
                Err(RequestError::Status { code: protocol::NO_SUCH_FILE, .. }) => {}
                Err(fail) => return Err(fail),
            }
        }
        while !open.is_empty() {
            let asked = open.iter().map(|(_, handle)| channel.send(&Request::ReadFolder { handle }));
            let asked: Vec<Pending> = asked.collect::<Result<_, _>>()?;
            let mut more = Vec::new();
            for ((at, handle), answer) in open.into_iter().zip(asked) {
                match answer.wait() {
                    Ok(Reply::Names(names)) => {
                        if let Some(entries) = found.get_mut(at) {
                            entries.extend(names);
                        }
                        more.push((at, handle));
                    }
                    Ok(other) => return Err(unexpected(&other)),
                    Err(RequestError::Status { code: protocol::EOF, .. }) => channel.close(&handle),
                    Err(fail) => return Err(fail),
                }
            }
            open = more;
        }
    }
    Ok(found)
}
