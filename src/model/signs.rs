//! What a run saw of its set, compared with the snapshot before: the numbers that the tripwire weighs. They stand in the
//! manifest, so that every machine that saves the set knows its past.

use crate::model::manifest::Counts;

/// A file that many of a run's new files are like: at most so long.
pub const MAX_SUFFIX: usize = 16;

/// Millionths: shares are whole numbers, so that they are the same on every machine.
pub const WHOLE: u64 = 1_000_000;

/// Numbers of one run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signs {
    /// Seconds from the snapshot that it was compared with to this one.
    pub span: u64,
    /// Files of that snapshot.
    pub before: u64,
    /// Their bytes.
    pub bytes_before: u64,
    /// Bytes of all files now.
    pub bytes: u64,
    /// Files that were not there.
    pub new: u64,
    /// Of these, those whose content was stored already: moved, or copied.
    pub moved: u64,
    /// Files whose content is another one.
    pub rewritten: u64,
    /// Files that are gone.
    pub removed: u64,
    /// Rewritten files whose bytes look random now.
    pub opaque: u64,
    /// New files whose bytes look random, and were not stored before.
    pub opaque_new: u64,
    /// New files that end in the suffix below.
    pub alike: u64,
    /// What most new files end in, and no file did before.
    pub suffix: Vec<u8>,
    /// Of the files, in millionths: those that came to look random, counting older runs less and less.
    pub level: u64,
    /// The largest share of files that an earlier run lost, in millionths, counting older runs less and less.
    pub peak: u64,
    /// Nothing is known of contents and suffixes: the run was one of a program that did not look.
    pub is_blind: bool,
}

/// Numbers that are stored, each as eight bytes.
const STORED: usize = 13;

impl Signs {
    /// Of a run that only counted.
    pub fn of_counts(counts: &Counts, before: &Counts, span: u64) -> Self {
        Self {
            span,
            before: before.files(),
            bytes_before: before.bytes_total,
            bytes: counts.bytes_total,
            new: counts.files_new,
            rewritten: counts.files_changed,
            removed: counts.files_removed,
            is_blind: true,
            ..Self::default()
        }
    }

    /// As they are stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers: [u64; STORED] = [
            self.span,
            self.before,
            self.bytes_before,
            self.bytes,
            self.new,
            self.moved,
            self.rewritten,
            self.removed,
            self.opaque,
            self.opaque_new,
            self.alike,
            self.level,
            self.peak,
        ];
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.extend(self.suffix.iter().take(MAX_SUFFIX));
        bytes
    }

    /// As they were stored; `None` where these are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, suffix) = bytes.split_at_checked(STORED * 8)?;
        let mut numbers =
            numbers.chunks_exact(8).filter_map(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
        let mut next = || numbers.next();
        Some(Self {
            span: next()?,
            before: next()?,
            bytes_before: next()?,
            bytes: next()?,
            new: next()?,
            moved: next()?,
            rewritten: next()?,
            removed: next()?,
            opaque: next()?,
            opaque_new: next()?,
            alike: next()?,
            level: next()?,
            peak: next()?,
            suffix: suffix.get(..suffix.len().min(MAX_SUFFIX))?.to_vec(),
            is_blind: false,
        })
    }

    /// Files that are not what they were: rewritten, or gone and not moved.
    pub fn lost(&self) -> u64 {
        self.rewritten.saturating_add(self.removed.saturating_sub(self.moved))
    }

    /// Files that came to look random. New ones count only where others went.
    pub fn scrambled(&self) -> u64 {
        self.opaque.saturating_add(self.opaque_new.min(self.removed))
    }

    /// Files that came under a suffix that none had, where others went.
    pub fn renamed(&self) -> u64 {
        self.alike.min(self.removed)
    }

    /// A number of files as a share of those before, in millionths.
    pub fn share(&self, files: u64) -> u64 {
        portion(files, self.before)
    }

    /// How much the bytes grew, in millionths of what they were.
    pub fn growth(&self) -> u64 {
        portion(self.bytes.saturating_sub(self.bytes_before), self.bytes_before)
    }
}

/// `part` of `whole`, in millionths; of nothing, nothing.
fn portion(part: u64, whole: u64) -> u64 {
    let share = u128::from(part) * u128::from(WHOLE) / u128::from(whole.max(1));
    if whole == 0 { 0 } else { u64::try_from(share).unwrap_or(u64::MAX) }
}

/// What a name ends in, if that may be the suffix of many: one to sixteen letters and digits behind the last dot.
pub fn suffix(name: &[u8]) -> Option<&[u8]> {
    let dot = name.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0)?;
    let suffix = name.get(dot + 1..)?;
    let fits = (1..=MAX_SUFFIX).contains(&suffix.len()) && suffix.iter().all(u8::is_ascii_alphanumeric);
    fits.then_some(suffix)
}

#[cfg(test)]
mod tests {
    use super::{Signs, suffix};

    #[test]
    fn signs_are_read_as_they_were_written() {
        let signs = Signs {
            span: 1,
            before: 2,
            alike: 3,
            peak: u64::MAX,
            suffix: b"locked".to_vec(),
            ..Signs::default()
        };
        assert_eq!(Signs::from_bytes(&signs.to_bytes()), Some(signs.clone()));
        assert_eq!(Signs::from_bytes(&signs.to_bytes()[..103]), None);
        let long = [signs.to_bytes(), vec![b'x'; 1000]].concat();
        assert_eq!(Signs::from_bytes(&long).map(|signs| signs.suffix.len()), Some(16));
    }

    #[test]
    fn a_suffix_is_short_and_plain() {
        let found =
            |name: &str| suffix(name.as_bytes()).map(|found| String::from_utf8(found.to_vec()).unwrap());
        assert_eq!(found("a.docx.locked").as_deref(), Some("locked"));
        for none in ["README", ".profile", "a.", "1700.M1P2.host,S=1:2,S", "a.suffixlongerthansixteen"] {
            assert_eq!(found(none), None, "{none}");
        }
    }

    #[test]
    fn what_moved_is_not_lost() {
        let signs = Signs { before: 10, new: 4, moved: 4, removed: 4, rewritten: 1, ..Signs::default() };
        assert_eq!((signs.lost(), signs.share(signs.lost())), (1, 100_000));
        let signs = Signs { before: 10, opaque_new: 9, removed: 0, opaque: 1, ..Signs::default() };
        assert_eq!(signs.scrambled(), 1, "new files that look random are no loss");
    }
}
