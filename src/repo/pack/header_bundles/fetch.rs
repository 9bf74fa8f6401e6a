//! Fetches tables from header bundles, for a machine that lacks many of them.

use std::collections::HashMap;

use crate::codec::pack::Table;
use crate::codec::pack::header_bundle::BundlePart;
use crate::error::Error;
use crate::model::id::PackId;
use crate::repo::pack::header_bundles::{HeaderBundle, MIN_PACKS, open_all};
use crate::repo::repository::Repository;
use crate::util::parallel;

/// Header bundles in memory at once.
const WINDOW: usize = 2;

/// A wanted pack: the caller's number for it, and its length.
type Wanted = (u32, u64);

/// The packs whose tables are wanted, and the header bundles that may have them.
#[derive(Debug)]
pub(crate) struct BundleFetcher<'a> {
    repo: &'a Repository,
    wanted: HashMap<PackId, Wanted>,
    /// The most useful one last.
    bundles: Vec<HeaderBundle>,
}

impl<'a> BundleFetcher<'a> {
    /// Starts fetching tables of these packs, if they are many enough. An unreadable header bundle is a
    /// warning and is skipped.
    pub(crate) fn begin(repo: &'a Repository, wanted: HashMap<PackId, Wanted>) -> Self {
        let mut fetcher = Self { repo, wanted, bundles: Vec::new() };
        if fetcher.wanted.len() < MIN_PACKS {
            return fetcher;
        }
        let all = open_all(repo).unwrap_or_else(|err| {
            repo.control().warn(format!("{}: reading the tables from the packs", err.chain()));
            Vec::new()
        });
        for (name, opened) in all {
            match opened {
                Ok(bundle) => fetcher.bundles.push(bundle),
                Err(err) => fetcher.warn(&name, &err),
            }
        }
        // The most useful are read first, which may leave nothing to read from others.
        let Self { wanted, bundles, .. } = &mut fetcher;
        bundles.sort_by_cached_key(|bundle| wanted_parts(bundle, wanted).count());
        fetcher
    }

    /// Returns some of the tables, each with its number; empty when there are no more.
    pub(crate) fn next(&mut self) -> Vec<(u32, Table)> {
        loop {
            let mut window = Vec::new();
            while window.len() < WINDOW
                && let Some(bundle) = self.bundles.pop()
            {
                if is_worth_it(&bundle, &self.wanted) {
                    window.push(bundle);
                }
            }
            if window.is_empty() {
                return Vec::new();
            }
            let (repo, wanted) = (self.repo, &self.wanted);
            let read =
                parallel::map(&window, WINDOW, |bundle| bundle.tables(repo, |part| wants(wanted, part)));
            let mut found = Vec::new();
            for (bundle, tables) in window.iter().zip(read) {
                match tables {
                    Ok(tables) => found.extend(tables.into_iter().filter_map(|(part, table)| {
                        self.wanted.remove(&part.pack).map(|(number, _)| (number, table))
                    })),
                    Err(err) if err.is_missing() => {}
                    Err(err) => self.warn(&bundle.name, &err),
                }
            }
            if !found.is_empty() {
                return found;
            }
        }
    }

    fn warn(&self, name: &str, err: &Error) {
        let remedy = if err.is_damage() { "; `Repository::repair_index` removes it" } else { "" };
        self.repo.control().warn(format!("{}: header bundle {name} is ignored{remedy}", err.chain()));
    }
}

fn wants(wanted: &HashMap<PackId, Wanted>, part: &BundlePart) -> bool {
    wanted.get(&part.pack).is_some_and(|(_, len)| *len == part.pack_len)
}

fn wanted_parts<'a>(
    bundle: &'a HeaderBundle,
    wanted: &'a HashMap<PackId, Wanted>,
) -> impl Iterator<Item = &'a BundlePart> {
    bundle.parts.iter().filter(|part| wants(wanted, part))
}

/// Returns whether a bundle has many wanted tables, or little else.
fn is_worth_it(bundle: &HeaderBundle, wanted: &HashMap<PackId, Wanted>) -> bool {
    let (count, bytes) = wanted_parts(bundle, wanted)
        .fold((0, 0), |(count, bytes), part| (count + 1, bytes + u64::from(part.len)));
    count >= MIN_PACKS / 2 || count >= 2 && bytes * 4 >= bundle.len
}
