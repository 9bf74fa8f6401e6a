//! A list with a cursor and marked rows.

use std::collections::BTreeSet;

/// Rows, the index of the current one, and the indices of marked ones.
#[derive(Debug)]
pub(super) struct List<T> {
    rows: Vec<T>,
    cursor: usize,
    pub(super) marked: BTreeSet<usize>,
    /// Index of the first visible row; set by `draw`.
    pub(super) offset: usize,
}

impl<T> List<T> {
    pub(super) fn new(rows: Vec<T>) -> Self {
        Self { rows, cursor: 0, marked: BTreeSet::new(), offset: 0 }
    }

    pub(super) fn rows(&self) -> &[T] {
        &self.rows
    }

    pub(super) fn cursor(&self) -> usize {
        self.cursor
    }

    pub(super) fn current(&self) -> Option<&T> {
        self.rows.get(self.cursor)
    }

    pub(super) fn extend(&mut self, more: Vec<T>) {
        self.rows.extend(more);
    }

    /// Moves the cursor by this many rows, within the list.
    pub(super) fn move_by(&mut self, rows: isize) {
        let last = self.rows.len().saturating_sub(1);
        self.cursor = self.cursor.saturating_add_signed(rows).min(last);
    }

    pub(super) fn move_to(&mut self, row: usize) {
        self.cursor = row.min(self.rows.len().saturating_sub(1));
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.cursor + 1 >= self.rows.len()
    }

    /// Toggles the mark of the current row and moves to the next.
    pub(super) fn toggle(&mut self) {
        if self.cursor < self.rows.len() && !self.marked.remove(&self.cursor) {
            self.marked.insert(self.cursor);
        }
        self.move_by(1);
    }

    /// Returns the marked rows or, if there are none, the current one.
    pub(super) fn chosen(&self) -> Vec<&T> {
        if self.marked.is_empty() {
            return self.current().into_iter().collect();
        }
        self.marked.iter().filter_map(|row| self.rows.get(*row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::List;

    #[test]
    fn the_cursor_stays_within_the_rows() {
        let mut list = List::new(vec!['a', 'b', 'c']);
        list.move_by(-1);
        assert_eq!(list.current(), Some(&'a'));
        list.move_by(10);
        assert_eq!((list.current(), list.is_at_end()), (Some(&'c'), true));
        let mut none: List<char> = List::new(Vec::new());
        none.move_by(1);
        none.toggle();
        assert_eq!((none.current(), none.chosen().len()), (None, 0));
    }

    #[test]
    fn marked_rows_are_chosen_instead_of_the_current_one() {
        let mut list = List::new(vec!['a', 'b', 'c']);
        assert_eq!(list.chosen(), [&'a']);
        list.toggle();
        list.move_by(1);
        list.toggle();
        assert_eq!(list.chosen(), [&'a', &'c']);
        list.move_to(0);
        list.toggle();
        assert_eq!(list.chosen(), [&'c']);
    }
}
