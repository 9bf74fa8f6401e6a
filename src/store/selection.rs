//! Snapshots chosen by what they are of, as restic's filters choose them, or by name.

use std::collections::HashSet;

use crate::error::Error;
use crate::error::Result;
use crate::model::manifest::Manifest;
use crate::store::repository::Repository;
use crate::store::snapshots;
use crate::store::snapshots::Snapshot;

/// What a snapshot must be of; nothing given admits every snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// One of these machines.
    pub hosts: Vec<String>,
    /// All tags of one of these lists; an empty tag means a snapshot without any.
    pub tags: Vec<Vec<String>>,
    /// All of these absolute sources.
    pub paths: Vec<Vec<u8>>,
    /// These absolute sources and no others, in any order.
    pub sources: Option<Vec<Vec<u8>>>,
}

impl Selection {
    /// Whether it chooses this snapshot.
    pub fn admits(&self, manifest: &Manifest) -> bool {
        let has_path = |path: &Vec<u8>| manifest.sources.iter().any(|source| source[..] == path[..]);
        (self.hosts.is_empty() || self.hosts.contains(&manifest.host))
            && (self.tags.is_empty() || self.tags.iter().any(|tags| manifest.has_tags(tags)))
            && self.paths.iter().all(has_path)
            && self.sources.as_ref().is_none_or(|sources| {
                manifest.sources.iter().all(|source| sources.iter().any(|path| source[..] == path[..]))
                    && sources.iter().all(has_path)
            })
    }
}

/// Whole snapshots: those that are named or, where none is, those that a selection admits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// As people name them.
    pub selectors: Vec<String>,
    /// Where none is named.
    pub selection: Selection,
}

impl Choice {
    /// Their places among all.
    ///
    /// # Errors
    /// When a name means none, or a part of one.
    pub fn places(&self, repo: &Repository, all: &[Snapshot]) -> Result<Vec<usize>> {
        let places = 0..all.len();
        if self.selectors.is_empty() {
            let admitted = |at: &usize| all.get(*at).is_some_and(|one| self.selection.admits(&one.manifest));
            return Ok(places.filter(admitted).collect());
        }
        let mut ids = HashSet::new();
        for selector in &self.selectors {
            match snapshots::resolve(repo, selector)? {
                (snapshot, None) => ids.insert(snapshot.id),
                (_, Some(_)) => {
                    let why = "a whole snapshot is meant, without :path";
                    return Err(Error::Usage(format!("{selector}: {why}")));
                }
            };
        }
        Ok(places.filter(|at| all.get(*at).is_some_and(|one| ids.contains(&one.id))).collect())
    }
}
