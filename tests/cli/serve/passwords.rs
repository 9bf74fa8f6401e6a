//! The password of the page: who sets it, what it admits, and how often it may be guessed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::{Answer, Serving, base64, signed_in};
use crate::support::Sandbox;

const PASSWORD: &str = "correct horse";

fn login(serving: &Serving, password: &str) -> Answer {
    let form = format!("next=/search&token={}", password.replace(' ', "+"));
    serving.ask("POST", "/login", "", form.as_bytes())
}

fn set(sandbox: &Sandbox, password: &str) -> std::process::Output {
    fs::write(sandbox.path("new"), format!("{password}\n")).unwrap();
    crate::support::chmod(&sandbox.path("new"), 0o600);
    let new = sandbox.path("new");
    sandbox.bin().args(["serve", "passwd", "--new-password-file"]).arg(new).output().unwrap()
}

#[test]
fn only_the_form_takes_passwords_and_ten_wrong_ones_wait() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    assert_eq!(set(&sandbox, "too short").status.code(), Some(2));
    let done = set(&sandbox, PASSWORD);
    assert!(done.status.success(), "{done:?}");
    let file = sandbox.state().join("serve-password");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(&file).unwrap().contains("horse"), "it is kept as a hash");
    let serving = Serving::start(&sandbox, &[]);
    let answer = login(&serving, PASSWORD);
    let to = answer.header("location").unwrap().to_owned();
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap();
    assert_eq!(serving.ask("GET", &to, &format!("Cookie: {cookie}\r\n"), b"").status, 200);
    // It is valid for nothing else.
    let basic = format!("Authorization: Basic {}\r\n", base64(&format!("me:{PASSWORD}")));
    let bearer = format!("Authorization: Bearer {PASSWORD}\r\n");
    for lines in [basic, bearer, format!("Cookie: snap-session={PASSWORD}\r\n")] {
        assert_eq!(serving.ask("GET", "/", &lines, b"").status, 401, "{lines}");
    }
    assert_eq!(serving.ask("GET", "/?token=correct+horse", "", b"").status, 401);
    // Ten guesses, and no more, even right ones.
    for number in 0..10 {
        assert_eq!(login(&serving, &format!("wrong horse {number}")).status, 401, "{number}");
    }
    let refused = login(&serving, PASSWORD);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(refused.status == 429 && (1..=31).contains(&wait), "{}", refused.head);
    assert!(refused.header("set-cookie").is_none() && refused.text().contains("name=\"token\""));
    // The token is not a guess, and is accepted at any time.
    signed_in(&serving.ask("POST", "/login", "", format!("token={}", serving.token).as_bytes()));
}

#[test]
fn removed_or_exposed_password_file_admits_nobody() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    sandbox.backup(&[]);
    let serving = Serving::start(&sandbox, &[]);
    assert_eq!(login(&serving, PASSWORD).status, 401, "there is none");
    assert!(set(&sandbox, PASSWORD).status.success());
    assert_eq!(login(&serving, PASSWORD).status, 303, "a server that runs takes it");
    let file = sandbox.state().join("serve-password");
    crate::support::chmod(&file, 0o644);
    assert_eq!(login(&serving, PASSWORD).status, 401);
    let refused = sandbox.bin().args(["-r", "repo", "serve"]).output().unwrap();
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && why.contains("chmod 600"), "{why}");
    // A planted link is replaced, and not followed.
    let victim = sandbox.path("victim");
    fs::write(&victim, "precious").unwrap();
    fs::remove_file(&file).unwrap();
    symlink(&victim, &file).unwrap();
    assert!(set(&sandbox, PASSWORD).status.success());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(login(&serving, PASSWORD).status, 303);
    sandbox.ok(&["serve", "passwd", "--remove"]);
    assert_eq!(login(&serving, PASSWORD).status, 401);
    sandbox.ok(&["serve", "passwd", "--remove"]);
}
