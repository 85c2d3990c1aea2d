//! Children that survive every signal: they keep no reactor from stopping, on any system.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Process, ProcessProtocol};
use crate::port::Port;
use crate::process::{Command, Stdio};
use crate::reactor::{KILLED_DEADLINE, Reactor};

/// Names a file: the child lives until it is removed.
const LIVES_WITH: &str = "TIDEWAITER_TEST_SURVIVOR";

/// The longest time that the child lives.
const LIFE: Duration = Duration::from_secs(30);

/// The child's program. In any other process, this test does nothing.
#[test]
fn survives_for_a_while() {
    let begun = Instant::now();
    if let Some(file) = std::env::var_os(LIVES_WITH).map(PathBuf::from) {
        while file.exists() && begun.elapsed() < LIFE {
            thread::park_timeout(Duration::from_millis(50));
        }
    }
}

/// The file. The child ends soon after this is dropped.
struct Life(PathBuf);

impl Life {
    fn new() -> Life {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("tw-survivor-{process}-{number}"));
        fs::write(&path, "").expect("there is room");
        Life(path)
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

thread_local! {
    static ERRORS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Keeps the errors that each thread logs.
struct Errors;

impl log::Log for Errors {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        ERRORS.with_borrow_mut(|errors| errors.push(record.args().to_string()));
    }

    fn flush(&self) {}
}

fn keep_errors() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&Errors).expect("there is no other one");
        log::set_max_level(log::LevelFilter::Error);
    });
}

struct Quiet;

impl ProcessProtocol for Quiet {}

/// A reactor with a child that no signal ends.
fn with_survivor() -> (Reactor, Process, Life) {
    let reactor = Reactor::new().expect("a reactor");
    *reactor.port_mut() = Port::with_unkillable_children().expect("a port");
    let (_, module) = module_path!().split_once("::").expect("in a crate");
    let program = std::env::current_exe().expect("we are a program");
    let life = Life::new();
    let test = format!("{module}::survives_for_a_while");
    let command = Command::new(program)
        .args(["--exact", &test, "--nocapture"])
        .env(LIVES_WITH, &life.0)
        // Its output would fail once a stop has closed its pipes.
        .stdout(Stdio::Null)
        .stderr(Stdio::Null);
    keep_errors();
    let process = reactor.spawn_process(&command, Quiet).expect("it starts");
    (reactor, process, life)
}

#[track_caller]
fn assert_left_behind(process: &Process, begun: Instant) {
    assert_eq!(process.status(), None);
    let took = begun.elapsed();
    assert!((KILLED_DEADLINE..LIFE).contains(&took), "{took:?}");
    let name = format!("child {} (", process.pid());
    let mut messages = ERRORS.take();
    messages.retain(|message| message.starts_with(&name));
    let [message] = &messages[..] else {
        panic!("there should be one message: {messages:?}");
    };
    assert!(message.contains("is left behind"), "{message}");
}

#[test]
fn a_stop_leaves_a_child_behind_that_survives_and_names_it() {
    let (reactor, process, _life) = with_survivor();
    reactor.call_when_running(Reactor::stop);
    let begun = Instant::now();
    reactor.run().expect("it stops");
    assert_left_behind(&process, begun);
}

#[test]
fn a_dropped_reactor_leaves_a_child_behind_that_survives_and_names_it() {
    let (reactor, process, _life) = with_survivor();
    let begun = Instant::now();
    drop(reactor);
    assert_left_behind(&process, begun);
}
