//! Years of typical changes to sets, and attacks on them. Only counts are simulated; no file is touched.
#![allow(clippy::unwrap_used)]

use snap_backup::model::signs::Signs;
use snap_backup::model::tripwire::{self, AlarmState, Limits, Past};

const DAY: u64 = 86_400;
/// Alarms about ordinary changes of a set, and the largest share lost when an attack was detected, for the
/// table in the documents.
type Row = (u32, Vec<f64>);

/// A generator that gives the same years on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.next().is_multiple_of(many)
    }
}

/// What a day does to a set of `files`.
#[derive(Default)]
struct Change {
    new: u64,
    moved: u64,
    rewritten: u64,
    removed: u64,
    opaque: u64,
    opaque_new: u64,
    alike: u64,
    bytes: i64,
}

type Model = fn(&mut Dice, u64, u64) -> Change;

const MODELS: &[(&str, u64, Model)] = &[
    ("office files", 20_000, office),
    ("source tree", 60_000, source),
    ("mail", 80_000, mail),
    ("database", 120, database),
    ("photos", 40_000, photos),
    ("build directory", 8_000, build),
];

/// Working days, weekends, holidays of two and three weeks, a clean-up each quarter, and one department that
/// moves in.
fn office(dice: &mut Dice, day: u64, files: u64) -> Change {
    let off = day % 7 >= 5 || (100..114).contains(&(day % 365)) || (200..221).contains(&(day % 365));
    if off {
        return Change::default();
    }
    let mut change = Change {
        new: dice.between(5, 60),
        rewritten: dice.between(20, 200),
        removed: dice.between(0, 20),
        bytes: 40 << 20,
        ..Change::default()
    };
    change.opaque = u64::from(dice.one_in(5));
    change.opaque_new = u64::from(dice.one_in(10));
    if day.is_multiple_of(91) {
        let moved = files / 8;
        (change.new, change.moved) = (change.new + moved, moved);
        change.removed += moved + files / 20;
    }
    if day % 365 == 300 {
        change.new += files / 4;
    }
    change
}

/// Edits, another branch each week, a repack of loose objects each month, an update of vendored code twice a
/// year.
fn source(dice: &mut Dice, day: u64, files: u64) -> Change {
    if day % 7 == 6 {
        return Change::default();
    }
    let mut change = Change {
        new: dice.between(50, 400),
        rewritten: dice.between(20, 600),
        removed: dice.between(0, 50),
        ..Change::default()
    };
    change.opaque_new = dice.between(0, 2);
    if dice.one_in(7) {
        change.rewritten += files * dice.between(5, 35) / 100;
    }
    if day % 30 == 3 {
        change.removed += files / 10;
    }
    if day % 180 == 90 {
        change.removed += files * 15 / 100;
        change.new += files * 15 / 100;
        change.alike = files / 200;
    }
    change
}

/// New mails and flags, which are names, each day; an archive each month.
fn mail(dice: &mut Dice, day: u64, files: u64) -> Change {
    let flagged = dice.between(50, 300);
    let mut change = Change {
        new: dice.between(40, 200) + flagged,
        moved: flagged,
        removed: flagged + 10,
        ..Change::default()
    };
    change.rewritten = dice.between(5, 20);
    change.opaque = dice.between(0, 2);
    if day % 30 == 1 {
        let moved = files / 20;
        (change.new, change.moved, change.removed) =
            (change.new + moved, change.moved + moved, change.removed + moved);
    }
    change
}

/// Nearly all files change each day, and logs come and go.
fn database(dice: &mut Dice, _: u64, files: u64) -> Change {
    let logs = dice.between(1, 5);
    Change {
        new: logs,
        removed: logs,
        rewritten: files * dice.between(40, 95) / 100,
        bytes: 5 << 20,
        ..Change::default()
    }
}

/// Imports at weekends and after journeys, and once new ratings in all pictures of a year.
fn photos(dice: &mut Dice, day: u64, files: u64) -> Change {
    match day % 365 {
        120 => Change { rewritten: files / 5, ..Change::default() },
        at if at % 7 == 6 => Change { new: dice.between(20, 300), bytes: 1 << 30, ..Change::default() },
        at if at % 50 == 10 => Change { new: dice.between(500, 2500), bytes: 12 << 30, ..Change::default() },
        _ => Change::default(),
    }
}

/// Builds of a part, of everything, and from scratch.
fn build(dice: &mut Dice, _: u64, files: u64) -> Change {
    let mut change = Change { rewritten: files * dice.between(1, 40) / 100, ..Change::default() };
    (change.new, change.removed) = (dice.between(0, 300), dice.between(0, 300));
    change.opaque = change.rewritten / 500;
    if dice.one_in(12) {
        (change.new, change.removed, change.rewritten) = (files * 9 / 10, files * 9 / 10, files / 20);
        change.opaque_new = files / 500;
        change.alike = files / 100;
    }
    change
}

/// What an attacker does to `files` that are still intact. Most, not all, encrypted files can be recognized.
type Attack = fn(&mut Change, u64);

/// Its name, the share of all files that it changes a day, and its effect.
const ATTACKS: &[(&str, f64, Attack)] = &[
    ("in place, new ending", 1.0, |change, files| {
        (change.new, change.removed) = (change.new + files, change.removed + files);
        (change.opaque_new, change.alike) = (change.opaque_new + seen(files), change.alike + files);
    }),
    ("in place, same names", 1.0, |change, files| {
        (change.rewritten, change.opaque) = (change.rewritten + files, change.opaque + seen(files));
    }),
    ("2 % a day, same names", 0.02, |change, files| {
        (change.rewritten, change.opaque) = (change.rewritten + files, change.opaque + seen(files));
    }),
    ("2 % a day, new ending", 0.02, |change, files| {
        (change.new, change.removed) = (change.new + files, change.removed + files);
        (change.opaque_new, change.alike) = (change.opaque_new + seen(files), change.alike + files);
    }),
    ("delete and replace", 1.0, |change, files| {
        (change.new, change.removed) = (change.new + files, change.removed + files);
        change.opaque_new += seen(files);
    }),
    ("headers only", 1.0, |change, files| {
        (change.rewritten, change.opaque) = (change.rewritten + files, change.opaque + seen(files));
    }),
];

fn seen(files: u64) -> u64 {
    files - files / 10
}

/// A set, as its snapshots describe it.
struct Set {
    past: Vec<(u64, Past)>,
    files: u64,
    bytes: u64,
    since: u64,
}

impl Set {
    fn new(files: u64) -> Self {
        Self { past: Vec::new(), files, bytes: files << 20, since: 0 }
    }

    /// One run. Returns whether it raises an alarm, which is settled at once.
    fn run(&mut self, at: u64, change: &Change, settled: AlarmState) -> bool {
        let past: Vec<Past> =
            self.past.iter().map(|(then, past)| Past { age: at - then, ..past.clone() }).collect();
        let limits = Limits::default();
        if change.new + change.rewritten + change.removed == 0 {
            let alarm = tripwire::silence(&past, at - self.since, Some(&limits)).is_some();
            if alarm {
                self.since = at;
            }
            return alarm;
        }
        let removed = change.removed.min(self.files);
        let bytes = self.bytes.saturating_add_signed(change.bytes);
        let mut now = Signs {
            span: at - self.since,
            before: self.files,
            bytes_before: self.bytes,
            bytes,
            new: change.new,
            moved: change.moved,
            rewritten: change.rewritten.min(self.files),
            removed,
            opaque: change.opaque.min(self.files),
            opaque_new: change.opaque_new,
            alike: change.alike,
            suffix: b"abc".to_vec(),
            ..Signs::default()
        };
        let alarm = !tripwire::evaluate(&past, &mut now, Some(&limits)).is_empty();
        self.past.push((at, Past { age: 0, signs: now, alarm: alarm.then_some(settled) }));
        self.thin(at);
        (self.since, self.files, self.bytes) = (at, self.files + change.new - removed, bytes);
        alarm
    }

    /// Applies retention: two days, then one snapshot a day for two weeks, one a week for two months, one a
    /// month.
    fn thin(&mut self, now: u64) {
        let slot = |at: u64| match (now - at) / DAY {
            0..2 => at,
            2..14 => at / DAY,
            14..60 => 1_000_000 + at / (7 * DAY),
            _ => 2_000_000 + at / (30 * DAY),
        };
        let slots: Vec<u64> = self.past.iter().map(|(at, _)| slot(*at)).collect();
        let mut at = 0..;
        self.past.retain(|_| at.next().is_some_and(|at: usize| slots.get(at + 1) != slots.get(at)));
    }
}

fn years(model: Model, files: u64, seed: u64) -> u32 {
    let (mut dice, mut set) = (Dice(seed), Set::new(files));
    let alarms = (1..=730).filter(|day| {
        let change = model(&mut dice, *day, set.files);
        set.run(day * DAY, &change, AlarmState::Accepted)
    });
    let alarms: Vec<u64> = alarms.collect();
    assert!(alarms.iter().all(|day| *day > 7), "an alarm in the first runs: {alarms:?}");
    u32::try_from(alarms.len()).unwrap().div_ceil(2)
}

/// The share of the files that was lost when the attack that begins on a day was detected, with a run every
/// `step` seconds.
fn met(model: Model, files: u64, attack: (f64, Attack), begins: u64, step: u64, seed: u64) -> f64 {
    let (mut dice, mut set) = (Dice(seed), Set::new(files));
    let (mut gone, mut due, mut all) = (0, 0.0, 0);
    for at in (1..=400 * DAY / step).map(|run| run * step) {
        let day = at / DAY;
        let mut change =
            if at.is_multiple_of(DAY) { model(&mut dice, day, set.files) } else { Change::default() };
        if day >= begins {
            all = if all == 0 { set.files } else { all };
            due += all as f64 * attack.0 * step as f64 / DAY as f64;
            let whole = (due as u64).saturating_sub(gone).min(all - gone);
            gone += whole;
            attack.1(&mut change, whole);
        }
        if set.run(at, &change, AlarmState::Accepted) && day >= begins {
            return gone as f64 / all as f64;
        }
        assert!(
            gone < all || all == 0,
            "begun on day {begins}, over on day {day}, and nobody was told: {:?}",
            set.past.last()
        );
    }
    panic!("never met");
}

fn row(model: Model, files: u64) -> Row {
    let alarms = (1..=5).map(|seed| years(model, files, seed)).max().unwrap();
    let begins = [60, 75, 90, 113, 150, 211, 240, 301, 333];
    let worst = |attack: (f64, Attack)| {
        let of = begins.iter().map(|day| met(model, files, attack, *day, DAY, *day));
        of.fold(0.0, f64::max)
    };
    (alarms, ATTACKS.iter().map(|(_, share, attack)| worst((*share, *attack))).collect())
}

#[test]
fn years_have_few_false_alarms_and_attacks_are_detected() {
    let header: Vec<&str> = ATTACKS.iter().map(|(name, ..)| *name).collect();
    println!("| set | false alarms a year | {} |", header.join(" | "));
    let mut wrong = Vec::new();
    for (name, files, model) in MODELS {
        let (alarms, gone) = row(*model, *files);
        let shares: Vec<String> = gone.iter().map(|gone| format!("{:.1} %", gone * 100.0)).collect();
        println!("| {name} | {alarms} | {} |", shares.join(" | "));
        if alarms > 1 {
            wrong.push(format!("{name}: {alarms} false alarms a year"));
        }
        for ((attack, share, _), gone) in ATTACKS.iter().zip(gone) {
            // A fast attack is detected by the first run after it.
            let limit = if *share == 1.0 { 1.0 } else { 0.15 };
            if gone > limit {
                wrong.push(format!("{name}, {attack}: met at {:.1} %", gone * 100.0));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// With more runs a day each sees less, but the sum is the same.
#[test]
fn slow_attacks_are_found_by_hourly_runs() {
    for (name, files, model) in MODELS {
        for (attack, share, act) in ATTACKS.iter().filter(|(_, share, _)| *share < 1.0) {
            let gone = met(*model, *files, (*share, *act), 60, DAY / 24, 7);
            assert!(gone <= 0.15, "{name}, {attack}: met at {:.1} %", gone * 100.0);
        }
    }
}

fn busy() -> Vec<Past> {
    let signs = Signs {
        span: DAY,
        before: 1000,
        bytes_before: 1 << 30,
        bytes: 1 << 30,
        rewritten: 10,
        ..Signs::default()
    };
    (0..20).rev().map(|day| Past { age: day * DAY, signs: signs.clone(), alarm: None }).collect()
}

fn loss(files: u64) -> Signs {
    Signs {
        span: DAY,
        before: 1000,
        bytes_before: 1 << 30,
        bytes: 1 << 30,
        removed: files,
        ..Signs::default()
    }
}

#[test]
fn a_reason_is_one_sentence_with_its_numbers() {
    let reasons = tripwire::evaluate(&busy(), &mut loss(600), Some(&Limits::default()));
    let wanted = "0 files rewritten and 600 removed of 1000 (60 %; 1 % is usual, up to 50 % allowed)";
    assert_eq!(tripwire::sentence(&reasons), wanted);
    let mut random = Signs { rewritten: 100, opaque: 100, removed: 0, ..loss(0) };
    let reasons = tripwire::evaluate(&busy(), &mut random, Some(&Limits::default()));
    let wanted = "100 files newly look encrypted, 100 of 1000 with those of earlier runs (10 %; 0 % is usual, up to 5 % allowed)";
    assert_eq!(tripwire::sentence(&reasons), wanted);
    let silent = tripwire::silence(&busy(), 11 * DAY, Some(&Limits::default())).unwrap();
    let wanted = "nothing changed for 11 days; usually something changes every 24 hours, \
         and the longest pause so far was 24 hours";
    assert_eq!(silent.to_string(), wanted);
}

#[test]
fn few_runs_announced_changes_and_repairs_raise_no_alarm() {
    let limits = Limits::default();
    let given =
        |past: &[Past], limits: Option<&Limits>| !tripwire::evaluate(past, &mut loss(900), limits).is_empty();
    assert!(given(&busy(), Some(&limits)));
    assert!(given(&busy()[..7], Some(&limits)));
    assert!(!given(&busy()[..6], Some(&limits)), "six runs are no past");
    assert!(!given(&busy(), None), "it was announced");
    let mut cleared = busy();
    cleared.last_mut().unwrap().alarm = Some(AlarmState::Cleared);
    assert!(!given(&cleared, Some(&limits)), "what is repaired changes again");
    let open = vec![Past { alarm: Some(AlarmState::Open), ..busy()[0].clone() }; 20];
    assert!(!given(&open, Some(&limits)), "what nobody has looked at is not what is usual");
}

/// A vault whose files all change each day always looks like this.
#[test]
fn set_that_always_looks_encrypted_raises_no_alarm() {
    let mut set = Set::new(30);
    for day in 1..=60 {
        let change = Change { rewritten: 6, opaque: 6, ..Change::default() };
        assert!(!set.run(day * DAY, &change, AlarmState::Accepted), "day {day}");
    }
}

#[test]
fn each_limit_can_be_moved_and_switched_off() {
    let off = Limits { lost: None, ..Limits::default() };
    assert_eq!(tripwire::evaluate(&busy(), &mut loss(900), Some(&off)), Vec::new());
    let tight = Limits { lost: Some(100_000), ..Limits::default() };
    assert_eq!(tripwire::evaluate(&busy(), &mut loss(110), Some(&tight)).len(), 1);
    let mut huge = Signs { bytes: 4 << 30, ..loss(0) };
    assert_eq!(tripwire::evaluate(&busy(), &mut huge.clone(), Some(&Limits::default())).len(), 1);
    let off = Limits { growth: None, ..Limits::default() };
    assert_eq!(tripwire::evaluate(&busy(), &mut huge, Some(&off)), Vec::new());
    let off = Limits { silence: false, ..Limits::default() };
    assert_eq!(tripwire::silence(&busy(), 365 * DAY, Some(&off)), None);
}

/// What was accepted once is usual from then on, even if it is rare. A few files do not count as a share.
#[test]
fn earlier_losses_raise_the_limit_and_few_files_no_alarm() {
    let given = |past: &[Past], mut now: Signs| {
        !tripwire::evaluate(past, &mut now, Some(&Limits::default())).is_empty()
    };
    let mut past = busy();
    past.last_mut().unwrap().signs = loss(600);
    assert!(!given(&past, loss(740)), "1.25 times what was lost before");
    assert!(given(&past, loss(760)));
    let few = Signs { before: 25, removed: 19, ..loss(0) };
    assert!(!given(&busy(), few.clone()), "19 files");
    assert!(given(&busy(), Signs { removed: 20, ..few }));
    let renamed = |files: u64| Signs { new: files, alike: files, suffix: b"flac".to_vec(), ..loss(files) };
    assert!(given(&busy(), renamed(60)));
    past = busy();
    past.last_mut().unwrap().signs = renamed(60);
    assert!(!given(&past, renamed(70)), "such a change has been before");
    assert!(given(&past, renamed(80)));
}
