//! Daemons that inetd would start, with their own clients. The lane `daemons` installs them; without them, these tests
//! have nothing to do.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::{Server, field, tidewaiter};

/// Long enough for every client: one that hangs fails.
const SECONDS: &str = "60";

/// A folder for the files of one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("tidewaiter-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("it is new");
        Folder(path)
    }

    /// The path of a file in the folder, as text.
    fn at(&self, name: &str) -> String {
        let path = self.0.join(name);
        path.to_str().expect("it is text").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Leftovers lie in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn serve(command: &[&str]) -> Server {
    let mut server = tidewaiter();
    server.args(["serve", "-v", "--inetd", "127.0.0.1:0", "--"]);
    server.args(command).env("GIT_CONFIG_GLOBAL", "/dev/null");
    Server::run(server)
}

/// Runs a client, and returns what it printed.
fn run(command: &[&str]) -> Output {
    let output = Command::new("timeout")
        .arg(SECONDS)
        .args(command)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output();
    output.expect("it can be started")
}

/// As [`run`], for a client that succeeds.
fn printed(command: &[&str]) -> String {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).expect("it is text")
}

/// The numbers of our user and group.
fn ids() -> (u32, u32) {
    let user = rustix::process::geteuid().as_raw();
    (user, rustix::process::getegid().as_raw())
}

#[test]
fn git_daemon_lists_and_clones() {
    if !is_installed("git") {
        return;
    }
    let folder = Folder::new("git");
    let (repository, copy) = (folder.at("repository"), folder.at("copy"));
    let git = |arguments: &[&str]| {
        let us = ["-c", "user.name=us", "-c", "user.email=us@localhost"];
        printed(&[&["git", "-C", &repository], &us[..], arguments].concat())
    };
    printed(&["git", "init", "--quiet", &repository]);
    fs::write(folder.at("repository/file"), "content\n").expect("it can be written");
    git(&["add", "file"]);
    git(&["commit", "--quiet", "--message", "a file"]);
    let commit = git(&["rev-parse", "HEAD"]);
    let base = format!("--base-path={}", folder.at(""));
    let server = serve(&["git", "daemon", "--inetd", "--export-all", &base]);
    let url = format!("git://{}/repository", server.address);
    let listed = printed(&["git", "ls-remote", &url, "HEAD"]);
    assert_eq!(listed.split_whitespace().next(), Some(commit.trim()));
    printed(&["git", "clone", "--quiet", &url, &copy]);
    let content = fs::read(folder.at("copy/file")).expect("it was cloned");
    assert_eq!(content, b"content\n");
    for _ in 0..2 {
        let line = server.await_line("connection ended");
        assert!(line.contains("exit=\"exit code 0\""), "{line}");
    }
}

/// Method: the module may be used from our address alone, so the daemon must ask for its peer.
#[test]
fn rsync_daemon_knows_its_client_and_transfers_both_ways() {
    if !is_installed("rsync") {
        return;
    }
    let folder = Folder::new("rsync");
    let config = folder.at("rsyncd.conf");
    let (user, group) = ids();
    let module = |name: &str, allowed: &str| {
        fs::create_dir_all(folder.at("module")).expect("it can be made");
        let path = folder.at("module");
        format!(
            "[{name}]\npath = {path}\nread only = no\nuse chroot = no\nuid = {user}\ngid = {group}\n\
             hosts allow = {allowed}\n"
        )
    };
    let modules = module("ours", "127.0.0.1") + &module("others", "192.0.2.1");
    fs::write(&config, modules).expect("it can be written");
    let config_option = format!("--config={config}");
    let server = serve(&["rsync", "--daemon", &config_option]);
    let url = format!("rsync://{}/", server.address);
    let listed = printed(&["rsync", &url]);
    assert!(listed.starts_with("ours"), "{listed}");
    let content = vec![b'r'; 3 << 20];
    fs::write(folder.at("sent"), &content).expect("it can be written");
    let ours = url.clone() + "ours/";
    printed(&["rsync", "--whole-file", &folder.at("sent"), &ours]);
    printed(&["rsync", &(ours + "sent"), &folder.at("received")]);
    let received = fs::read(folder.at("received")).expect("it was transferred");
    assert!(received == content);
    let refused = run(&["rsync", &(url + "others/")]);
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(message.contains("access denied to others"), "{message}");
}

/// Makes a pair of keys, and returns the public one.
fn make_key(file: &str) -> String {
    printed(&["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file]);
    let key = fs::read_to_string(file.to_owned() + ".pub").expect("it was made");
    let words: Vec<&str> = key.split_whitespace().take(2).collect();
    words.join(" ")
}

#[test]
fn sshd_lets_its_user_in_and_knows_where_from() {
    const SSHD: &str = "/usr/sbin/sshd";
    if !Path::new(SSHD).exists() || !is_installed("ssh") {
        return;
    }
    if ids().0 == 0 {
        // The packages' services make it. As root, sshd does not start without it.
        fs::create_dir_all("/run/sshd").expect("root may");
    }
    let folder = Folder::new("ssh");
    let (host, user) = (folder.at("host"), folder.at("user"));
    let host_key = make_key(&host);
    fs::write(folder.at("authorized"), make_key(&user)).expect("it can be written");
    let authorized = format!("AuthorizedKeysFile={}", folder.at("authorized"));
    let sshd = [SSHD, "-i", "-e", "-f", "/dev/null", "-h", &host];
    // The folder for temporary files is everybody's.
    let options = ["-o", &authorized, "-o", "StrictModes=no", "-o", "UsePAM=no"];
    let server = serve(&[&sshd[..], &options].concat());

    let port = server.address.port().to_string();
    let scanned = printed(&[
        "ssh-keyscan",
        "-T",
        SECONDS,
        "-t",
        "ed25519",
        "-p",
        &port,
        "127.0.0.1",
    ]);
    assert!(scanned.contains(&host_key), "{scanned}");
    fs::write(folder.at("known"), scanned).expect("it can be written");
    server.await_line("connection ended");

    let name = printed(&["id", "-un"]);
    let known = format!("UserKnownHostsFile={}", folder.at("known"));
    let client = [
        "ssh",
        "-F",
        "none",
        "-i",
        &user,
        "-p",
        &port,
        "-l",
        name.trim(),
    ];
    let options = [
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "BatchMode=yes",
        "-o",
        &known,
    ];
    let told = ["127.0.0.1", "echo $SSH_CONNECTION"];
    let connection = printed(&[&client[..], &options, &told].concat());
    let line = server.await_line("connection ended");
    let (ip, own) = field(&line, "peer").split_once(':').expect("an address");
    assert_eq!(connection, format!("{ip} {own} 127.0.0.1 {port}\n"));
}
