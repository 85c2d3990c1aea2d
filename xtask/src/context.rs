//! Where we are, and what we may do here.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The repository, the machine, and our rights on it.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) root: PathBuf,
    /// Cargo's target directory; each set of compiler flags has a folder of its own below it.
    pub(crate) target: PathBuf,
    /// The triple that plain `cargo build` builds for.
    pub(crate) host: String,
    /// Someone sits at the terminal and can press Ctrl-C.
    pub(crate) interactive: bool,
    /// System packages may be installed, with this in front of the command.
    pub(crate) install: Option<&'static [&'static str]>,
}

impl Context {
    /// Looks around. `install` asks for system packages even where that takes `sudo`.
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

/// What a program printed, if it could be run and succeeded.
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

/// Whether `PATH` holds this program.
pub(crate) fn has(program: &str) -> bool {
    let file = format!("{program}{}", std::env::consts::EXE_SUFFIX);
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(&file).is_file()))
}
