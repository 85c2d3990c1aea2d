//! Windows lanes on other systems: Rust's Windows target, mingw as the linker, and Wine to run the programs.

use std::path::{Path, PathBuf};

use crate::context::{Context, has, output};
use crate::install::{self, Tool};
use crate::runner::{Step, Stop};

/// A target whose linker, mingw, is available on all systems.
pub(crate) const TARGET: &str = "x86_64-pc-windows-gnu";

const TOOLS: &[Tool] = &[
    Tool {
        program: "wine",
        packages: &["wine", "wine64"],
    },
    Tool {
        program: "x86_64-w64-mingw32-gcc",
        packages: &["gcc-mingw-w64-x86-64"],
    },
];

/// The file that a prefix has once it is made.
const REGISTRY: &str = "system.reg";

/// So long the Wine server waits for another program: the lanes stop it before, unless they are interrupted.
const LINGER_SECONDS: u32 = 120;

/// Debian's toolchain for building browsers, which is recent enough and includes the source of the standard library.
const DEBIAN_RUST: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// Everything that builds and runs Windows programs.
#[derive(Debug)]
pub(crate) struct Wine {
    prefix: PathBuf,
    std: Library,
}

/// The origin of the standard library for Windows.
#[derive(Debug)]
enum Library {
    /// rustup installed the target.
    Prebuilt,
    /// rustup cannot install the target: Debian's toolchain builds the library from its source package.
    FromSource,
}

/// Parts of Windows that Wine lacks, and what the tests check in their place.
const LACKING: &[(&str, &str)] = &[
    (
        "wait completion packets",
        "ends of children through the system's thread pool",
    ),
    (
        "limits of jobs, which Wine forgets",
        "that each of them is refused",
    ),
    ("new sizes of pseudo-consoles", "that a change is refused"),
    (
        "the release of a pseudo-console, from Windows 11 24H2 on",
        "its close, as on older versions",
    ),
    (
        "sockets that another process has made, as sockets",
        "such sockets as files",
    ),
    (
        "resets, which Wine tells as ends of file",
        "that one of the two is told",
    ),
];

/// Prints what the tests under Wine do not show about Windows.
pub(crate) fn tell_lacking() {
    println!("Wine lacks parts of Windows. The tests check instead:");
    for (part, instead) in LACKING {
        println!("  {part}: {instead}");
    }
}

impl Wine {
    /// Installs everything that is still missing.
    pub(crate) fn ready(context: &Context) -> Result<Wine, Stop> {
        if cfg!(windows) {
            return Err(Stop::Foreign(
                "Windows runs these tests without Wine".to_owned(),
            ));
        }
        install::tools(context, TOOLS)?;
        let wine = Wine {
            prefix: prefix(context),
            std: library(context)?,
        };
        wine.make_prefix(context)?;
        wine.add_randomness(context)?;
        wine.start(context);
        Ok(wine)
    }

    /// Returns the tools and the prefix that earlier commands made ready, or `None` if a part is missing.
    pub(crate) fn found(context: &Context) -> Option<Wine> {
        let found =
            TOOLS.iter().all(|tool| has(tool.program)) && prefix(context).join(REGISTRY).is_file();
        found.then(|| library(context).ok())?.map(|std| Wine {
            prefix: prefix(context),
            std,
        })
    }

    /// Starts the Wine server, if it does not run. Otherwise it would end soon after each program, and reset the
    /// connection of the next one if that begins just then.
    fn start(&self, context: &Context) {
        let persistent = format!("--persistent={LINGER_SECONDS}");
        self.environment(Step::new(context, "wineserver", &[&persistent]))
            .succeeds();
    }

    /// A cargo command whose programs run under Wine.
    pub(crate) fn cargo(&self, context: &Context, arguments: &[&str]) -> Step {
        let step = match self.std {
            Library::Prebuilt => Step::cargo(context, arguments),
            Library::FromSource => Step::new(context, DEBIAN_CARGO, arguments),
        };
        self.environment(self.compiler(step))
            .args(&["--target", TARGET])
            .env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", "wine")
    }

    /// Makes a command that is cargo, or that calls it, build for Windows.
    pub(crate) fn compiler(&self, step: Step) -> Step {
        match self.std {
            Library::Prebuilt => step,
            // rustup's programs come first on the path, so name Debian's by their full paths.
            Library::FromSource => step
                .args(&["-Zbuild-std"])
                .env("CARGO", DEBIAN_CARGO)
                .env("RUSTC", "/usr/bin/rustc")
                .env("RUSTDOC", "/usr/bin/rustdoc")
                .env("RUSTC_BOOTSTRAP", "1"),
        }
    }

    /// Runs a Windows program.
    pub(crate) fn program(&self, context: &Context, program: &Path, arguments: &[&str]) -> Step {
        // CPython for Windows does not start under Wine if its standard error is a file.
        let step = Step::new(context, "wine", &[])
            .path(program)
            .args(arguments)
            .errors_piped();
        self.environment(step)
    }

    /// The place of a link to a terminal of this system, which Wine then takes for the serial port with this name.
    pub(crate) fn serial_port(&self, name: &str) -> PathBuf {
        self.prefix.join("dosdevices").join(name)
    }

    /// Ends the Wine server, and with it every program that a test has left running in the prefix.
    pub(crate) fn stop(&self, context: &Context) {
        self.environment(Step::new(context, "wineserver", &["--kill"]))
            .succeeds();
    }

    /// Makes a command, and its children, use this prefix.
    pub(crate) fn environment(&self, step: Step) -> Step {
        // The overrides disable Mono and Gecko, which Wine would offer to download.
        step.env("WINEPREFIX", &self.prefix)
            .env("WINEDEBUG", "-all")
            .env("WINEDLLOVERRIDES", "mscoree,mshtml=")
    }

    fn make_prefix(&self, context: &Context) -> Result<(), Stop> {
        if self.prefix.join(REGISTRY).is_file() {
            return Ok(());
        }
        make_folder(&self.prefix)?;
        self.environment(Step::new(context, "wineboot", &["--init"]))
            .run(context)?;
        // The server writes the registry when it exits.
        self.environment(Step::new(context, "wineserver", &["--wait"]))
            .run(context)?;
        Ok(())
    }

    /// Adds `bcryptprimitives.dll`, which Rust's standard library imports and Wine before version 9 lacks.
    fn add_randomness(&self, context: &Context) -> Result<(), Stop> {
        let library = self
            .prefix
            .join("drive_c/windows/system32/bcryptprimitives.dll");
        if library.is_file() {
            return Ok(());
        }
        let source = context.root.join("xtask/windows/bcryptprimitives.c");
        let compile = ["-shared", "-O2", "-Wall", "-Werror", "-o"];
        Step::new(context, "x86_64-w64-mingw32-gcc", &compile)
            .args(&[text(&library)?, text(&source)?, "-ladvapi32"])
            .run(context)?;
        Ok(())
    }
}

fn prefix(context: &Context) -> PathBuf {
    context.target.join("windows").join("prefix")
}

fn library(context: &Context) -> Result<Library, Stop> {
    let Err(missing) = install::rust_target(TARGET) else {
        return Ok(Library::Prebuilt);
    };
    if !debian_rust() && context.install.is_some() {
        install::install(context, DEBIAN_RUST)?;
    }
    if debian_rust() {
        Ok(Library::FromSource)
    } else {
        Err(missing)
    }
}

/// Whether Debian's compiler is installed, with the source of the standard library.
fn debian_rust() -> bool {
    output("/usr/bin/rustc", &["--print", "sysroot"]).is_some_and(|sysroot| {
        Path::new(sysroot.trim())
            .join("lib/rustlib/src/rust/library/std")
            .is_dir()
            && Path::new(DEBIAN_CARGO).is_file()
    })
}

fn make_folder(folder: &Path) -> Result<(), Stop> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Stop::Failed(format!("cannot make {}: {error}", folder.display())))
}

fn text(path: &Path) -> Result<&str, Stop> {
    path.to_str()
        .ok_or_else(|| Stop::Failed(format!("{} is not Unicode", path.display())))
}
