//! Limits the number of inodes. The kernel keeps inodes cached until memory is short, which may be long after
//! this process should release them.

use crate::ops::mount::Mount;
use crate::repo::random::dir_lookup;

impl Mount {
    /// Returns files that the kernel should forget, each as directory inode and name; none if it knows of at
    /// most `most` inodes. Open files remain readable.
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
            let read = dir_lookup::for_each_from(&self.reader, &dir.tree, 0, &mut |_, entry| {
                if self.known().is_file(self.numbers.of_entry(&dir.snapshot.id, parent, entry)) {
                    surplus.push((parent, entry.name.clone()));
                    wanted = wanted.saturating_sub(1);
                }
                wanted > 0
            });
            // Directories that cannot be read are skipped: their files have no known names.
            drop(read);
        }
        surplus
    }
}
