//! Compiles the C side against the system's libuv or, for Windows, against a libuv that this compiles too.

use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCES: [&str; 5] = [
    "src/servers.c",
    "src/datagrams.c",
    "src/pipes.c",
    "src/clocks.c",
    "src/children.c",
];

fn main() {
    let includes = match variable("CARGO_CFG_WINDOWS") {
        Some(_) => compile_libuv(&bundled()),
        None => installed(),
    };
    compiler()
        .files(SOURCES)
        .includes(includes)
        .include("../native/include")
        .warnings(true)
        .extra_warnings(true)
        .compile("bench-libuv-side");
    if variable("CARGO_CFG_WINDOWS").is_some() {
        link_windows();
    }
    let headers = ["src/shared.h", "../native/include/bench.h"];
    for source in SOURCES.iter().chain(&headers) {
        println!("cargo::rerun-if-changed={source}");
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn compiler() -> cc::Build {
    let mut compiler = cc::Build::new();
    compiler.opt_level(3);
    compiler
}

/// Finds the system's libuv; returns the folders of its headers.
fn installed() -> Vec<PathBuf> {
    pkg_config::Config::new()
        .atleast_version("1.40")
        .probe("libuv")
        .expect("libuv is installed: on Debian it is libuv1-dev")
        .include_paths
}

/// The folder of the libuv source in the crate `libuv-sys2`. We do not use the crate's own build, because it cannot
/// cross-compile.
fn bundled() -> PathBuf {
    let cargo = variable("CARGO").expect("cargo runs this");
    let told = Command::new(cargo)
        .args(["metadata", "--format-version=1"])
        .output()
        .expect("cargo runs");
    let told: serde_json::Value =
        serde_json::from_slice(&told.stdout).expect("cargo tells what this depends on");
    let packages = told["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|package| package["name"] == "libuv-sys2")
        .find_map(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.expect("the crate is among the dependencies"));
    manifest.with_file_name("libuv")
}

/// Compiles libuv with the settings of its own build for Windows; returns the folders of its headers.
fn compile_libuv(source: &Path) -> Vec<PathBuf> {
    let mut compiler = compiler();
    compiler
        .include(source.join("include"))
        .include(source.join("src"))
        .define("_WIN32_WINNT", "0x0A00")
        .define("WIN32_LEAN_AND_MEAN", None)
        .define("_CRT_DECLARE_NONSTDC_NAMES", "0")
        .flag_if_supported("-fno-strict-aliasing")
        .warnings(false);
    for folder in [source.join("src"), source.join("src/win")] {
        let files = folder.read_dir().expect("the crate has this folder");
        let files = files.map(|file| file.expect("it can be read").path());
        compiler.files(files.filter(|file| file.extension().is_some_and(|end| end == "c")));
    }
    compiler.compile("uv");
    vec![source.join("include")]
}

/// Links libuv and the libraries that it needs. They follow it, because the linker reads them only once.
fn link_windows() {
    let libraries = [
        "uv", "psapi", "user32", "advapi32", "iphlpapi", "userenv", "ws2_32", "dbghelp", "ole32",
        "shell32",
    ];
    for library in libraries {
        println!("cargo::rustc-link-lib={library}");
    }
}
