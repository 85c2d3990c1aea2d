//! Compiles the C++ side; Boost.Asio and Boost.Process are headers.

fn main() {
    let sources = ["src/servers.cpp", "src/clocks.cpp", "src/children.cpp"];
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .files(sources)
        .include("../native/include")
        .warnings(true)
        .extra_warnings(true)
        .opt_level(3)
        .compile("bench-asio-side");
    for source in sources
        .iter()
        .chain(&["src/shared.hpp", "../native/include/bench.h"])
    {
        println!("cargo::rerun-if-changed={source}");
    }
}
