//! Generations of the configuration: the newest whole one wins.

use crate::codec::chunker;
use crate::codec::hash::Key;
use crate::codec::hash::SubKeys;
use crate::codec::slot;
use crate::error::Error;
use crate::error::Result;
use crate::model::config::CipherKind;
use crate::model::config::Config;
use crate::model::entry::Time;
use crate::model::id::RepoId;
use crate::model::malformed::Malformed;
use crate::store::init::ChunkerProfile;
use crate::store::init::InitOptions;
use crate::store::names;
use crate::store::names::LAST_GENERATION;
use crate::store::objects;
use crate::store::storage::Area;
use crate::store::storage::Created;
use crate::store::storage::Storage;

const MAX_CONFIG: u64 = 1 << 20;

pub(super) fn new_config(repo: RepoId, master: &Key, options: &InitOptions) -> Config {
    let cipher = if options.password.is_some() { CipherKind::Xaes256Gcm } else { CipherKind::None };
    let mut config = Config {
        repo,
        generation: 1,
        created: Time::now(),
        incompat: 0,
        ro_compat: 0,
        cipher,
        open_master: options.password.is_none().then(|| *master.bytes()),
        chunker: match options.chunker {
            ChunkerProfile::K64 => chunker::K64,
            ChunkerProfile::K256 => chunker::K256,
            ChunkerProfile::M1 => chunker::M1,
        },
        block_target: 2 << 20,
        data_pack: 32 << 20,
        tree_pack: 8 << 20,
        level: options.level,
        undelete_window: options.undelete_window,
        stale_after: options.stale_after,
        extra: Vec::new(),
    };
    config.set_parity(options.parity);
    config
}

/// Writes a new generation with another share of parity, unless it is that already. Whoever is at work goes by the one it
/// has read.
pub(super) fn set_parity(storage: &dyn Storage, key: &Key, share: u8) -> Result<Config> {
    loop {
        let (bytes, mut config, _) = newest_config(storage)?;
        check_features(&config)?;
        if !slot::check_config(&bytes, key) {
            let what = Area::Config.path(&config.generation.to_string());
            return Err(Error::Damaged { what, source: Malformed::because("its check does not fit") });
        }
        if config.parity() == share {
            return Ok(config);
        }
        // Above damaged ones as well: their names are taken.
        config.generation = numbers(storage)?.last().map_or(1, |last| last.saturating_add(1));
        if config.generation > LAST_GENERATION {
            let why = "no number is left for a configuration: somebody put the highest one into config/";
            return Err(Error::Refused(format!("{why}; run `snap repair gc`")));
        }
        config.set_parity(share);
        let bytes =
            slot::close_config(&config, key).map_err(Error::damaged("the configuration, being written,"))?;
        if storage.create(Area::Config, &config.generation.to_string(), &[&bytes])? == Created::New {
            return Ok(config);
        }
    }
}

fn numbers(storage: &dyn Storage) -> Result<Vec<u32>> {
    let mut numbers: Vec<u32> =
        names::list(storage, Area::Config)?.iter().filter_map(|found| found.name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The newest generation that is whole, its bytes, and what is wrong with newer ones.
pub(super) fn newest_config(storage: &dyn Storage) -> Result<(Vec<u8>, Config, Vec<String>)> {
    let numbers = numbers(storage)?;
    let mut trouble = Vec::new();
    let mut first = None;
    for number in numbers.iter().rev() {
        match read_config(storage, *number) {
            Ok((bytes, config)) => return Ok((bytes, config, trouble)),
            Err(err) if err.is_damage() => {
                trouble.push(format!("{err}; an older generation is used"));
                first.get_or_insert(err);
            }
            Err(err) => return Err(err),
        }
    }
    Err(first.unwrap_or(Error::NoRepository { location: storage.location() }))
}

pub(super) fn read_config(storage: &dyn Storage, number: u32) -> Result<(Vec<u8>, Config)> {
    let name = number.to_string();
    let bytes = storage.read(Area::Config, &name, MAX_CONFIG)?;
    objects::check_header(Area::Config, &name, &bytes)?;
    let config = slot::open_config(&bytes).map_err(Error::damaged(Area::Config.path(&name)))?;
    if config.generation == number {
        return Ok((bytes, config));
    }
    let source = Malformed::because("a generation under another's name");
    Err(Error::Damaged { what: Area::Config.path(&name), source })
}

/// Its keys.
pub(super) fn keys_of(master: &Key, config: &Config) -> SubKeys {
    SubKeys::derive_in(master, &config.repo, &config.family())
}

pub(super) fn check_features(config: &Config) -> Result<()> {
    if config.incompat != 0 || !config.is_understood() {
        return Err(Error::Refused("the repository uses a feature that this version does not know".into()));
    }
    Ok(())
}
