//! Runs one command of a lane: prints it, forwards its output, counts its tests, and limits its time.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::context::Context;

/// Time limit for a command that nobody watches. At a terminal, the user decides when to press Ctrl-C.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// Why a lane did not pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The lane ran and found something wrong.
    Failed(String),
    /// Something is missing on this machine; `remedy` says how to get it.
    Missing { what: String, remedy: String },
    /// The lane is for another operating system.
    Foreign(String),
}

impl Stop {
    pub(crate) fn missing(what: impl Into<String>, remedy: impl Into<String>) -> Stop {
        Stop::Missing {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

/// The numbers of tests that passed, that were ignored, and that passed only when run again, as the harnesses count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) ignored: u32,
    pub(crate) flaky: u32,
}

impl Tally {
    /// Fails if no test ran: the lane's filter no longer matches any test.
    pub(crate) fn at_least_one(self) -> Result<Tally, Stop> {
        if self.passed == 0 {
            return Err(Stop::Failed(
                "no test ran: does the lane's filter still fit?".to_owned(),
            ));
        }
        Ok(self)
    }

    /// Adds the counts from a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn read(&mut self, line: &str) {
        let Some(counts) = line.trim_start().strip_prefix("test result: ") else {
            return;
        };
        for part in counts.split(['.', ';']) {
            match part.trim().split_once(' ') {
                Some((count, "passed")) => self.passed += count.parse().unwrap_or(0),
                Some((count, "ignored")) => self.ignored += count.parse().unwrap_or(0),
                Some((count, "flaky")) => self.flaky += count.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.ignored += other.ignored;
        self.flaky += other.flaky;
    }
}

/// A command of a lane, with its environment.
#[derive(Debug)]
pub(crate) struct Step {
    command: Command,
    settings: Vec<String>,
    errors_piped: bool,
}

impl Step {
    pub(crate) fn new(context: &Context, program: impl AsRef<OsStr>, arguments: &[&str]) -> Step {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&context.root);
        // `cargo run` sets variables that describe the package xtask. Remove them: some build scripts would build
        // again because of them.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if ["CARGO_PKG_", "CARGO_MANIFEST_"]
                .iter()
                .any(|start| name.starts_with(start))
            {
                command.env_remove(name);
            }
        }
        Step {
            command,
            settings: Vec::new(),
            errors_piped: false,
        }
    }

    pub(crate) fn cargo(context: &Context, arguments: &[&str]) -> Step {
        Step::new(context, "cargo", arguments)
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Step {
        self.settings.push(format!("{name}={:?}", value.as_ref()));
        self.command.env(name, value);
        self
    }

    pub(crate) fn args(mut self, arguments: &[&str]) -> Step {
        self.command.args(arguments);
        self
    }

    /// Adds a path as an argument; it need not be Unicode.
    pub(crate) fn path(mut self, path: &Path) -> Step {
        self.command.arg(path);
        self
    }

    /// Makes standard error a pipe, for programs that do not start with a file there.
    pub(crate) fn errors_piped(mut self) -> Step {
        self.errors_piped = true;
        self
    }

    /// Runs the command to its end.
    pub(crate) fn run(mut self, context: &Context) -> Result<Tally, Stop> {
        let line = self.shown();
        println!("$ {line}");
        let started = Instant::now();
        let failed = |what: String| Stop::Failed(format!("`{line}`: {what}"));
        self.command.stdin(Stdio::null()).stdout(Stdio::piped());
        if self.errors_piped {
            self.command.stderr(Stdio::piped());
        }
        if !context.interactive {
            own_group(&mut self.command);
        }
        let mut child = self
            .command
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        if let Some(mut errors) = child.stderr.take() {
            // The thread ends when no process holds the pipe: neither the child nor one that the child left behind.
            thread::spawn(move || std::io::copy(&mut errors, &mut std::io::stderr()));
        }
        let mut told = Told::default();
        let ended = told.follow(&mut child, started, context.interactive);
        if !ended {
            kill_group(&mut child);
        }
        let status = child.wait().map_err(|error| failed(error.to_string()))?;
        let how = match ended {
            false => format!("did not end within {} minutes", LIMIT.as_secs() / 60),
            true if status.success() => return Ok(told.tally),
            true => ending(status),
        };
        Err(failed(how + &told.failures()))
    }

    /// Runs the command with our own standard output and error, without a time limit; returns whether it succeeded.
    pub(crate) fn run_openly(mut self) -> Result<bool, String> {
        let line = self.shown();
        let status = self.command.stdin(Stdio::null()).status();
        let status = status.map_err(|error| format!("`{line}`: {error}"))?;
        Ok(status.success())
    }

    /// Runs the command, discards its output, and returns whether it succeeded.
    pub(crate) fn succeeds(mut self) -> bool {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.command.status().is_ok_and(|status| status.success())
    }

    fn shown(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let words = words.map(|word| word.to_string_lossy().into_owned());
        self.settings
            .iter()
            .cloned()
            .chain(words)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

fn ending(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exit code {code}"),
        None => status.to_string(),
    }
}

/// The beginnings of lines that name a failed test, in Python's runners.
const FAILURES: &[&str] = &["FAIL: ", "ERROR: ", "FAILED "];

/// How many failed tests the summary names, and how many reasons it repeats.
const NAMED: usize = 10;

/// How many lines after the place of a Rust test's panic are its reason.
const PANIC: usize = 3;

/// The ends of the names of Python's exceptions.
const EXCEPTIONS: &[&str] = &["Error", "Exception", "Expired", "Failure"];

/// The tests that a command ran, by its output.
#[derive(Debug, Default)]
struct Told {
    tally: Tally,
    failed: Vec<String>,
    reasons: Vec<String>,
    /// How many of the next lines belong to a reason.
    panic: usize,
}

impl Told {
    /// Forwards the output until it ends, and reads it; returns `false` if the time limit comes first.
    fn follow(&mut self, child: &mut Child, started: Instant, interactive: bool) -> bool {
        let lines = lines_of(child);
        loop {
            let left = LIMIT.checked_sub(started.elapsed()).unwrap_or_default();
            let received = if interactive {
                lines.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                lines.recv_timeout(left)
            };
            match received {
                Ok(line) => {
                    print!("{line}");
                    self.read(&line);
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
        // If our own standard output is closed, that is not the lane's failure.
        let _ = std::io::stdout().flush();
        true
    }

    fn read(&mut self, line: &str) {
        self.tally.read(line);
        let line = line.trim_end();
        let rust = line.strip_prefix("test ");
        let rust = rust.and_then(|line| line.strip_suffix(" ... FAILED"));
        let python = || FAILURES.iter().find_map(|start| line.strip_prefix(start));
        let python = || python().filter(|name| !name.starts_with('(')); // unittest's `FAILED (failures=1)`
        if let Some(name) = rust.or_else(python) {
            self.failed.push(name.to_owned());
        }
        if line.contains(" panicked at ") {
            self.panic = 1 + PANIC;
        }
        if self.panic > 0 || raised(line) {
            self.panic = self.panic.saturating_sub(1);
            self.reasons.push(line.to_owned());
        }
    }

    /// The failed tests and what they said, to be appended to the reason why the command failed.
    fn failures(&self) -> String {
        let named = self.failed.iter().take(NAMED);
        let mut text: String = named.map(|name| format!("\n    {name}")).collect();
        if self.failed.len() > NAMED {
            text += &format!("\n    and {} more", self.failed.len() - NAMED);
        }
        if !self.failed.is_empty() {
            let said = self.reasons.iter().take(NAMED * (1 + PANIC));
            text.extend(said.map(|line| format!("\n      | {line}")));
        }
        text
    }
}

/// Whether a line is the last of a Python traceback.
fn raised(line: &str) -> bool {
    let name = line.split_once(':').map_or(line, |(name, _)| name);
    !name.contains(' ') && EXCEPTIONS.iter().any(|end| name.ends_with(end))
}

/// Reads the child's output in a thread, because reading a pipe cannot time out.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output
                .read_until(b'\n', &mut line)
                .is_ok_and(|count| count > 0)
            {
                if sender
                    .send(String::from_utf8_lossy(&line).into_owned())
                    .is_err()
                {
                    return;
                }
                line.clear();
            }
        });
    }
    receiver
}

/// Puts the child into its own process group, so that we can kill it with all its descendants.
fn own_group(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _ = command;
}

/// Kills the child and its descendants. Processes that have exited already are ignored.
fn kill_group(child: &mut Child) {
    let id = child.id();
    let _ = if cfg!(unix) {
        Command::new("kill")
            .args(["-KILL", "--", &format!("-{id}")])
            .status()
    } else {
        Command::new("taskkill")
            .args(["/T", "/F", "/PID", &id.to_string()])
            .status()
    };
    let _ = child.kill();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_the_harness_are_parsed_and_summed() {
        let mut tally = Tally::default();
        tally.read("test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out\n");
        tally.read("test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured\n");
        tally.read("test port::a_name ... ok\n");
        tally.read("test result: ok. 2 passed; 0 failed; 1 ignored; 1 flaky\n");
        assert_eq!(
            tally,
            Tally {
                passed: 19,
                ignored: 4,
                flaky: 1
            }
        );
        assert_eq!(tally.at_least_one(), Ok(tally));
    }

    #[test]
    fn failed_tests_are_named() {
        let mut told = Told::default();
        told.read("test port::fails ... FAILED\n");
        told.read("test port::passes ... ok\n");
        told.read("FAIL: test_it (test_here.Cases.test_it) (port='poll')\n");
        told.read("FAILED (failures=1)\n");
        assert_eq!(
            told.failures(),
            "\n    port::fails\n    test_it (test_here.Cases.test_it) (port='poll')"
        );
        for number in 0..9 {
            told.read(&format!("test number_{number} ... FAILED\n"));
        }
        assert!(told.failures().ends_with("\n    and 1 more"));
    }

    #[test]
    fn what_failed_tests_said_is_repeated() {
        let mut told = Told::default();
        told.read("test port::fails ... FAILED\n");
        told.read("thread 'port::fails' (7) panicked at src/port.rs:3:9:\n");
        for line in ["assertion failed", "  left: 1", " right: 2", "note: more"] {
            told.read(line);
        }
        told.read("OSError: [Errno 9] no such file\n");
        told.read("A word about an Error: not a reason\n");
        let said: Vec<_> = told.failures().lines().skip(2).map(str::to_owned).collect();
        let expected = [
            "thread 'port::fails' (7) panicked at src/port.rs:3:9:",
            "assertion failed",
            "  left: 1",
            " right: 2",
            "OSError: [Errno 9] no such file",
        ];
        assert_eq!(said, expected.map(|line| format!("      | {line}")));
    }

    #[test]
    fn a_lane_that_ran_no_test_fails() {
        let mut tally = Tally::default();
        tally.read("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 8 filtered out\n");
        assert!(matches!(tally.at_least_one(), Err(Stop::Failed(_))));
    }
}
