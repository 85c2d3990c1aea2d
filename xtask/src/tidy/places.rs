//! Things that are allowed only in certain files: unsafe code, conditions on the OS, clocks and others.

use proc_macro2::{TokenStream, TokenTree};

use super::Breach;
use super::source::{Source, each_level, is_path_separator, is_punct, is_word, line_of, words};

const LIBRARY: &str = "crates/tidewaiter/src/";

/// The folders in which the library calls the OS. Only there it may contain unsafe code.
const OS_FOLDERS: &[&str] = &[
    "crates/tidewaiter/src/os/",
    "crates/tidewaiter/src/port/",
    "crates/tidewaiter/src/process/",
];

/// Benchmarks with unsafe code: the bare io_uring, system calls for several datagrams, libraries in C and C++, and the
/// system calls that measure a process on Windows.
const BENCHMARKS: &[&str] = &[
    "bench/peers/asio/",
    "bench/peers/bare-epoll/src/datagrams.rs",
    "bench/peers/bare-uring/",
    "bench/peers/common/src/system/windows.rs",
    "bench/peers/libuv/",
    "bench/peers/native/",
];

/// Files in which the Python package promises what the compiler cannot check: how Python's functions for contexts are
/// called and found, how Python ends threads, what the interpreter lock protects, and which sockets Python has handed over.
const PYTHON_PROMISES: &[&str] = &[
    "crates/tidewaiter-python/src/core/context.rs",
    "crates/tidewaiter-python/src/core/exits.rs",
    "crates/tidewaiter-python/src/core/lock.rs",
    "crates/tidewaiter-python/src/core/sockets.rs",
    "crates/tidewaiter-python/src/core/symbols.rs",
];

/// Tests that need system calls which Rust's standard library lacks, such as `fork`, signals to one thread and event
/// objects of Windows, or that move a value to another thread on purpose; and the example that takes over a socket which
/// its parent shares.
const TEST_SUPPORT: &[&str] = &[
    "crates/tidewaiter/examples/hand_over_windows.rs",
    "crates/tidewaiter/tests/support/across_threads.rs",
    "crates/tidewaiter/tests/support/number.rs",
    "crates/tidewaiter/tests/support/real_child.rs",
    "crates/tidewaiter/tests/support/shared.rs",
    "crates/tidewaiter/tests/support/system.rs",
    "crates/tidewaiter/tests/support/event.rs",
];

/// Files that may choose by the OS. Each entry is a path, or the beginning of one.
const OS_CHOICES: &[&str] = &[
    "crates/tidewaiter/examples/hand_over_windows.rs",
    "crates/tidewaiter/examples/watch.rs",
    "crates/tidewaiter/src/os/address/unix.rs",
    "crates/tidewaiter/src/os/file/mod.rs",
    "crates/tidewaiter/src/os/mod.rs",
    "crates/tidewaiter/src/os/origin/mod.rs",
    "crates/tidewaiter/src/port/activation/mod.rs",
    "crates/tidewaiter/src/port/directory/mod.rs",
    "crates/tidewaiter/src/port/mod.rs",
    "crates/tidewaiter/src/port/open.rs",
    "crates/tidewaiter/src/port/socket.rs",
    "crates/tidewaiter/src/port/control.rs",
    "crates/tidewaiter/src/port/listening.rs",
    "crates/tidewaiter/src/port/foreign/directories/mod.rs",
    "crates/tidewaiter/src/port/foreign/level_set/mod.rs",
    "crates/tidewaiter/src/port/messages/mod.rs",
    "crates/tidewaiter/src/port/serial/mod.rs",
    "crates/tidewaiter/src/port/serial/unix.rs",
    "crates/tidewaiter/src/port/signals",
    "crates/tidewaiter/src/port/standard/mod.rs",
    "crates/tidewaiter/src/port/poll/mod.rs",
    "crates/tidewaiter/src/port/unix_socket/credentials.rs",
    "crates/tidewaiter/src/port/unix_socket/mod.rs",
    "crates/tidewaiter/src/port/poll/selector/mod.rs",
    "crates/tidewaiter/src/port/poll/sigpipe/mod.rs",
    "crates/tidewaiter/src/process/mod.rs",
    "crates/tidewaiter/src/process/other/parent.rs",
    // The command: Windows has no limit of descriptors and no users by number, other keys end the input of its terminals,
    // and only Linux has orphans to reap.
    "crates/tidewaiter-cli/src/commands/serve/limits.rs",
    "crates/tidewaiter-cli/src/commands/serve/orphans.rs",
    "crates/tidewaiter-cli/src/commands/serve/terminal.rs",
    "crates/tidewaiter-cli/src/confine.rs",
    "crates/tidewaiter-cli/src/identity.rs",
    // The Python package: how Python ends a thread, what kind of handle a number from Python is, how a child starts,
    // how its status is encoded, and how functions are found by name.
    "crates/tidewaiter-python/src/core/exits.rs",
    "crates/tidewaiter-python/src/core/sockets.rs",
    "crates/tidewaiter-python/src/core/symbols.rs",
    "crates/tidewaiter-python/src/core/program.rs",
    "crates/tidewaiter-python/src/twisted/child.rs",
    "bench/load/src/link.rs",
    "bench/peers/common/src/system/mod.rs",
    "bench/peers/compio/src/local/mod.rs",
    "bench/peers/libuv/src/",
    "bench/peers/tokio/src/local/mod.rs",
    "xtask/",
];

/// Words that make a `cfg` condition depend on the OS.
const OS_WORDS: &[&str] = &[
    "windows",
    "unix",
    "target_os",
    "target_family",
    "target_env",
];

/// Crates that call the OS.
const OS_CRATES: &[&str] = &[
    "libc",
    "rustix",
    "windows_sys",
    "io_uring",
    "polling",
    "socket2",
    "signal_hook",
];

/// Types whose `now` reads a clock. Code above the port takes the time as an argument.
const CLOCKS: &[&str] = &["Instant", "SystemTime"];

fn stands_in(source: &Source, places: &[&str]) -> bool {
    places.iter().any(|place| source.path.starts_with(place))
}

/// Unsafe code is allowed only where the OS is called. This applies to tests as well.
pub(super) fn unsafe_code(source: &Source) -> Vec<Breach> {
    let places = [OS_FOLDERS, BENCHMARKS, PYTHON_PROMISES, TEST_SUPPORT];
    if places.iter().any(|places| stands_in(source, places)) {
        return Vec::new();
    }
    let what = format!("`unsafe` outside {}", OS_FOLDERS.join(", "));
    let lines = unsafe_lines(&source.tokens).into_iter();
    lines.map(|line| Breach::new(line, what.clone())).collect()
}

/// Code outside the files that choose by the OS is the same on all systems.
pub(super) fn os_conditions(source: &Source) -> Vec<Breach> {
    if stands_in(source, OS_CHOICES) {
        return Vec::new();
    }
    let mut found = Vec::new();
    each_level(&source.code, &mut |tokens| {
        for at in 0..tokens.len() {
            let condition = attribute_at(tokens, at).or_else(|| cfg_macro_at(tokens, at));
            let Some(condition) = condition else { continue };
            let named = words(condition)
                .into_iter()
                .find(|word| OS_WORDS.contains(&word.as_str()));
            if let Some(word) = named {
                let what =
                    format!("a condition on the OS (`{word}`) outside the files that choose");
                found.push(Breach::new(line_of(&tokens[at]), what));
            }
        }
    });
    found
}

/// The contents of `#[cfg(…)]`, `#![cfg(…)]` or `#[cfg_attr(…)]`.
fn attribute_at(tokens: &[TokenTree], at: usize) -> Option<TokenStream> {
    let bang = usize::from(is_punct(tokens.get(at + 1), '!'));
    match (is_punct(tokens.get(at), '#'), tokens.get(at + 1 + bang)) {
        (true, Some(TokenTree::Group(group))) => {
            let first = words(group.stream()).into_iter().next();
            let is_cfg = matches!(first.as_deref(), Some("cfg" | "cfg_attr"));
            is_cfg.then(|| group.stream())
        }
        _ => None,
    }
}

/// The contents of `cfg!(…)`.
fn cfg_macro_at(tokens: &[TokenTree], at: usize) -> Option<TokenStream> {
    match (
        is_word(tokens.get(at), "cfg"),
        is_punct(tokens.get(at + 1), '!'),
        tokens.get(at + 2),
    ) {
        (true, true, Some(TokenTree::Group(group))) => Some(group.stream()),
        _ => None,
    }
}

/// Code outside the folders that call the OS uses no type or constant of the OS.
pub(super) fn os_crates(source: &Source) -> Vec<Breach> {
    if !source.path.starts_with(LIBRARY) || stands_in(source, OS_FOLDERS) {
        return Vec::new();
    }
    let mut found = Vec::new();
    each_level(&source.code, &mut |tokens| {
        for (at, token) in tokens.iter().enumerate() {
            let named = OS_CRATES.iter().find(|name| is_word(Some(token), name));
            let follows_path = at > 1 && is_path_separator(tokens, at - 2);
            if let Some(name) = named
                && is_path_separator(tokens, at + 1)
                && !follows_path
            {
                let what = format!("`{name}` outside the port: call the port instead");
                found.push(Breach::new(line_of(token), what));
            }
        }
    });
    found
}

/// Code above the port does not read a clock, so that the simulated port can control the time.
pub(super) fn clocks(source: &Source) -> Vec<Breach> {
    if !source.path.starts_with(LIBRARY) || stands_in(source, OS_FOLDERS) {
        return Vec::new();
    }
    let mut found = Vec::new();
    each_level(&source.code, &mut |tokens| {
        for at in 0..tokens.len() {
            let clock = CLOCKS.iter().find(|name| is_word(tokens.get(at), name));
            if let Some(name) = clock
                && is_path_separator(tokens, at + 1)
                && is_word(tokens.get(at + 3), "now")
            {
                let what = format!("`{name}::now` outside the port: take the time from it");
                found.push(Breach::new(line_of(&tokens[at]), what));
            }
        }
    });
    found
}

/// Macros contain no `unsafe`, because the lint that demands a safety comment does not look into them.
pub(super) fn macros(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    each_level(&source.tokens, &mut |tokens| {
        for (at, token) in tokens.iter().enumerate() {
            if !is_word(Some(token), "macro_rules") || !is_punct(tokens.get(at + 1), '!') {
                continue;
            }
            if let Some(TokenTree::Group(body)) = tokens.get(at + 3) {
                let lines = unsafe_lines(&body.stream()).into_iter();
                found.extend(lines.map(|line| Breach::new(line, "a macro contains `unsafe`")));
            }
        }
    });
    found
}

/// No test is ignored, because an ignored test checks nothing.
pub(super) fn ignored_tests(source: &Source) -> Vec<Breach> {
    let mut found = Vec::new();
    each_level(&source.tokens, &mut |tokens| {
        for (at, token) in tokens.iter().enumerate() {
            let TokenTree::Group(group) = token else {
                continue;
            };
            let first = group.stream().into_iter().next();
            if at > 0 && is_punct(tokens.get(at - 1), '#') && is_word(first.as_ref(), "ignore") {
                found.push(Breach::new(line_of(token), "an ignored test"));
            }
        }
    });
    found
}

fn unsafe_lines(stream: &TokenStream) -> Vec<usize> {
    let mut lines = Vec::new();
    each_level(stream, &mut |tokens| {
        let found = tokens.iter().filter(|token| is_word(Some(token), "unsafe"));
        lines.extend(found.map(line_of));
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSIDE: &str = "crates/tidewaiter/src/port/uring/mod.rs";
    const OUTSIDE: &str = "crates/tidewaiter/src/reactor/mod.rs";

    fn count(rule: fn(&Source) -> Vec<Breach>, path: &str, text: &str) -> usize {
        rule(&Source::parse(path, text).expect("it is Rust")).len()
    }

    #[test]
    fn unsafe_code_is_allowed_only_where_the_os_is_called() {
        let text = "fn a() { unsafe { b() } }";
        assert_eq!(count(unsafe_code, INSIDE, text), 0);
        assert_eq!(count(unsafe_code, OUTSIDE, text), 1);
        assert_eq!(
            count(
                unsafe_code,
                OUTSIDE,
                "#![deny(unsafe_code)] // unsafe\nfn a() {}"
            ),
            0
        );
    }

    #[test]
    fn conditions_on_the_os_are_allowed_in_few_files_and_in_tests() {
        let text = "#[cfg(all(unix, not(target_os = \"linux\")))] fn a() {}";
        assert_eq!(
            count(os_conditions, "crates/tidewaiter/src/port/open.rs", text),
            0
        );
        assert_eq!(count(os_conditions, OUTSIDE, text), 1);
        assert_eq!(
            count(os_conditions, OUTSIDE, "fn a() -> bool { cfg!(windows) }"),
            1
        );
        assert_eq!(
            count(os_conditions, OUTSIDE, "#[cfg(unix)] #[test] fn a() {}"),
            0
        );
        assert_eq!(count(os_conditions, OUTSIDE, "#[cfg(loom)] mod unix;"), 0);
    }

    #[test]
    fn only_the_port_calls_the_os() {
        let text = "use libc::EINTR; fn a() { b(rustix::io::Errno::INTR) }";
        assert_eq!(count(os_crates, INSIDE, text), 0);
        assert_eq!(count(os_crates, OUTSIDE, text), 2);
        assert_eq!(
            count(
                os_crates,
                OUTSIDE,
                "use crate::port::polling::A; fn libc() {}"
            ),
            0
        );
    }

    #[test]
    fn only_the_port_reads_a_clock() {
        let text = "fn a() { b(std::time::Instant::now()) }";
        assert_eq!(count(clocks, INSIDE, text), 0);
        assert_eq!(count(clocks, OUTSIDE, text), 1);
        assert_eq!(
            count(clocks, OUTSIDE, "fn a(now: Instant) { port.now() }"),
            0
        );
        assert_eq!(count(clocks, OUTSIDE, &format!("#[test] {text}")), 0);
    }

    #[test]
    fn macros_contain_no_unsafe_code() {
        assert_eq!(
            count(
                macros,
                INSIDE,
                "macro_rules! a { () => { unsafe { b() } } }"
            ),
            1
        );
        assert_eq!(
            count(
                macros,
                INSIDE,
                "macro_rules! a { () => { b() } } fn c() { unsafe {} }"
            ),
            0
        );
    }

    #[test]
    fn ignored_tests_are_reported() {
        assert_eq!(
            count(
                ignored_tests,
                OUTSIDE,
                "#[test] #[ignore = \"slow\"] fn a() {}"
            ),
            1
        );
        assert_eq!(
            count(ignored_tests, OUTSIDE, "#[test] fn a() { ignore() }"),
            0
        );
    }
}
