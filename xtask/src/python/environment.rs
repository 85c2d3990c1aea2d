//! Python environments below `target/python/`. Each is created again only when its inputs change.

use std::path::{Path, PathBuf};

use crate::context::{Context, output};
use crate::install;
use crate::runner::{Step, Stop};

/// The folder of the Python package.
pub(super) const CRATE: &str = "crates/tidewaiter-python";

/// The oldest Python that the package supports, as a tuple for Python to compare.
const OLDEST: &str = "(3, 10)";

/// The name of the system's Python.
pub(super) const INTERPRETER: &str = if cfg!(windows) { "python" } else { "python3" };

const DEBIAN_PACKAGES: &[&str] = &["python3", "python3-venv"];

/// The folder of the programs in an environment.
const PROGRAMS: &str = if cfg!(windows) { "Scripts" } else { "bin" };

/// A virtual environment of Python.
#[derive(Debug)]
pub(super) struct Environment {
    folder: PathBuf,
}

impl Environment {
    /// Creates an environment with the packages in `requirements/NAME.txt`, and with `wheel` if one is given. A
    /// different wheel leads to a fresh environment, but not to new downloads.
    pub(super) fn ready(
        context: &Context,
        name: &'static str,
        wheel: Option<&Path>,
    ) -> Result<Environment, Stop> {
        let version = interpreter(context)?;
        let requirements = Requirements::read(context, name)?;
        let downloads = requirements.downloaded(context)?;
        let environment = Environment {
            folder: folder(context, name),
        };
        let wheel_key = wheel.map_or(Ok(String::new()), fingerprint)?;
        let key = format!("{version}{}{wheel_key}", requirements.text);
        kept(&environment.folder, &key, || {
            environment.make(context, &requirements, &downloads, wheel)
        })?;
        Ok(environment)
    }

    fn make(
        &self,
        context: &Context,
        requirements: &Requirements,
        downloads: &Path,
        wheel: Option<&Path>,
    ) -> Result<(), Stop> {
        Step::new(context, INTERPRETER, &["-m", "venv"])
            .path(&self.folder)
            .run(context)?;
        let mut step = self
            .python(context, PIP)
            .args(&["install", "--no-index", "--find-links"])
            .path(downloads)
            .args(&["--requirement"])
            .path(&requirements.file);
        if let Some(wheel) = wheel {
            step = step.path(wheel);
        }
        step.run(context).map(drop)
    }

    /// A command that runs the environment's Python.
    pub(super) fn python(&self, context: &Context, arguments: &[&str]) -> Step {
        self.program(context, "python", arguments)
    }

    /// A command that runs a program of the environment.
    pub(super) fn program(&self, context: &Context, name: &str, arguments: &[&str]) -> Step {
        Step::new(context, self.folder.join(PROGRAMS).join(name), arguments)
    }

    pub(super) fn interpreter(&self) -> PathBuf {
        self.folder.join(PROGRAMS).join("python")
    }
}

/// A list of packages with their versions.
#[derive(Debug)]
pub(super) struct Requirements {
    name: &'static str,
    pub(super) file: PathBuf,
    pub(super) text: String,
}

impl Requirements {
    pub(super) fn read(context: &Context, name: &'static str) -> Result<Requirements, Stop> {
        let file = context
            .root
            .join(CRATE)
            .join("requirements")
            .join(format!("{name}.txt"));
        let text = std::fs::read_to_string(&file)
            .map_err(|error| Stop::Failed(format!("cannot read {}: {error}", file.display())))?;
        Ok(Requirements { name, file, text })
    }

    /// Downloads the packages into a folder, from which they can be installed without a network.
    pub(super) fn downloaded(&self, context: &Context) -> Result<PathBuf, Stop> {
        let key = format!("{}{}", interpreter(context)?, self.text);
        let downloads = folder(context, &format!("{}-downloads", self.name));
        kept(&downloads, &key, || {
            let download = ["download", "--dest"];
            let step = pip(context, &download)
                .path(&downloads)
                .args(&["--requirement"])
                .path(&self.file);
            fetch(context, step, &self.file.display().to_string())
        })?;
        Ok(downloads)
    }
}

const PIP: &[&str] = &["-m", "pip", "--quiet", "--disable-pip-version-check"];

/// A command that runs the system's pip, which can download without a virtual environment.
pub(super) fn pip(context: &Context, arguments: &[&str]) -> Step {
    Step::new(context, INTERPRETER, PIP).args(arguments)
}

/// Runs a step that needs PyPI. A failure counts as a missing network, which it nearly always is.
pub(super) fn fetch(context: &Context, step: Step, what: &str) -> Result<(), Stop> {
    step.run(context).map(drop).map_err(|_| {
        let remedy = "reach PyPI, or name a mirror in PIP_INDEX_URL";
        Stop::missing(format!("the packages of {what}"), remedy)
    })
}

/// Unpacks a zip file. A wheel is one.
pub(super) fn unzip(context: &Context, file: &Path, folder: &Path) -> Result<(), Stop> {
    Step::new(context, INTERPRETER, &["-m", "zipfile", "--extract"])
        .path(file)
        .path(folder)
        .run(context)
        .map(drop)
}

/// The path of a folder for Python below the target folder.
pub(super) fn folder(context: &Context, name: &str) -> PathBuf {
    context.target.join("python").join(name)
}

/// Ensures that a Python with `venv` is installed, and returns its version.
pub(super) fn interpreter(context: &Context) -> Result<String, Stop> {
    let check = format!("import ensurepip, sys, venv; assert sys.version_info >= {OLDEST}");
    let version = || {
        let code = format!("{check}; print(sys.version)");
        output(INTERPRETER, &["-c", &code])
    };
    if let Some(version) = version() {
        return Ok(version);
    }
    if context.install.is_some() {
        install::install(context, DEBIAN_PACKAGES)?;
    }
    version().ok_or_else(|| {
        Stop::missing(
            format!("no `{INTERPRETER}` with venv, version {OLDEST} or newer"),
            format!("apt-get install {}", DEBIAN_PACKAGES.join(" ")),
        )
    })
}

/// Empties `folder` and fills it by `make`, unless it was filled with the same `key` before.
pub(super) fn kept(
    folder: &Path,
    key: &str,
    make: impl FnOnce() -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mark = folder.with_extension("key");
    if folder.is_dir() && std::fs::read_to_string(&mark).is_ok_and(|text| text == key) {
        return Ok(());
    }
    emptied(folder)?;
    make()?;
    std::fs::write(&mark, key).map_err(|error| cannot_make(&mark, &error))
}

/// Creates `folder`, or empties it.
pub(super) fn emptied(folder: &Path) -> Result<(), Stop> {
    let outcome = match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::fs::create_dir_all(folder),
    };
    outcome.map_err(|error| cannot_make(folder, &error))
}

fn cannot_make(path: &Path, error: &std::io::Error) -> Stop {
    Stop::Failed(format!("cannot make {}: {error}", path.display()))
}

/// The only file or folder in `folder`.
pub(super) fn only_file(folder: &Path) -> Result<PathBuf, Stop> {
    let files: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    match files.as_slice() {
        [file] => Ok(file.clone()),
        _ => Err(Stop::Failed(format!(
            "{} has {} files instead of one",
            folder.display(),
            files.len()
        ))),
    }
}

/// A hash of the file's contents.
pub(super) fn fingerprint(file: &Path) -> Result<String, Stop> {
    use std::hash::{DefaultHasher, Hasher};

    let bytes = std::fs::read(file)
        .map_err(|error| Stop::Failed(format!("cannot read {}: {error}", file.display())))?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    Ok(format!("{:016x}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_kept_until_its_key_changes_or_filling_it_failed() {
        let folder = std::env::temp_dir().join(format!("tidewaiter-kept-{}", std::process::id()));
        let mut made = Vec::new();
        let mut make = |key: &str, outcome: Result<(), Stop>| {
            let result = kept(&folder, key, || {
                made.push(key.to_owned());
                outcome
            });
            result.is_ok()
        };
        assert!(make("a", Ok(())));
        assert!(make("a", Ok(())));
        assert!(!make("b", Err(Stop::Failed(String::new()))));
        assert!(make("b", Ok(())));
        assert!(make("b", Ok(())));
        assert_eq!(made, ["a", "b", "b"]);
        std::fs::remove_dir_all(&folder).expect("it was made");
        std::fs::remove_file(folder.with_extension("key")).expect("it was made");
    }
}
