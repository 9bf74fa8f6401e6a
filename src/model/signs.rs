//! Statistics of a backup compared with the previous snapshot, on which alarms are based. They are stored in
//! the manifest, so that every machine that backs up the set knows its history.

use crate::model::manifest::Counts;

/// Maximum length in bytes of the recorded suffix of new files.
pub const MAX_SUFFIX: usize = 16;

/// The whole in millionths. Shares are integers, so that they are equal on every machine.
pub const WHOLE: u64 = 1_000_000;

/// Statistics of one backup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signs {
    /// Seconds between the snapshot that it was compared with and this one.
    pub span: u64,
    /// Number of files in the snapshot that it was compared with.
    pub before: u64,
    /// Bytes of those files.
    pub bytes_before: u64,
    /// Bytes of all files in this snapshot.
    pub bytes: u64,
    /// Files that the earlier snapshot does not have.
    pub new: u64,
    /// New files whose content was stored already, because they were moved or copied.
    pub moved: u64,
    /// Files whose content changed.
    pub rewritten: u64,
    /// Files that were removed.
    pub removed: u64,
    /// Rewritten files whose content now looks random.
    pub opaque: u64,
    /// New files whose content looks random and was not stored before.
    pub opaque_new: u64,
    /// New files with the suffix in `suffix`.
    pub alike: u64,
    /// The most frequent suffix of new files that no file had before.
    pub suffix: Vec<u8>,
    /// Share of files that came to look random, in millionths. It accumulates over backups and decays with
    /// time.
    pub level: u64,
    /// Largest share of files that an earlier backup lost, in millionths. It decays with time.
    pub peak: u64,
    /// Whether only counts are known, because an older version of the program made the snapshot.
    pub has_only_counts: bool,
}

/// Number of integers in the stored form, eight bytes each.
const NUMBERS: usize = 13;

impl Signs {
    /// Returns the statistics of a snapshot for which only counts are known.
    pub fn of_counts(counts: &Counts, before: &Counts, span: u64) -> Self {
        Self {
            span,
            before: before.files(),
            bytes_before: before.bytes_total,
            bytes: counts.bytes_total,
            new: counts.files_new,
            rewritten: counts.files_changed,
            removed: counts.files_removed,
            has_only_counts: true,
            ..Self::default()
        }
    }

    /// The numbers, in the order in which they are stored.
    fn numbers(&mut self) -> [&mut u64; NUMBERS] {
        [
            &mut self.span,
            &mut self.before,
            &mut self.bytes_before,
            &mut self.bytes,
            &mut self.new,
            &mut self.moved,
            &mut self.rewritten,
            &mut self.removed,
            &mut self.opaque,
            &mut self.opaque_new,
            &mut self.alike,
            &mut self.level,
            &mut self.peak,
        ]
    }

    /// Encodes the statistics.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            self.clone().numbers().into_iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.extend(self.suffix.iter().take(MAX_SUFFIX));
        bytes
    }

    /// Decodes statistics; `None` if the bytes are too short.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, suffix) = bytes.split_at_checked(NUMBERS * 8)?;
        let suffix = suffix.iter().copied().take(MAX_SUFFIX).collect();
        let mut signs = Self { suffix, ..Self::default() };
        for (number, stored) in signs.numbers().into_iter().zip(numbers.as_chunks().0) {
            *number = u64::from_le_bytes(*stored);
        }
        Some(signs)
    }

    /// Returns the number of files that were rewritten, or removed and not moved.
    pub fn lost(&self) -> u64 {
        self.rewritten.saturating_add(self.removed.saturating_sub(self.moved))
    }

    /// Returns the number of files that came to look random. New files count only up to the number of removed
    /// ones.
    pub fn scrambled(&self) -> u64 {
        self.opaque.saturating_add(self.opaque_new.min(self.removed))
    }

    /// Returns the number of new files with the new suffix, at most as many as were removed.
    pub fn renamed(&self) -> u64 {
        self.alike.min(self.removed)
    }

    /// Returns a number of files as a share of the files before, in millionths.
    pub fn share(&self, files: u64) -> u64 {
        share_of(files, self.before)
    }

    /// Returns by how much the bytes grew, in millionths of the bytes before.
    pub fn growth(&self) -> u64 {
        share_of(self.bytes.saturating_sub(self.bytes_before), self.bytes_before)
    }
}

/// Returns `part` of `whole` in millionths; 0 if `whole` is 0.
fn share_of(part: u64, whole: u64) -> u64 {
    if whole == 0 { 0 } else { scale(part, WHOLE, whole) }
}

/// Returns `value * to / from`; a `from` of 0 counts as 1.
pub(super) fn scale(value: u64, to: u64, from: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(to) / u128::from(from.max(1))).unwrap_or(u64::MAX)
}

/// Returns the suffix of a name: 1 to 16 ASCII letters and digits after its last dot.
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
    fn moved_files_are_not_lost() {
        let signs = Signs { before: 10, new: 4, moved: 4, removed: 4, rewritten: 1, ..Signs::default() };
        assert_eq!((signs.lost(), signs.share(signs.lost())), (1, 100_000));
        let signs = Signs { before: 10, opaque_new: 9, removed: 0, opaque: 1, ..Signs::default() };
        assert_eq!(signs.scrambled(), 1, "new files that look random are no loss");
    }
}
