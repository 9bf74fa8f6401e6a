//! Scarce resources (open files, memory, threads, file sizes), readers that close early, and signals.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{Outcome, Random, Sandbox, finish};

/// Returns the program under a tool that limits it; `None` without the tool.
fn limited(sandbox: &Sandbox, tool: &[&str], args: &[&str]) -> Option<Outcome> {
    let inner = sandbox.command(args);
    let mut command = Command::new(tool[0]);
    command.args(&tool[1..]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().current_dir(sandbox.path(""));
    inner.get_envs().filter_map(|(name, value)| Some((name, value?))).for_each(|(name, value)| {
        command.env(name, value);
    });
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    if Command::new(tool[0]).arg("--version").output().is_err() {
        crate::support::skipped(&format!("no {}", tool[0]));
        return None;
    }
    Some(finish(command, b""))
}

/// Many small files, and one that is cut into many chunks.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::open();
    for dir in 0..20 {
        let below = sandbox.src().join(format!("d{dir}"));
        fs::create_dir(&below).unwrap();
        (0..50).for_each(|file| fs::write(below.join(file.to_string()), format!("{dir} {file}")).unwrap());
    }
    fs::write(sandbox.src().join("big"), Random::new(5).bytes(40 << 20)).unwrap();
    sandbox
}

#[test]
fn few_open_files_little_memory_and_one_processor_are_enough() {
    for tool in [
        &["prlimit", "--nofile=64"][..],
        &["prlimit", "--as=1073741824"],
        &["taskset", "1"],
        &["nice", "-n", "19"],
    ] {
        let sandbox = sandbox();
        for args in [
            &["backup", "src"][..],
            &["backup", "--full", "--allow-empty", "src"],
            &["check", "--read-data"],
            &["forget", "latest~1"],
            &["gc", "--empty-trash", "--max-unused", "0"],
            &["restore", "latest", "--target", "out"],
        ] {
            let Some(outcome) = limited(&sandbox, tool, args) else { return };
            assert_eq!(outcome.code, 0, "{tool:?} {args:?}: {}", outcome.all());
        }
        crate::support::assert_same(&sandbox.src(), &sandbox.path("out/src"));
    }
}

/// If there is too little, it is reported, and existing data stays.
#[test]
fn scarce_resources_are_reported_and_harm_nothing() {
    let sandbox = sandbox();
    let kept = sandbox.backup(&[]);
    fs::write(sandbox.src().join("big"), Random::new(6).bytes(40 << 20)).unwrap();
    for (tool, words) in [
        (&["prlimit", "--fsize=1000000"][..], "File too large"),
        (&["prlimit", "--nofile=5"], "Too many open files"),
    ] {
        let Some(outcome) = limited(&sandbox, tool, &["backup", "src"]) else { return };
        assert_eq!(outcome.code, 1, "{tool:?}: {}", outcome.all());
        assert!(outcome.stderr.contains(words), "{tool:?}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("panicked"), "{tool:?}: {}", outcome.stderr);
        assert_eq!(sandbox.snapshot_names(), [kept.clone()].into());
        sandbox.assert_clean();
    }
    sandbox.backup(&[]);
    sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0"]);
    sandbox.assert_clean();
    sandbox.assert_restores("latest", &sandbox.src());
}

/// A user who already has too many processes: this is reported, and no run hangs.
#[test]
fn too_few_threads_are_reported_before_the_run() {
    let sandbox = sandbox();
    let kept = sandbox.backup(&[]);
    let owned = Command::new("chown").args(["-R", "4242:4242"]).arg(sandbox.path("")).status();
    let user = ["setpriv", "--reuid", "4242", "--regid", "4242", "--clear-groups"];
    let may_run =
        Command::new(user[0]).args(&user[1..]).args([env!("CARGO_BIN_EXE_snap"), "--version"]).output();
    if !owned.is_ok_and(|status| status.success()) || !may_run.is_ok_and(|output| output.status.success()) {
        return crate::support::skipped("only root can run the program as another user, who may reach it");
    }
    for most in [1, 2, 3, 5, 8] {
        let most = format!("--nproc={most}");
        let tool = [&["timeout", "-k", "1", "60"][..], &user, &["prlimit", &most]].concat();
        let Some(outcome) = limited(&sandbox, &tool, &["backup", "--full", "src"]) else { return };
        assert_eq!(outcome.code, 1, "{most}: {}", outcome.all());
        assert!(outcome.stderr.contains("cannot start the threads"), "{most}: {}", outcome.stderr);
        assert!(!outcome.stderr.contains("panicked"), "{most}: {}", outcome.stderr);
    }
    assert_eq!(sandbox.snapshot_names(), [kept].into());
}

/// With less and less address space, threads, caches and buffers are refused at different places. The run
/// then reports it, or the allocator ends it with the exit code of an error. No run waits for a thread that
/// never started, and existing data stays.
#[test]
fn runs_never_panic_or_harm_with_little_memory() {
    let sandbox = Sandbox::open();
    fs::write(sandbox.src().join("big"), Random::new(5).bytes(4 << 20)).unwrap();
    sandbox.backup(&[]);
    for (round, mebibytes) in [60_u64, 100, 150, 220, 300, 420, 600, 900].into_iter().enumerate() {
        fs::write(sandbox.src().join("big"), Random::new(round as u64).bytes(4 << 20)).unwrap();
        let limit = format!("--as={}", mebibytes << 20);
        let tool = ["timeout", "-k", "1", "60", "prlimit", &limit];
        for args in [
            &["backup", "src"][..],
            &["restore", "latest", "--target", "out"],
            &["export", "latest", "--format", "tar.gz", "-o", "out.tar.gz", "--force"],
            &["check", "--read-data"],
        ] {
            let Some(outcome) = limited(&sandbox, &tool, args) else { return };
            let told = format!("{mebibytes} MiB, {args:?}: {} {}", outcome.code, outcome.stderr);
            // 127: the program could not even be loaded.
            assert!([0, 1, 127].contains(&outcome.code), "{told}");
            // If the standard library has no memory for a thread's signal stack, it panics itself.
            let mut panics = outcome.stderr.lines().filter(|line| line.contains("panicked at"));
            assert!(panics.all(|line| line.contains("panicked at /rustc/")), "{told}");
        }
    }
    sandbox.assert_clean();
    sandbox.backup(&["--allow-empty"]);
    sandbox.assert_restores("latest", &sandbox.src());
}

#[test]
fn closed_output_pipe_is_no_failure() {
    let sandbox = sandbox();
    sandbox.backup(&[]);
    for args in [
        &["snapshots"][..],
        &["snapshots", "--json"],
        &["ls", "-R", "latest"],
        &["ls", "-R", "latest", "--json"],
        &["cat", "latest:src/big"],
        &["export", "latest"],
        &["stats"],
        &["diff", "latest", "latest"],
        &["check"],
        &["backup", "--allow-empty", "src"],
        &["gc"],
        &["--help"],
    ] {
        // Closed before the first output, and after it.
        for wanted in [0, 10] {
            let mut command = sandbox.command(args);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut out = child.stdout.take().unwrap();
            out.read_exact(&mut vec![0; wanted]).ok();
            drop(out);
            let mut stderr = String::new();
            child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?} | head -c {wanted}: {stderr}");
            assert!(!stderr.contains("panicked") && !stderr.contains("roken pipe"), "{args:?}: {stderr}");
        }
    }
    sandbox.assert_clean();
}

/// A backup that has stored something and waits for more, and is then sent these signals.
fn signalled(sandbox: &Sandbox, signals: &[&str]) -> Outcome {
    let mut command = sandbox.command(&["backup", "--stdin"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&Random::new(7).bytes(40_000_000)).unwrap();
    for signal in signals {
        let sent = Command::new("kill").args([*signal, &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        // The second signal must not be mistaken for the first.
        std::thread::sleep(Duration::from_millis(200));
    }
    // A process that received the signal stops at the next bytes.
    let _ = input.write_all(&[1; 1 << 20]);
    drop(input);
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_signal_ends_a_backup_with_130_and_leaves_nothing_behind() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        // Under nohup the signal is ignored.
        let ignored = fs::read_to_string("/proc/self/status").unwrap();
        let ignored = ignored.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
        if signal == "-HUP" && u64::from_str_radix(ignored, 16).unwrap() & 1 != 0 {
            crate::support::skipped("these tests run under nohup: SIGHUP is not tried");
            continue;
        }
        let sandbox = Sandbox::open();
        let outcome = signalled(&sandbox, &[signal]);
        assert_eq!(outcome.code, 130, "{signal}: {}", outcome.all());
        assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
        assert_eq!(sandbox.objects("sessions"), Vec::<std::path::PathBuf>::new(), "{signal}");
        sandbox.assert_clean();
        sandbox.write(&[("a", "1")]);
        let made = sandbox.backup(&[]);
        sandbox.assert_restores(&made, &sandbox.src());
        sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0"]);
        sandbox.assert_clean();
    }
}

#[test]
fn second_signal_ends_at_once_and_the_next_run_works() {
    let sandbox = Sandbox::open();
    let outcome = signalled(&sandbox, &["-INT", "-INT"]);
    assert_eq!(outcome.code, 130, "{}", outcome.all());
    sandbox.write(&[("a", "1")]);
    let made = sandbox.backup(&[]);
    sandbox.assert_restores(&made, &sandbox.src());
    let report = sandbox.ok(&["gc", "--json", "--empty-trash", "--max-unused", "0"]).summary();
    assert_eq!(report["waiting_for"], serde_json::json!([]));
    sandbox.assert_clean();
}

/// Signals at any moment of a run over many files: it exits with 130 and saves what it has, or is done.
#[test]
fn signal_at_any_moment_leaves_a_usable_repository() {
    let sandbox = sandbox();
    let mut random = Random::new(3);
    for round in 0..if crate::support::is_long() { 100 } else { 8 } {
        fs::write(sandbox.src().join("big"), Random::new(round + 50).bytes(8 << 20)).unwrap();
        let mut command = sandbox.command(&["backup", "src"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        std::thread::sleep(Duration::from_micros(random.below(200_000)));
        let signal = *random.pick(&["-INT", "-TERM", "-HUP"]);
        let _ = Command::new("kill").args([signal, &child.id().to_string()]).stderr(Stdio::null()).status();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        // Before it handles signals, one ends it like any program, without an exit code.
        assert!(
            matches!(output.status.code(), Some(0 | 130) | None),
            "{signal}: {:?} {stderr}",
            output.status
        );
        assert!(!stderr.contains("panicked"), "{stderr}");
        sandbox.ok(&["backup", "src"]);
        sandbox.assert_restores("latest", &sandbox.src());
    }
    sandbox.ok(&["gc", "--empty-trash", "--max-unused", "0"]);
    sandbox.assert_clean();
}
