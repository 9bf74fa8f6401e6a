//! Forms that browsers send to `snap serve`: forgery is refused, and ticked entries are restored correctly.

use std::fs;
use std::process::Command;

use super::{Answer, Serving, signed_in};
use crate::support::Sandbox;

/// A signed-in browser.
pub(super) struct Visitor<'a> {
    pub(super) serving: &'a Serving,
    pub(super) cookie: String,
    pub(super) base: String,
    pub(super) csrf: String,
}

impl<'a> Visitor<'a> {
    /// Signs in with the printed address. `page` has a form.
    pub(super) fn new(serving: &'a Serving, page: &str) -> Self {
        let (cookie, base) = signed_in(&serving.ask("GET", &format!("/?token={}", serving.once), "", b""));
        let mut visitor = Self { serving, cookie, base, csrf: String::new() };
        let text = visitor.get(page).text();
        let Some((_, rest)) = text.split_once("name=\"csrf\" value=\"") else { panic!("no form: {text}") };
        visitor.csrf = rest.split('"').next().unwrap().to_owned();
        visitor
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.serving.ask("GET", &format!("{}{path}", self.base), &self.cookie, b"")
    }

    /// Sends a form as a page of this server does.
    pub(super) fn post(&self, path: &str, form: &str) -> Answer {
        let origin = format!("http://{}", self.serving.address);
        self.post_from(&origin, path, &format!("csrf={}&{form}", self.csrf))
    }

    fn post_from(&self, origin: &str, path: &str, form: &str) -> Answer {
        let lines =
            format!("{}Origin: {origin}\r\nContent-Type: application/x-www-form-urlencoded\r\n", self.cookie);
        self.serving.ask("POST", &format!("{}{path}", self.base), &lines, form.as_bytes())
    }

    /// Attempts that pages of other sites, and programs, may make with a form. Each is refused.
    pub(super) fn assert_forgeries_are_refused(&self, path: &str, form: &str) {
        let (csrf, at) = (&self.csrf, format!("{}{path}", self.base));
        let own = format!("http://{}", self.serving.address);
        let whole = format!("csrf={csrf}&{form}");
        let other = "A".repeat(43);
        for (origin, body) in [
            (own.as_str(), form.to_owned()),
            (&own, format!("csrf=&{form}")),
            (&own, format!("csrf={other}&{form}")),
            ("null", whole.clone()),
            ("http://evil.example", whole.clone()),
            ("http://127.0.0.1:1", whole.clone()),
            ("", whole.clone()),
            (&format!("{own}.evil.example"), whole.clone()),
            (&format!("{own}\r\nOrigin: {own}"), whole.clone()),
        ] {
            assert_eq!(self.post_from(origin, path, &body).status, 403, "{origin} {body}");
        }
        let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
        let by_token = format!("{}Origin: {own}\r\n{kind}", self.serving.key);
        for (method, lines, status) in [
            ("POST", format!("{}{kind}", self.cookie), 403),
            ("POST", by_token, 403),
            ("POST", format!("Origin: {own}\r\n{kind}"), 401),
            ("POST", format!("{}Origin: {own}\r\nContent-Type: text/plain\r\n", self.cookie), 415),
            ("PUT", format!("{}Origin: {own}\r\n{kind}", self.cookie), 405),
        ] {
            assert_eq!(self.serving.ask(method, &at, &lines, whole.as_bytes()).status, status, "{lines}");
        }
        let by_get = self.get(&format!("{path}?csrf={csrf}&{form}"));
        // A page with at most this name.
        assert!([200, 404].contains(&by_get.status), "{}", by_get.head);
    }
}

/// Returns the members of a tar.gz or zip, unpacked by other programs.
fn unpacked(sandbox: &Sandbox, name: &str, bytes: &[u8]) -> Vec<String> {
    let (file, dir) = (sandbox.path(name), sandbox.path(&format!("{name}.out")));
    fs::write(&file, bytes).unwrap();
    fs::create_dir(&dir).unwrap();
    let done = if name.ends_with("zip") {
        Command::new("python3").args(["-m", "zipfile", "-e"]).args([&file, &dir]).status()
    } else {
        Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(&dir).status()
    };
    assert!(done.unwrap().success(), "{name}");
    let files = crate::support::files_below(&dir);
    let mut found: Vec<String> = files
        .iter()
        .filter(|path| path.is_file())
        .map(|path| {
            let name = path.strip_prefix(&dir).unwrap().display().to_string();
            format!("{name}={}", fs::read_to_string(path).unwrap())
        })
        .collect();
    found.sort();
    found
}

#[test]
fn ticked_entries_give_an_archive_or_a_restore_command() {
    let sandbox = Sandbox::with_tree(&[("dir/a", "1"), ("dir/sub/b", "2"), ("it's [x]*", "3"), ("no", "4")]);
    let id = sandbox.backup(&[]);
    let serving = Serving::start(&sandbox, &[]);
    let list = format!("/s/{id}/src");
    let visitor = Visitor::new(&serving, &list);
    let pick = format!("/pick/{id}/src");
    visitor.assert_forgeries_are_refused(&pick, "e=dir&as=zip");
    for (form, status) in [
        ("as=zip", 400),
        ("e=dir", 400),
        ("e=dir&as=else", 400),
        ("e=..&as=zip", 400),
        ("e=dir%252Fa&as=zip", 400),
        ("e=&as=zip", 400),
        ("e=none&as=zip", 404),
        ("e=dir&e=none&as=restore", 404),
    ] {
        assert_eq!(visitor.post(&pick, form).status, status, "{form}");
    }
    assert_eq!(visitor.post("/pick/0123/src", "e=dir&as=zip").status, 404);
    let chosen = "e=dir&e=it%2527s+%255Bx%255D*";
    let wanted = ["dir/a=1", "dir/sub/b=2", "it's [x]*=3"];
    for (form, name, kind) in [("zip", "x.zip", "application/zip"), ("tar", "x.tar.gz", "application/gzip")] {
        let answer = visitor.post(&pick, &format!("{chosen}&as={form}"));
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(kind)), "{}", answer.text());
        assert!(answer.header("content-disposition").unwrap().starts_with("attachment; filename=\"src."));
        assert_eq!(unpacked(&sandbox, name, &answer.body), wanted, "{form}");
    }
    let whole = visitor.get(&format!("/zip/{id}/src/dir"));
    assert_eq!(unpacked(&sandbox, "whole.zip", &whole.body), ["a=1", "sub/b=2"]);
    assert_eq!(visitor.get(&format!("/zip/{id}/src/no")).status, 404, "a file is no archive");
    // The page of a file leads to the same.
    let own = visitor.get(&format!("/s/{id}/src/dir/a")).text();
    let at = format!("action=\"{}/pick/{id}/src/dir\"", visitor.base);
    assert!(own.contains(&at) && own.contains("name=\"e\" value=\"a\""), "{own}");
    let page = visitor.post(&pick, &format!("{chosen}&as=restore")).text();
    let line = page.split("<code>snap -r ").nth(1).unwrap().split("</code>").next().unwrap();
    let line = line.replace("&#39;", "'").replace("&amp;", "&").replace("&quot;", "\"");
    // The command on the page, except for the name of the program.
    let program = sandbox.bin();
    let script = format!("exec \"$0\" -r {line}");
    let mut bash = Command::new("bash");
    bash.arg("-c").arg(&script).arg(program.get_program()).current_dir(sandbox.path("."));
    bash.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    assert!(bash.status().unwrap().success(), "{script}");
    let restored = sandbox.path("restored");
    assert!(crate::support::compare_trees(&sandbox.src().join("dir"), &restored.join("dir")).is_empty());
    assert_eq!(fs::read_to_string(restored.join("it's [x]*")).unwrap(), "3");
    assert!(!restored.join("no").exists());
}

#[test]
fn login_leads_to_the_requested_page() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let id = sandbox.backup(&[]);
    let serving = Serving::start(&sandbox, &[]);
    let wanted = format!("/s/{id}/src?sort=size");
    let refused = serving.ask("GET", &wanted, "", b"");
    let text = refused.text();
    assert!(refused.status == 401 && text.contains(&format!("name=\"next\" value=\"{wanted}\"")), "{text}");
    let policy = refused.header("content-security-policy").unwrap();
    assert!(policy.contains("style-src 'sha256-") && !policy.contains("unsafe"), "{policy}");
    let login = |next: &str| {
        let body = format!("next={next}&token={}", serving.token);
        let answer = serving.ask("POST", "/login", "", body.as_bytes());
        assert_eq!(answer.status, 303, "{}", answer.text());
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
        (answer.header("location").unwrap().to_owned(), format!("Cookie: {cookie}\r\n"))
    };
    let (to, cookie) = login(&wanted.replace('?', "%3F").replace('=', "%3D"));
    assert!(to.ends_with(&wanted), "{to}");
    assert_eq!(serving.ask("GET", &to, &cookie, b"").status, 200);
    // Signed out, and redirected to the login at the same address.
    let base = to.split("/s/").next().unwrap();
    serving.ask("POST", &format!("{base}/logout"), &cookie, b"");
    let again = serving.ask("GET", &to, &cookie, b"");
    assert!(again.status == 401 && again.text().contains(&wanted), "{}", again.text());
    for odd in ["https://evil.example/", "//evil.example/%0d%0aX: y", "evil", ""] {
        let (to, _) = login(odd);
        assert!(to.starts_with(base) && !to.contains("X: y"), "{odd}: {to}");
    }
    // One browser signs another one out.
    let visitor = Visitor::new(&serving, "/logins");
    visitor.assert_forgeries_are_refused("/logins", "end=1");
    let (other, cookie) = login("");
    assert_eq!(serving.ask("GET", &other, &cookie, b"").status, 200);
    let page = visitor.get("/logins").text();
    let newest = page.split("Sign out login ").nth(1).unwrap().split('"').next().unwrap();
    assert!(page.contains("this browser") && visitor.post("/logins", "end=x").status == 400);
    assert_eq!(visitor.post("/logins", &format!("end={newest}")).status, 303);
    assert_eq!(serving.ask("GET", &other, &cookie, b"").status, 401);
    assert_eq!(visitor.get("/logins").status, 200);
    let wrong = serving.ask("POST", "/login", "", format!("next={wanted}&token=x").as_bytes());
    assert!(wrong.status == 401 && wrong.text().contains("This is neither the token"));
}

#[test]
fn overview_reloads_and_shows_overdue_sets() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let source = sandbox.src().display().to_string();
    fs::write(
        sandbox.path("snap.toml"),
        format!(
            "[repositories.main]\nlocation = \"repo\"\n[defaults]\nrepository = \"main\"\nmax-age = \"1h\"\n\
             [sets.notes]\nsources = [\"{source}\"]\n[sets.photos]\nsources = [\"{source}/a\"]\n"
        ),
    )
    .unwrap();
    sandbox.ok(&["backup", "--set", "notes"]);
    let serving = Serving::start(&sandbox, &[]);
    let answer = serving.get("/");
    let text = answer.text();
    for piece in ["notes", "photos", "Of 2 sets, 1 is late.", "✓", "Late", "No good backup yet", "Next run"]
    {
        assert!(text.contains(piece), "no {piece}: {text}");
    }
    assert_eq!(answer.header("refresh"), Some("60;url=/?auto=on"));
    assert_eq!(serving.get("/?refresh=off").header("refresh"), None);
    assert_eq!(serving.get("/snapshots").header("refresh"), None);
}

/// Waits for the job to which a response leads, and returns its page.
fn job(visitor: &Visitor<'_>, answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{}", answer.text());
    let to = answer.header("location").unwrap().strip_prefix(&visitor.base).unwrap().to_owned();
    let mut page = String::new();
    super::until("the end of a job", || {
        let answer = visitor.get(&to);
        page = answer.text();
        assert!(!page.contains("Running") || answer.header("refresh").is_some(), "{page}");
        !page.contains("Running")
    });
    page
}

#[test]
fn a_restore_goes_to_a_new_directory_in_the_allowed_one_only() {
    let sandbox = Sandbox::with_tree(&[("dir/a", "1"), ("dir/b", "2"), ("c", "3")]);
    let id = sandbox.backup(&[]);
    let target = sandbox.path("target");
    fs::create_dir_all(target.join("there")).unwrap();
    std::os::unix::fs::symlink(sandbox.src(), target.join("link")).unwrap();
    sandbox.snap(&["serve", "--allow", "forget"]).expect(2);
    sandbox.snap(&["serve", "--allow", "restore=none"]).expect(1);
    sandbox.snap(&["serve", "--allow", "restore=repo"]).expect_one_of(&[1, 2]);
    let list = format!("/s/{id}/src");
    let at = format!("/restore/{id}/src/dir");
    let closed = Serving::start(&sandbox, &[]);
    let refused = Visitor::new(&closed, &list).post(&at, "whole=on&to=new");
    assert!(refused.status == 403 && refused.text().contains("--allow restore"), "{}", refused.text());
    drop(closed);
    let serving = Serving::start(&sandbox, &["--allow", &format!("restore={}", target.display())]);
    let visitor = Visitor::new(&serving, &list);
    visitor.assert_forgeries_are_refused(&at, "whole=on&to=new");
    for (to, status) in [
        ("..", 400),
        ("..%2Fescaped", 400),
        ("%2Ftmp%2Fescaped", 400),
        ("a%2F..%2F..%2Fescaped", 400),
        (".profile", 400),
        ("a%00b", 400),
        ("", 400),
        ("there", 409),
        ("link", 409),
    ] {
        assert_eq!(visitor.post(&at, &format!("whole=on&to={to}")).status, status, "{to}");
    }
    assert_eq!(visitor.post(&at, "to=new").status, 400, "nothing was ticked");
    assert_eq!(visitor.post(&format!("/restore/{id}/src/none"), "whole=on&to=new").status, 404);
    assert_eq!(fs::read_dir(&target).unwrap().count(), 2, "what was refused made nothing");
    assert!(!sandbox.path("escaped").exists() && sandbox.src().join("c").exists());
    let page = job(&visitor, &visitor.post(&at, "e=a&to=new"));
    assert!(page.contains("✓ Done") && page.contains("1 file"), "{page}");
    assert_eq!(fs::read_to_string(target.join("new/a")).unwrap(), "1");
    assert!(!target.join("new/b").exists());
    assert_eq!(visitor.post(&at, "e=a&to=new").status, 409, "it is there now");
    assert!(visitor.get("/jobs").text().contains("Restore of"));
}

#[test]
fn page_runs_a_set_if_allowed_and_not_with_the_schedule() {
    let sandbox = Sandbox::with_tree(&[("a", "1")]);
    let config = format!(
        "[repositories.main]\nlocation = \"repo\"\n[sets.notes]\nrepository = \"main\"\nsources = [\"{}\"]\n",
        sandbox.src().display()
    );
    fs::write(sandbox.path("snap.toml"), config).unwrap();
    sandbox.backup(&[]);
    sandbox.write(&[("a", "22")]);
    let serving = Serving::start(&sandbox, &["--allow", "run"]);
    let visitor = Visitor::new(&serving, "/");
    visitor.assert_forgeries_are_refused("/run", "set=notes&what=backup");
    for (form, status) in [("set=notes&what=forget", 400), ("set=none&what=backup", 400), ("what=check", 400)]
    {
        assert_eq!(visitor.post("/run", form).status, status, "{form}");
    }
    assert_eq!(visitor.post(&format!("/restore/{}/src", "0".repeat(32)), "whole=on&to=x").status, 404);
    assert_eq!(sandbox.snapshot_names().len(), 1, "nothing has run");
    let page = job(&visitor, &visitor.post("/run", "set=notes&what=backup"));
    assert!(page.contains("✓ Done") && page.contains("backup of set notes"), "{page}");
    assert_eq!(sandbox.snapshot_names().len(), 2);
    let is_lock = |path: &std::path::PathBuf| {
        path.file_name().unwrap().to_string_lossy().starts_with("repository-") && path.extension().is_some()
    };
    let lock = crate::support::files_below(&sandbox.state()).into_iter().find(is_lock).unwrap();
    let held = fs::File::options().write(true).open(lock).unwrap();
    held.lock().unwrap();
    let busy = visitor.post("/run", "set=notes&what=check");
    assert!(
        busy.status == 409 && busy.text().contains("is using the repository of this set"),
        "{}",
        busy.text()
    );
}
