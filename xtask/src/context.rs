//! The repository and the machine that a command runs on.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Paths of the repository, properties of the machine, and the right to install packages.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) root: PathBuf,
    /// Cargo's target directory. Each set of compiler flags builds into its own folder below it.
    pub(crate) target: PathBuf,
    /// The triple that plain `cargo build` builds for.
    pub(crate) host: String,
    /// A user at the terminal can press Ctrl-C.
    pub(crate) interactive: bool,
    /// A prefix for commands that install system packages, such as `sudo`; `None` if we must not install any.
    pub(crate) install: Option<&'static [&'static str]>,
}

impl Context {
    /// Collects the context. `install` allows installing system packages by `sudo`.
    pub(crate) fn find(install: bool) -> Result<Context, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .ok_or("xtask is not in a workspace")?
            .to_owned();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => root.join(folder),
            None => root.join("target"),
        };
        let host = output("rustc", &["-vV"])
            .as_deref()
            .and_then(|text| text.lines().find_map(|line| line.strip_prefix("host: ")))
            .ok_or("`rustc -vV` does not name its host")?
            .to_owned();
        let debian = Path::new("/etc/debian_version").exists();
        let superuser = output("id", &["-u"]).is_some_and(|id| id.trim() == "0");
        Ok(Context {
            root,
            target,
            host,
            interactive: std::io::stdin().is_terminal() && std::env::var_os("CI").is_none(),
            install: match (debian, superuser) {
                (true, true) => Some(&[]),
                (true, false) if install && has("sudo") => Some(&["sudo", "--non-interactive"]),
                _ => None,
            },
        })
    }
}

/// Standard output of a program, or `None` if it cannot be run or fails.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program is on the `PATH`.
pub(crate) fn has(program: &str) -> bool {
    let file = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(&file).is_file()))
}
