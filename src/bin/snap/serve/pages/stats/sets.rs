//! The stored size of each set of snapshots.

use maud::{Markup, html};
use snap_backup::ops::stats::{Report, SetLine};

use crate::serve::pages::{name, size};
use crate::terminal::output::{self, count};

/// Maximum number of sets that are listed, largest first.
const ROWS: usize = 200;

pub(super) fn table(report: &Report) -> Markup {
    let mut sets: Vec<&SetLine> = report.sets.iter().collect();
    sets.sort_by_key(|set| std::cmp::Reverse(set.unique.stored));
    html! {
        @if !sets.is_empty() {
            h2 { "Storage per set" }
            table.stack {
                caption { "Forgetting a whole set frees what only it needs. Data that several sets share is \
                           counted in the first." }
                thead { tr {
                    th scope="col" { "Set" } th.number scope="col" { "Snapshots" } th.number scope="col" { "Newest" }
                    th.number scope="col" { "Stored" } th.number scope="col" { "Only it needs" }
                } }
                tbody { @for set in sets.iter().take(ROWS) { (row(set)) } }
            }
            @if sets.len() > ROWS { p.note { "and " (count((sets.len() - ROWS) as u64, "more set", "more sets")) } }
        }
    }
}

fn row(set: &SetLine) -> Markup {
    html! {
        tr {
            td.name {
                bdi { (output::printable(&set.host)) } ": "
                @for (number, source) in set.sources.iter().enumerate() { @if number > 0 { ", " } (name(source)) }
            }
            td.number data-label="Snapshots" { (set.snapshots) }
            td.number data-label="Newest" { (size(set.newest)) }
            td.number data-label="Stored" { (size(set.first.stored)) }
            td.number data-label="Only it needs" { (size(set.unique.stored)) }
        }
    }
}
