//! Installs programs, Debian packages, Rust targets, components and toolchains.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::context::{Context, has, output};
use crate::runner::{Step, Stop};

/// A program that a lane calls, and the Debian packages that contain it.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    pub(crate) packages: &'static [&'static str],
}

/// Ensures that these programs are installed, by Debian packages if we may install them.
pub(crate) fn tools(context: &Context, tools: &[Tool]) -> Result<(), Stop> {
    let absent: Vec<&Tool> = tools.iter().filter(|tool| !has(tool.program)).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = absent
        .iter()
        .flat_map(|tool| tool.packages)
        .copied()
        .collect();
    if context.install.is_some() {
        install(context, &packages)?;
    }
    match absent.iter().find(|tool| !has(tool.program)) {
        None => Ok(()),
        Some(tool) => Err(Stop::missing(
            format!("no `{}`", tool.program),
            format!("apt-get install {}", packages.join(" ")),
        )),
    }
}

/// Installs Debian packages, if we have the right to.
pub(crate) fn install(context: &Context, packages: &[&str]) -> Result<(), Stop> {
    let Some(as_root) = context.install else {
        let remedy = format!("as root: apt-get install {}", packages.join(" "));
        return Err(Stop::missing("the right to install packages", remedy));
    };
    let apt = |arguments: &[&str]| {
        let words = [
            as_root,
            &["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"],
        ];
        let words = words.concat();
        Step::new(context, words[0], &words[1..])
            .args(arguments)
            .run(context)
    };
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], packages].concat())?;
    Ok(())
}

/// Ensures that the toolchain can build for `target`.
pub(crate) fn rust_target(target: &str) -> Result<(), Stop> {
    let installed = || {
        output("rustc", &["--print", "target-libdir", "--target", target])
            .is_some_and(|folder| Path::new(folder.trim()).is_dir())
    };
    if !installed() {
        rustup(&["target", "add", target])?;
    }
    if installed() {
        return Ok(());
    }
    Err(Stop::missing(
        format!("no Rust target {target}"),
        format!("rustup target add {target}"),
    ))
}

/// Ensures that the toolchain has a component, whose program is `program`.
pub(crate) fn component(name: &str, program: &str) -> Result<(), Stop> {
    let works = || output(program, &["--version"]).is_some();
    if !works() {
        rustup(&["component", "add", name])?;
    }
    if works() {
        return Ok(());
    }
    Err(Stop::missing(
        format!("no {name}"),
        format!("rustup component add {name}"),
    ))
}

/// Ensures that a toolchain other than the default one is installed.
pub(crate) fn toolchain(name: &str) -> Result<(), Stop> {
    let works = || output("rustup", &["run", name, "cargo", "--version"]).is_some();
    if !works() {
        rustup(&["toolchain", "install", name, "--profile", "minimal"])?;
    }
    if works() {
        return Ok(());
    }
    Err(Stop::missing(
        format!("no Rust {name}"),
        format!("rustup toolchain install {name}"),
    ))
}

/// Runs rustup, which needs the network. Prints why it failed, and succeeds all the same: the caller checks what is
/// still missing.
pub(crate) fn rustup(arguments: &[&str]) -> Result<(), Stop> {
    if !has("rustup") {
        return Err(Stop::missing(
            format!("no rustup to run `rustup {}`", arguments.join(" ")),
            "https://rustup.rs",
        ));
    }
    println!("$ rustup {}", arguments.join(" "));
    let run = Command::new("rustup")
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    match run {
        Ok(output) if output.status.success() => {}
        Ok(output) => println!("{}", last_line(&String::from_utf8_lossy(&output.stderr))),
        Err(error) => println!("cannot start rustup: {error}"),
    }
    Ok(())
}

/// The last line that has text: rustup ends with its error.
fn last_line(errors: &str) -> &str {
    let text = errors.lines().rev().find(|line| !line.trim().is_empty());
    text.unwrap_or("rustup failed and did not say why")
}
