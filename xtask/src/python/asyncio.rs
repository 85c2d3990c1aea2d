//! The lanes of the suites for asyncio: CPython's own, those of projects on asyncio, and Twisted's on asyncio's reactor.

use std::path::{Path, PathBuf};

use crate::context::{Context, output};
use crate::install::install;
use crate::machine::ring_allowed;
use crate::python::environment::{
    Environment, INTERPRETER, Requirements, fetch, fingerprint, folder, interpreter, kept,
    only_file, pip, unzip,
};
use crate::python::{CONFORMANCE, DEBUG, TESTS, not_windows, wheel};
use crate::runner::{Step, Stop, Tally};

/// The projects whose source packages have the tests. `requirements/suites.txt` has their versions.
const SOURCES: &[&str] = &["aiohttp", "anyio", "httpcore", "httpx", "uvicorn", "uvloop"];

/// Numbers of tests that pass on asyncio's own loop, rounded down. Fewer mean that tests did not run.
const MIXINS: &str = "140";
const MODULES: &str = "340";
const ON_ASYNCIOREACTOR: &str = "290";
const SHORT: &[(&str, &str)] = &[("uvloop", "226"), ("httpcore", "140")];
const LONG: &[(&str, &str)] = &[
    ("uvicorn", "1200"),
    ("httpx", "1200"),
    ("anyio", "900"),
    ("aiohttp", "1100"),
];

/// Our own tests of the loop that need no packages, for each Python of this machine.
const OWN: &[&str] = &[
    "test_asyncio_loop",
    "test_asyncio_debug",
    "test_asyncio_interface",
    "test_asyncio_streams",
    "test_asyncio_serving",
    "test_asyncio_sendfile",
    "test_asyncio_native_streams",
    "test_asyncio_stream_fallback",
    "test_asyncio_connecting",
    "test_asyncio_cancelling",
    "test_asyncio_sockets",
    "test_asyncio_descriptors",
    "test_asyncio_datagrams",
    "test_asyncio_pipes",
    "test_asyncio_child_streams",
];

/// Downloads all packages that these lanes need, and installs CPython's own tests.
pub(crate) fn ready(context: &Context) -> Result<(), Stop> {
    pytest(context)?;
    Requirements::read(context, "suites")?.downloaded(context)?;
    sources(context)?;
    own_tests(context)
}

/// Runs CPython's tests for every loop, on each port and with each Python of this machine, and its black-box tests; our
/// own tests, too, with the Pythons that the lane `python` does not use.
pub(crate) fn cpython(context: &Context) -> Result<Tally, Stop> {
    not_windows()?;
    own_tests(context)?;
    let path = search_path(context)?;
    let run = |python: &Path, suite: &str, least: &str| {
        on_loop(Step::new(context, python, &[CONFORMANCE, suite]), least).env("PYTHONPATH", &path)
    };
    let own = Path::new("python3");
    let mut tally = run(own, "mixins", MIXINS)
        .env("TIDEWAITER_PORT", "poll")
        .run(context)?;
    match ring_allowed() {
        Ok(()) => {
            tally += run(own, "mixins", MIXINS)
                .env("TIDEWAITER_PORT", "uring")
                .run(context)?;
        }
        Err(_) => println!("not on io_uring, which this machine does not allow"),
    }
    tally += run(own, "modules", MODULES).run(context)?;
    for python in other_pythons() {
        tally += run(&python, "mixins", MIXINS).run(context)?;
        tally += Step::new(context, &python, &[TESTS])
            .args(OWN)
            .env("PYTHONPATH", &path)
            .run(context)
            .and_then(Tally::at_least_one)?;
    }
    Ok(tally)
}

/// Runs the suites of projects on asyncio that take less than a minute each, and Twisted's on asyncio's reactor.
pub(crate) fn short_suites(context: &Context) -> Result<Tally, Stop> {
    not_windows()?;
    let python = environment(context)?;
    let mut tally = suites(context, &python, SHORT)?;
    let builder = python.python(context, &[CONFORMANCE, "builder", "asyncio"]);
    tally += builder
        .args(&["--loop", "tidewaiter", "--peer", "asyncio"])
        .args(&["--at-least", ON_ASYNCIOREACTOR])
        .run(context)?;
    Ok(tally)
}

/// Runs the suites of projects on asyncio that take minutes.
pub(crate) fn long_suites(context: &Context) -> Result<Tally, Stop> {
    not_windows()?;
    suites(context, &environment(context)?, LONG)
}

fn suites(context: &Context, python: &Environment, suites: &[(&str, &str)]) -> Result<Tally, Stop> {
    let sources = sources(context)?;
    let mut tally = Tally::default();
    for (suite, least) in suites {
        let step = python.python(context, &[CONFORMANCE, suite]);
        tally += on_loop(step, least)
            .args(&["--sources"])
            .path(&sources)
            .run(context)?;
    }
    Ok(tally)
}

/// Makes a suite run on our loop, and be judged by asyncio's own.
fn on_loop(step: Step, least: &str) -> Step {
    step.args(&["tidewaiter", "--peer", "asyncio", "--at-least", least])
}

fn environment(context: &Context) -> Result<Environment, Stop> {
    Environment::ready(context, "suites", Some(&wheel(context, DEBUG, None)?))
}

/// Where each Python finds pytest and our wheel, which are the same for all of them.
fn search_path(context: &Context) -> Result<std::ffi::OsString, Stop> {
    let wheel = wheel(context, DEBUG, None)?;
    let unpacked = folder(context, "unpacked-wheel");
    kept(&unpacked, &fingerprint(&wheel)?, || {
        unzip(context, &wheel, &unpacked)
    })?;
    std::env::join_paths([pytest(context)?, unpacked])
        .map_err(|error| Stop::Failed(error.to_string()))
}

/// A folder with pytest, for every Python and system.
pub(super) fn pytest(context: &Context) -> Result<PathBuf, Stop> {
    let requirements = Requirements::read(context, "pytest")?;
    let site = folder(context, "pytest-site");
    kept(&site, &requirements.text, || {
        let plain = ["install", "--no-deps", "--only-binary=:all:"];
        let step = pip(context, &plain)
            .args(&["--platform=any", "--target"])
            .path(&site)
            .args(&["--requirement"])
            .path(&requirements.file);
        fetch(context, step, "requirements/pytest.txt")
    })?;
    Ok(site)
}

/// Downloads the source packages that have the tests.
fn sources(context: &Context) -> Result<PathBuf, Stop> {
    source_packages(context, "suites", SOURCES)
}

/// The folder of uvloop's source package, unpacked, of the version that is measured.
pub(super) fn uvloops_source(context: &Context) -> Result<PathBuf, Stop> {
    let packed = only_file(&source_packages(context, "bench", &["uvloop"])?)?;
    let unpacked = folder(context, "uvloop-source");
    kept(&unpacked, &fingerprint(&packed)?, || {
        Step::new(context, INTERPRETER, &["-m", "tarfile", "--extract"])
            .path(&packed)
            .path(&unpacked)
            .run(context)
            .map(drop)
    })?;
    only_file(&unpacked)
}

/// Downloads the source packages of projects, in the versions that `requirements/LIST.txt` names.
fn source_packages(
    context: &Context,
    list: &'static str,
    projects: &[&str],
) -> Result<PathBuf, Stop> {
    let requirements = Requirements::read(context, list)?;
    let versions: Vec<&str> = requirements
        .text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|line| {
            projects
                .iter()
                .any(|name| line.split("==").next() == Some(name))
        })
        .collect();
    let key = format!("{}{}", interpreter(context)?, versions.join(" "));
    let sources = folder(context, &format!("{list}-sources"));
    kept(&sources, &key, || {
        let names = projects.join(",");
        let download = ["download", "--no-deps", "--no-binary", &names, "--dest"];
        let step = pip(context, &download).path(&sources).args(&versions);
        fetch(context, step, &format!("the sources of {names}"))
    })?;
    Ok(sources)
}

/// Ensures that `python3` has CPython's own tests, which Debian packages on their own.
pub(super) fn own_tests(context: &Context) -> Result<(), Stop> {
    let python = Path::new("python3");
    interpreter(context)?;
    if has_tests(python) {
        return Ok(());
    }
    let code = "import sys; print('libpython%d.%d-testsuite' % sys.version_info[:2])";
    let package = output("python3", &["-c", code]).unwrap_or_default();
    let package = package.trim();
    if context.install.is_some() {
        install(context, &[package])?;
    }
    if has_tests(python) {
        return Ok(());
    }
    Err(Stop::missing(
        "no package `test` of CPython's own tests",
        format!("apt-get install {package}"),
    ))
}

fn has_tests(python: &Path) -> bool {
    python
        .to_str()
        .is_some_and(|python| output(python, &["-c", "import test.test_asyncio.utils"]).is_some())
}

/// Pythons of other versions than `python3` that have CPython's own tests: on the path, and pyenv's.
fn other_pythons() -> Vec<PathBuf> {
    let minor = |python: &Path| {
        let code = "import sys; print(sys.version_info[1])";
        output(python.to_str()?, &["-c", code])?
            .trim()
            .parse::<u32>()
            .ok()
    };
    let own = minor(Path::new("python3"));
    let mut found = Vec::new();
    for version in 10..=14 {
        let name = format!("python3.{version}");
        let mut candidates = std::iter::once(PathBuf::from(&name)).chain(pyenv(&name));
        if Some(version) != own
            && let Some(python) =
                candidates.find(|python| minor(python) == Some(version) && has_tests(python))
        {
            found.push(python);
        }
    }
    found
}

/// The programs of this name in pyenv's versions.
fn pyenv(name: &str) -> Vec<PathBuf> {
    let root = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv"));
    let Some(versions) = root.or(home).map(|root| root.join("versions")) else {
        return Vec::new();
    };
    std::fs::read_dir(versions)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin").join(name)))
        .filter(|python| python.is_file())
        .collect()
}
