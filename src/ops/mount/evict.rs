//! So many inodes and no more: the kernel remembers what it was told of until memory is short, and that may be long after
//! this process has had enough.

use crate::ops::mount::Mount;
use crate::repo::random::dir_lookup;

impl Mount {
    /// Files that the kernel may as well forget, as the directory and the name by which it was told of each; none if it
    /// knows of no more than `most`. What is open can be read on by whoever has it open.
    pub fn surplus(&self, most: usize) -> Vec<(u64, Vec<u8>)> {
        let mut wanted = self.inodes().saturating_sub(most);
        let mut surplus = Vec::new();
        let parents = self.known().parents();
        for parent in parents {
            if wanted == 0 {
                break;
            }
            let dir = self.known().dir(parent);
            let Some(dir) = dir else { continue };
            let read = dir_lookup::each_from(&self.reader, &dir.tree, 0, &mut |_, entry| {
                if self.known().is_file(self.numbers.of_entry(&dir.snapshot.id, parent, entry)) {
                    surplus.push((parent, entry.name.clone()));
                    wanted = wanted.saturating_sub(1);
                }
                wanted > 0
            });
            // What cannot be read cannot be named; others can.
            drop(read);
        }
        surplus
    }
}
