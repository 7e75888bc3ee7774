//! `prism login` over TLS, with a browser that fills in the form.

use crate::cli::{Said, command, perseat};
use crate::harness::browser::Browser;
use crate::harness::daemon::{Daemon, Setup};
use crate::harness::within;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const PASSWORD: &str = "a password of ann's";

/// Somebody at their machine: prism without any token, and a browser that believes the daemon's certificate.
struct Machine {
    daemon: Daemon,
    home: tempfile::TempDir,
    certificate: PathBuf,
    browser: Browser,
}

impl Machine {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let (certificate, key) = (home.path().join("cert.pem"), home.path().join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let setup = Setup::new()
            .set("tls.cert", certificate.display().to_string())
            .set("tls.key", key.display().to_string());
        let daemon = Daemon::start(setup);
        let trusted = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
        let link = perseat(
            &daemon,
            &["user", "create-owner", "--email", "ann@acme.example", "--organization", "Acme"],
        );
        let port = daemon.address("api").port();
        let link = link.lines().last().unwrap().to_owned();
        assert!(
            link.starts_with(&format!("https://127.0.0.1:{port}/auth/password?token=")),
            "{link}"
        );
        let mut browser = Browser::new(&[trusted]);
        let page = browser.open(&link).await;
        let done = browser
            .submit(&page, "/auth/password", &[("password", PASSWORD), ("again", PASSWORD)])
            .await;
        assert_eq!(done.status, 200, "{}", done.html);
        Self {
            daemon,
            home,
            certificate,
            browser,
        }
    }

    fn prism(&self, arguments: &[&str]) -> Command {
        let mut command = command(self.home.path());
        command
            .args(arguments)
            .env("NO_PROXY", "127.0.0.1,localhost")
            .env("NODE_EXTRA_CA_CERTS", &self.certificate)
            .env("PRISMATIC_URL", format!("https://{}", self.daemon.address("api")));
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        let output = self.prism(arguments).output().unwrap();
        Said {
            is_ok: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            error: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Signs in as `prism login --url` asks.
    async fn login(&mut self) {
        let mut child = self
            .prism(&["login", "--url"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let url = lines.by_ref().find(|line| line.contains("/authorize?"));
        let url = url.expect("prism names a page");
        let page = self.browser.open(url.trim()).await;
        let filled_in = [("address", "ann@acme.example"), ("password", PASSWORD)];
        let sent = self.browser.submit(&page, "/authorize", &filled_in).await;
        assert_eq!(sent.status, 303, "{}", sent.html);
        self.browser.open(sent.location().as_str()).await;
        let rest: Vec<String> = lines.collect();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{rest:?} {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
async fn somebody_logs_in_with_a_password_and_out_again() {
    let mut machine = Machine::new().await;
    assert!(machine.run(&["me"]).refused().contains("Not authenticated"));
    machine.login().await;
    let me = machine.run(&["me"]);
    assert!(me.ok().contains("Acme") && me.out.contains("ann@acme.example"), "{}", me.out);
    machine.run(&["customers:create", "--name", "Globex"]).ok();
    assert!(machine.run(&["login"]).ok().contains("Already logged in"));
    assert!(machine.run(&["login:switch"]).ok().contains("only tenant"));
    let token = machine.run(&["me:token"]).ok().to_owned();
    assert_eq!(token.split('.').count(), 3, "{token}");
    let refresh = machine.run(&["me:token", "--type", "refresh"]).ok().to_owned();
    assert!(refresh.starts_with("prt_"), "{refresh}");
    let refreshed = machine.prism(&["me"]).env("PRISM_REFRESH_TOKEN", &refresh).output().unwrap();
    assert!(refreshed.status.success(), "{}", String::from_utf8_lossy(&refreshed.stderr));

    machine.run(&["me:token:revoke", "--no-confirm"]).ok();
    let with = |variable: &str, value: &str| {
        let output = machine.prism(&["customers:list"]).env(variable, value).output().unwrap();
        output.status.success()
    };
    assert!(!with("PRISM_ACCESS_TOKEN", &token), "a revoked session's token is refused");
    assert!(!with("PRISM_REFRESH_TOKEN", &refresh));
    machine.run(&["me"]).refused();

    machine.login().await;
    machine.run(&["logout"]).ok();
    machine.run(&["me"]).refused();

    machine.login().await;
    let (opened, programs) = (machine.home.path().join("opened"), machine.home.path().join("programs"));
    std::fs::create_dir(&programs).unwrap();
    let browser = programs.join("xdg-open");
    let script = format!("#!/bin/sh\necho \"$1\" > {0}.new && /bin/mv {0}.new {0}\n", opened.display());
    std::fs::write(&browser, script).unwrap();
    std::fs::set_permissions(&browser, std::fs::Permissions::from_mode(0o755)).unwrap();
    let left = machine.prism(&["logout", "--browser"]).env("PATH", &programs).output().unwrap();
    assert!(left.status.success(), "{}", String::from_utf8_lossy(&left.stderr));
    let url = within("the browser", async {
        let mut look = tokio::time::interval(std::time::Duration::from_millis(10));
        loop {
            look.tick().await;
            if let Ok(url) = std::fs::read_to_string(&opened) {
                return url;
            }
        }
    });
    let url = url.await;
    assert!(url.contains("/logout?"), "{url}");
    let page = machine.browser.open(url.trim()).await;
    assert!([200, 303].contains(&page.status), "{} {}", page.status, page.html);
    machine.run(&["me"]).refused();
}
