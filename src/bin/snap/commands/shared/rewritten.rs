//! Output about snapshots that were replaced by changed ones.

use serde_json::{Map, Value};
use snap_backup::ops::rewrite::Rewritten;

use crate::context::Context;
use crate::terminal::output::{self, size};

/// Warns about snapshots that other processes forgot or rewrote in the meantime. Returns whether there are
/// any.
pub(crate) fn warn_of_others(context: &Context, rewritten: &[Rewritten], dry_run: bool) -> bool {
    let met: Vec<&Rewritten> = rewritten.iter().filter(|one| one.new.is_none() && !dry_run).collect();
    for one in &met {
        let id = one.old.id.short();
        let text = format!(
            "snapshot {id} was not changed: another process forgot or rewrote it in the \
                            meantime"
        );
        output::warn(context.global.json, &text);
    }
    !met.is_empty()
}

/// Describes the result for one snapshot.
pub(crate) fn line(one: &Rewritten, dry_run: bool) -> String {
    let (id, when) = (one.old.id.short(), output::local(one.old.manifest.started));
    let mut text = match one.new {
        Some(new) => format!("snapshot {id} of {when} is now {}", new.short()),
        None if dry_run => format!("snapshot {id} of {when} would be rewritten"),
        None => format!("snapshot {id} of {when} no longer exists"),
    };
    let dropped = &one.dropped;
    if dropped.files + dropped.dirs + dropped.others > 0 {
        text += &format!(
            ", without {} ({})",
            output::entries(dropped.files, dropped.dirs, dropped.others),
            size(dropped.bytes)
        );
    }
    text
}

/// Describes one changed snapshot. It has no `new` in a dry run, or if other processes changed it meanwhile.
pub(crate) fn to_json(one: &Rewritten) -> Value {
    let mut map = Map::new();
    map.insert("old".to_owned(), one.old.id.hex().into());
    if let Some(new) = one.new {
        map.insert("new".to_owned(), new.hex().into());
    }
    for (name, number) in [
        ("files_dropped", one.dropped.files),
        ("dirs_dropped", one.dropped.dirs),
        ("others_dropped", one.dropped.others),
        ("bytes_dropped", one.dropped.bytes),
    ] {
        map.insert(name.to_owned(), number.into());
    }
    Value::Object(map)
}
