//! The Windows lane on another system: Rust's Windows target, mingw to link, Wine to run.

use std::path::{Path, PathBuf};

use crate::context::{Context, output};
use crate::install::{self, Tool};
use crate::runner::{Step, Stop};

/// The target whose linker, mingw, exists on every system.
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

/// Debian's toolchain for browsers: recent enough, and with the standard library's source.
const DEBIAN_RUST: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

const DEBIAN_CARGO: &str = "/usr/bin/cargo";

/// A lane that is ready to build and run Windows programs.
#[derive(Debug)]
pub(crate) struct Wine {
    prefix: PathBuf,
    std: Library,
}

/// Where the Windows standard library comes from.
#[derive(Debug)]
enum Library {
    /// rustup's target.
    Prebuilt,
    /// Where that cannot be had: built by Debian's toolchain, from its source package.
    FromSource,
}

impl Wine {
    /// Sets up whatever is still missing.
    pub(crate) fn ready(context: &Context) -> Result<Wine, Stop> {
        if cfg!(windows) {
            return Err(Stop::Foreign(
                "Windows runs these tests without Wine".to_owned(),
            ));
        }
        install::tools(context, TOOLS)?;
        let std = library(context)?;
        let wine = Wine {
            prefix: context.target.join("windows").join("prefix"),
            std,
        };
        wine.make_prefix(context)?;
        wine.add_randomness(context)?;
        Ok(wine)
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

    /// Makes a command that calls cargo, or is it, build for Windows.
    pub(crate) fn compiler(&self, step: Step) -> Step {
        match self.std {
            Library::Prebuilt => step,
            // Debian's names are not in front of rustup's on the path, hence the folders.
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
        // CPython for Windows does not start here with a file as standard error.
        let step = Step::new(context, "wine", &[])
            .path(program)
            .args(arguments)
            .errors_piped();
        self.environment(step)
    }

    /// Ends what a test may have left running in the prefix, and the server itself.
    pub(crate) fn stop(&self, context: &Context) {
        self.environment(Step::new(context, "wineserver", &["--kill"]))
            .succeeds();
    }

    /// Has a command, and what it starts, use this prefix.
    pub(crate) fn environment(&self, step: Step) -> Step {
        // Without Mono and Gecko nothing asks to download them.
        step.env("WINEPREFIX", &self.prefix)
            .env("WINEDEBUG", "-all")
            .env("WINEDLLOVERRIDES", "mscoree,mshtml=")
    }

    fn make_prefix(&self, context: &Context) -> Result<(), Stop> {
        if self.prefix.join("system.reg").is_file() {
            return Ok(());
        }
        make_folder(&self.prefix)?;
        self.environment(Step::new(context, "wineboot", &["--init"]))
            .run(context)?;
        // The registry is written when the server ends.
        self.environment(Step::new(context, "wineserver", &["--wait"]))
            .run(context)?;
        Ok(())
    }

    /// Rust's standard library imports `bcryptprimitives.dll`, which Wine before 9 lacks.
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

/// Whether Debian's compiler is there, with the source of its library.
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
