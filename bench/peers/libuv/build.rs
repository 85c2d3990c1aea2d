//! Compiles the C side, and links the system's libuv.

fn main() {
    let libuv = pkg_config::Config::new()
        .atleast_version("1.40")
        .probe("libuv")
        .expect("libuv is installed: on Debian it is libuv1-dev");
    let sources = ["src/servers.c", "src/clocks.c", "src/children.c"];
    cc::Build::new()
        .files(sources)
        .includes(&libuv.include_paths)
        .include("../native/include")
        .warnings(true)
        .extra_warnings(true)
        .opt_level(3)
        .compile("bench-libuv-side");
    for source in sources
        .iter()
        .chain(&["src/shared.h", "../native/include/bench.h"])
    {
        println!("cargo::rerun-if-changed={source}");
    }
}
