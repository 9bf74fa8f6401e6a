//! Servers whose certificate is signed by a private authority.
#![cfg(feature = "rest")]
#![allow(clippy::unwrap_used)]

use crate::support::far::Far;
use crate::support::finish;
use crate::support::servers::Server;

/// A file of `tests/support/tls`: `authority` signed `server` and `client`, which also contain their private
/// keys.
fn file(name: &str) -> String {
    format!("{}/tests/support/tls/{name}.pem", env!("CARGO_MANIFEST_DIR"))
}

fn far(server: &Server) -> Far {
    Far::new(|_| (format!("rest:{}/me/repo/", server.url().replace("http:", "https:")), Vec::new()))
}

#[test]
fn private_authority_is_trusted_if_named_or_in_the_system() {
    let (server, authority) = (file("server"), file("authority"));
    let Some(server) = Server::rclone_rest(false, &["--cert", &server, "--key", &server]) else { return };
    let far = far(&server);
    let run = |code: u8, args: &[&str], variable: (&str, &str)| {
        let mut command = far.command(args);
        command.env(variable.0, variable.1);
        finish(command, b"").expect(code.into())
    };
    let nobody = ("SNAP_CACERT", "");
    let said = run(1, &["init"], nobody).stderr;
    assert!(said.contains("its certificate is not trusted") && said.contains("--cacert"), "{said}");
    run(0, &["init", "--cacert", &authority], nobody);
    run(0, &["backup", "src"], ("SNAP_CACERT", &authority));
    run(0, &["check"], ("SSL_CERT_FILE", &authority));
    let said = run(1, &["check"], ("SSL_CERT_FILE", "/nonexistent")).stderr;
    assert!(said.contains("not trusted"), "{said}");
    let mistake = run(2, &["check", "--cacert", "src/a"], nobody).stderr;
    assert!(mistake.contains("src/a contains no certificate in PEM format"), "{mistake}");
    run(1, &["check", "--cacert", "missing"], nobody);

    let config = format!("[repositories.nas]\nlocation = \"{}\"\ncacert = \"{authority}\"\n", far.url);
    std::fs::write(far.sandbox.path("snap.toml"), config).unwrap();
    for (args, variable) in [
        (&["--config", "snap.toml", "-r", "nas", "check"][..], nobody),
        (&["restic", "-r", &far.url, "--cacert", &authority, "snapshots"], nobody),
        (&["restic", "-r", &far.url, "snapshots"], ("RESTIC_CACERT", &authority)),
    ] {
        let mut command = far.sandbox.bin();
        command.args(args).env(variable.0, variable.1);
        command.env("RESTIC_PASSWORD", crate::support::PASSWORD);
        finish(command, b"").expect(0);
    }
}

#[test]
fn server_that_asks_for_a_certificate_gets_one() {
    let (server, client, authority) = (file("server"), file("client"), file("authority"));
    let asks = ["--cert", &server, "--key", &server, "--client-ca", &authority];
    let Some(server) = Server::rclone_rest(false, &asks) else { return };
    let far = far(&server);
    far.snap(&["init", "--cacert", &authority]).expect(1);
    far.snap(&["init", "--cacert", &authority, "--tls-client-cert", &client]).expect(0);
    let said = far.snap(&["check", "--cacert", &authority, "--tls-client-cert", &authority]).expect(2).stderr;
    assert!(said.contains("authority.pem contains no private key in PEM format"), "{said}");
}
