//! Real power cuts: the real program writes to ext4 in a file, which is shut down without writing its
//! journal. What was acknowledged before exists when it is mounted again, and the next run needs no help. 300
//! cuts with `SNAP_TEST_LONG`, a few in each ordinary run.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::support::verdict::Promises;
use crate::support::{Outcome, Random, Sandbox, copy_tree};

/// Cuts the power of a mounted file system: FS_IOC_SHUTDOWN, without flushing the journal.
const CUTTER: &str = "import fcntl, os, struct, sys
for line in sys.stdin:
    fd = os.open(line.rstrip('\\n'), os.O_RDONLY)
    fcntl.ioctl(fd, 0x8004587D, struct.pack('I', 2))
    os.close(fd)
    print('cut', flush=True)
";

struct Cutter {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Cutter {
    fn start() -> Option<Self> {
        let mut command = Command::new("python3");
        let child = command.args(["-c", CUTTER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            crate::support::skipped("no python3, which cuts the power");
            return None;
        };
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Some(Self { child, input, output })
    }

    fn cut(&mut self, at: &Path) {
        writeln!(self.input, "{}", at.display()).unwrap();
        let mut said = String::new();
        self.output.read_line(&mut said).unwrap();
        assert_eq!(said, "cut\n");
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file with a file system in it, mounted or not.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    fn make(image: PathBuf, at: PathBuf) -> Option<Self> {
        fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        fs::create_dir_all(&at).unwrap();
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
        let mut command = Command::new("mkfs.ext4");
        let made = command.env("PATH", path).args(["-q", "-F"]).arg(&image).output();
        let disk = Self { image, at };
        if !made.is_ok_and(|output| output.status.success()) || !disk.mount() {
            crate::support::skipped(
                "only root, with mkfs.ext4 and loop devices, can cut the power of a disk",
            );
            return None;
        }
        Some(disk)
    }

    fn mount(&self) -> bool {
        let mut command = Command::new("mount");
        let mounted = command.args(["-o", "loop"]).arg(&self.image).arg(&self.at).output();
        mounted.is_ok_and(|output| output.status.success())
    }

    fn unmount(&self) -> bool {
        // A killed process may keep files open for a moment.
        for _ in 0..100 {
            if Command::new("umount").arg(&self.at).output().unwrap().status.success() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}

struct Show {
    sandbox: Sandbox,
    promises: Promises,
    /// Copies of earlier states of the source.
    copies: u64,
}

impl Show {
    /// Another state of the source.
    fn change(&mut self, random: &mut Random) {
        for _ in 0..3 {
            let (name, seed) = (random.below(12), random.below(1000));
            let len = usize::try_from(random.below(60_000)).unwrap();
            fs::write(self.sandbox.src().join(name.to_string()), Random::new(seed).bytes(len)).unwrap();
        }
    }

    /// Copies the current source, for the snapshot that is made of it.
    fn copy(&mut self) -> PathBuf {
        self.copies += 1;
        let copy = self.sandbox.path("copies").join(self.copies.to_string());
        copy_tree(&self.sandbox.src(), &copy);
        copy
    }

    /// Runs until the power is cut. Returns what it has printed by then.
    fn run(&self, args: &[&str], cutter: &mut Cutter, disk: &Disk, moment: Duration) -> Option<Outcome> {
        let mut command = self.sandbox.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(moment);
        // Only what was printed by now was acknowledged before the power cut.
        let ended = child.try_wait().unwrap().is_some();
        cutter.cut(&disk.at);
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        ended.then(|| Outcome {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

#[test]
fn acknowledged_data_survives_power_cuts() {
    let mut sandbox = Sandbox::bare();
    sandbox.set_password(None);
    let (image, at) = (sandbox.path("image"), sandbox.path("repo"));
    let Some(disk) = Disk::make(image, at) else { return };
    let Some(mut cutter) = Cutter::start() else { return };
    sandbox.ok(&["init", "--no-encryption"]);
    fs::create_dir(sandbox.path("copies")).unwrap();
    let promises = Promises { source: sandbox.src(), name: "src".to_owned(), ..Promises::default() };
    let mut show = Show { sandbox, promises, copies: 0 };
    let mut random = Random::new(std::env::var("SNAP_TEST_SEED").map_or(1, |text| text.parse().unwrap()));
    show.change(&mut random);
    let (mut ends, mut acknowledged, mut whole) = (0, 0, 100_000);
    let cuts = if crate::support::is_long() { 300 } else { 12 };
    for number in 0..cuts {
        let ids: Vec<String> = show.promises.stand.keys().cloned().collect();
        let choice = random.below(6);
        let (args, forgets) = match choice {
            0 if ids.len() > 4 => (
                ["forget", "--allow-remove-all"].map(str::to_owned).to_vec(),
                Some(random.pick(&ids).clone()),
            ),
            1 => (["gc", "--empty-trash", "--max-unused", "0"].map(str::to_owned).to_vec(), None),
            _ => (["backup", "--json", "src"].map(str::to_owned).to_vec(), None),
        };
        let backs_up = args[0] == "backup";
        let copy = backs_up.then(|| {
            show.change(&mut random);
            show.copy()
        });
        let args: Vec<&str> = args.iter().map(String::as_str).chain(forgets.as_deref()).collect();
        let moment = Duration::from_micros(random.below(whole));
        let said = show.run(&args, &mut cutter, &disk, moment);
        assert!(disk.unmount(), "cut {number}: the disk does not let go");
        assert!(disk.mount(), "cut {number}: the disk cannot be mounted again");

        let story = format!("cut {number}, {args:?} after {moment:?}, {}", said.is_some());
        ends += u64::from(said.is_some());
        // As many cuts after the end as before it, on any machine.
        whole = if said.is_some() { whole * 9 / 10 } else { whole * 11 / 10 }.clamp(10_000, 2_000_000);
        // Local records may be ahead of the disk, which must not matter either.
        let sandbox = &show.sandbox;
        let before: Vec<&String> = show.promises.stand.keys().collect();
        let now = sandbox.snapshot_names();
        if let Some(id) = &forgets {
            let copy = show.promises.stand[id].clone();
            let promised = said.map(|said| said.expect(0)).is_some();
            assert!(!promised || !now.contains(id), "{story}: {id} is back");
            if !now.contains(id) {
                show.promises.stand.remove(id);
            }
            show.promises.may_stand = [(id.clone(), copy)].into();
        } else if let Some(copy) = copy {
            let made: Vec<String> = now.iter().filter(|id| !before.contains(id)).cloned().collect();
            let promised =
                said.and_then(|said| said.expect(0).summary()["snapshot_id"].as_str().map(str::to_owned));
            acknowledged += u64::from(promised.is_some());
            let gone = promised.filter(|id| !now.contains(id));
            assert!(gone.is_none(), "{story}: {gone:?} was acknowledged and is gone");
            for id in made {
                let path = sandbox.path("repo/snapshots").join(&id);
                if fs::read(&path).unwrap().starts_with(b"SNAPMF") {
                    show.promises.stand.insert(id, copy.clone());
                }
            }
        }
        let broken = show.promises.broken_now(&sandbox.path("repo"), &sandbox.path("out"));
        assert!(broken.is_empty(), "{story}: {broken:#?}");
        // Without any repair, the next run of each kind just runs, at random.
        if number % 5 == 4 {
            sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0"]);
        }
    }
    let last = show.sandbox.ok(&["gc", "--json", "--empty-trash", "--max-unused", "0"]).summary();
    assert_eq!(last["waiting_for"], serde_json::json!([]), "nobody is left");
    show.sandbox.assert_clean();
    println!("{cuts} cuts, {ends} after the end of the run, {acknowledged} snapshots acknowledged");
}
