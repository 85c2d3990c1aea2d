//! Runs tests of process-wide state in a process of their own.

use std::process::{Command, Stdio};

use super::starting::start;

/// Set in the process that runs a single test.
const ALONE: &str = "TIDEWAITER_TEST_ALONE";

/// Runs `body`, part of the test `name` of `module`, in a process of its own, with the default action for every
/// signal.
pub(crate) fn alone(module: &str, name: &str, body: impl FnOnce()) {
    if std::env::var_os(ALONE).is_some() {
        #[cfg(target_os = "linux")]
        super::system::default_signals();
        return body();
    }
    let (_crate, module) = module.split_once("::").expect("tests are in a module");
    let test = format!("{module}::{name}");
    let mut command = Command::new(std::env::current_exe().expect("we are a program"));
    command
        .args(["--exact", &test, "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = start(&mut command).expect("the test starts again");
    let output = started.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{test} was not found: {text}");
}
