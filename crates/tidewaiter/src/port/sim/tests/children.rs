//! Child processes, and each of their bad habits.

use std::io::ErrorKind;
use std::time::Duration;

use super::{Bench, error_kind};
use crate::port::sim::{Event, Faults, Output, Process, Sim, programs};
use crate::port::{CloseMode, Failure, Handle, Outcome, Request, RequestKind, Token};
use crate::process::{Command, ExitStatus, Signal, SignalTarget, SpawnStep, Stdio, TerminalSize};

/// Several times the capacity of a pipe, which is small so that Miri does not take long.
const FLOOD_BYTES: usize = 10_000;

/// Returns a world whose pipes hold 1 KiB.
fn narrow() -> Sim {
    let faults = Faults {
        capacity: 1024,
        ..Faults::default()
    };
    Sim::builder(1).faults(faults).build()
}

fn start(bench: &mut Bench, command: &Command) -> (Handle, [Handle; 3]) {
    let spawned = bench.port.spawn(command).expect("it is known");
    let pipes = [0, 1, 2].map(|number| spawned.pipe(number));
    let process = spawned.process;
    bench.submit(process, Request::Exit);
    (process, pipes.map(|pipe| pipe.expect("a pipe each")))
}

fn status(bench: &mut Bench) -> ExitStatus {
    match bench.next(RequestKind::Exit) {
        Ok(Outcome::Exited(status)) => status,
        other => panic!("no exit: {other:?}"),
    }
}

fn close(bench: &mut Bench, handle: Handle) {
    let closed = bench.port.close(handle, CloseMode::Graceful, Token(0));
    closed.expect("it is open");
    loop {
        if let Ok(Outcome::Closed) = bench.next(RequestKind::Close) {
            return;
        }
    }
}

fn killed(number: i32) -> ExitStatus {
    ExitStatus::Signal {
        number,
        core_dumped: false,
    }
}

#[test]
fn cat_copies_more_than_any_buffer_holds() {
    let sim = narrow();
    sim.program("cat", || programs::Cat);
    let mut bench = Bench::new(sim);
    let (_, [stdin, stdout, stderr]) = start(&mut bench, &Command::new("cat"));
    let all: Vec<u8> = (0..250).cycle().take(5000).collect();
    let mut rest = crate::port::Chunks::from(&all[..]);
    bench.submit(stdout, Request::Receive);
    let mut copied = Vec::new();
    while !rest.is_empty() {
        bench.submit(stdin, Request::Send(rest));
        rest = bench.sent().1;
    }
    close(&mut bench, stdin);
    while let Ok(Outcome::Received(bytes)) = bench.next(RequestKind::Receive) {
        copied.extend_from_slice(&bytes);
    }
    assert_eq!(copied, all);
    assert_eq!(bench.receive_all(stderr).expect("it is closed"), b"");
    assert_eq!(status(&mut bench), ExitStatus::Code(0));
}

#[test]
fn a_flood_waits_for_its_reader_and_breaks_without_one() {
    let sim = narrow();
    sim.program("flood", || {
        programs::Flood::new(Output::Stderr, FLOOD_BYTES)
    });
    let mut bench = Bench::new(sim);
    let (_, [_, _, stderr]) = start(&mut bench, &Command::new("flood"));
    assert_eq!(bench.sim.running_processes(), 1);
    let all = bench.receive_all(stderr).expect("it ends");
    assert_eq!(all.len(), FLOOD_BYTES);
    let right = |(n, &byte): (usize, &u8)| byte == programs::Flood::byte_at(n);
    assert!(all.iter().enumerate().all(right));
    assert_eq!(status(&mut bench), ExitStatus::Code(0));

    let (_, [_, _, stderr]) = start(&mut bench, &Command::new("flood"));
    close(&mut bench, stderr);
    assert_eq!(status(&mut bench), killed(13));
}

#[test]
fn a_child_that_closes_its_outputs_lives() {
    let sim = Sim::new(1);
    sim.program("mute", || programs::Mute);
    let mut bench = Bench::new(sim);
    let (_, [stdin, stdout, _]) = start(&mut bench, &Command::new("mute"));
    assert_eq!(bench.receive_all(stdout).expect("it is closed"), b"");
    assert_eq!(bench.sim.running_processes(), 1);
    close(&mut bench, stdin);
    assert_eq!(status(&mut bench), ExitStatus::Code(0));
}

#[test]
fn a_child_that_never_reads_fills_its_pipe() {
    let sim = narrow();
    sim.program("idle", || programs::Idle);
    let mut bench = Bench::new(sim);
    let (process, [stdin, ..]) = start(&mut bench, &Command::new("idle"));
    bench.send(stdin, &[0; 3000]);
    let (bytes, unsent) = bench.sent();
    assert_eq!(bytes, 1024, "a pipe holds 1 KiB");
    bench.submit(stdin, Request::Send(unsent));
    let signalled = bench
        .port
        .signal(process, Signal::Terminate, SignalTarget::Process);
    signalled.expect("it runs");
    assert_eq!(status(&mut bench), killed(15));
    assert_eq!(
        error_kind(bench.next(RequestKind::Send)),
        ErrorKind::BrokenPipe
    );
}

#[test]
fn a_grandchild_keeps_the_pipes_open_after_the_exit() {
    let sim = Sim::new(1);
    sim.program("leave", || programs::LeaveBehind(Duration::from_secs(60)));
    let mut bench = Bench::new(sim);
    let (process, [_, stdout, _]) = start(&mut bench, &Command::new("leave"));
    assert_eq!(status(&mut bench), ExitStatus::Code(0));
    assert_eq!(bench.sim.elapsed(), Duration::ZERO);
    let signalled = bench
        .port
        .signal(process, Signal::Kill, SignalTarget::Process);
    assert_eq!(
        signalled.expect_err("it is gone").kind(),
        ErrorKind::NotFound
    );
    assert_eq!(bench.receive_all(stdout).expect("it ends"), b"");
    assert_eq!(bench.sim.elapsed(), Duration::from_secs(60));
    assert_eq!(bench.sim.running_processes(), 0);
}

#[test]
fn killing_a_tree_reaches_the_grandchildren() {
    let sim = Sim::new(1);
    sim.program("parent", || {
        |event: Event, process: &mut Process<'_>| {
            if event == Event::Started {
                process.fork(programs::Stubborn);
            }
        }
    });
    let mut bench = Bench::new(sim);
    let (process, [_, stdout, _]) = start(&mut bench, &Command::new("parent"));
    assert_eq!(bench.sim.running_processes(), 2);
    let signalled = bench.port.signal(process, Signal::Kill, SignalTarget::Tree);
    signalled.expect("it runs");
    assert_eq!(status(&mut bench), killed(9));
    assert_eq!(bench.receive_all(stdout).expect("nobody holds it"), b"");
    assert_eq!(bench.sim.running_processes(), 0);
}

#[test]
fn the_stubborn_mind_only_kill_and_sleepers_keep_the_time() {
    let sim = Sim::new(1);
    sim.program("stubborn", || programs::Stubborn);
    sim.program("sleep", || programs::Sleep(Duration::from_secs(5)));
    let mut bench = Bench::new(sim);
    let (process, _) = start(&mut bench, &Command::new("stubborn"));
    for signal in [Signal::Interrupt, Signal::Terminate, Signal::Number(1)] {
        let signalled = bench.port.signal(process, signal, SignalTarget::Tree);
        signalled.expect("it runs");
    }
    assert_eq!(bench.sim.running_processes(), 1);
    let signalled = bench
        .port
        .signal(process, Signal::Kill, SignalTarget::Process);
    signalled.expect("it runs");
    assert_eq!(status(&mut bench), killed(9));

    start(&mut bench, &Command::new("sleep"));
    assert_eq!(status(&mut bench), ExitStatus::Code(0));
    assert_eq!(bench.sim.elapsed(), Duration::from_secs(5));
}

#[test]
fn programs_see_what_they_were_started_with() {
    let sim = Sim::new(1);
    sim.program("show", || {
        |_: Event, process: &mut Process<'_>| {
            let (args, name) = (
                process.args().to_vec(),
                process.env("NAME").map(ToOwned::to_owned),
            );
            let text = format!(
                "{args:?} {name:?} {:?} {:?}",
                process.env("GONE"),
                process.directory()
            );
            let _ = process.write(Output::Stderr, text.as_bytes());
            process.exit(3);
        }
    });
    let mut bench = Bench::new(sim);
    let command = Command::new("show")
        .args(["a", "b"])
        .env("NAME", "x")
        .env("GONE", "y");
    let command = command.env_remove("GONE").current_dir("/there");
    let command = command.stdin(Stdio::Null).stderr(Stdio::SameAs(1));
    let spawned = bench.port.spawn(&command).expect("it is known");
    let pipes = [0, 1, 2].map(|number| spawned.pipe(number));
    let process = spawned.process;
    let [None, Some(stdout), None] = pipes else {
        panic!("only standard output is a pipe: {pipes:?}");
    };
    let said = bench.receive_all(stdout).expect("it ends");
    let said = String::from_utf8(said).expect("text");
    assert_eq!(said, r#"["a", "b"] Some("x") None Some("/there")"#);
    bench.submit(process, Request::Exit);
    assert_eq!(status(&mut bench), ExitStatus::Code(3));
}

/// Goal: a stream ends when all that are the same as it are closed, as on an OS.
#[test]
fn a_stream_can_be_the_same_as_another() {
    let sim = Sim::new(1);
    sim.program("talk", || {
        |_: Event, process: &mut Process<'_>| {
            let _ = process.write(Output::Stdout, b"out ");
            process.close_output(Output::Stdout);
            let _ = process.write(Output::Stderr, b"err");
            assert!(process.read(1).is_empty(), "it can only be written to");
            process.exit(0);
        }
    });
    let mut bench = Bench::new(sim);
    let command = Command::new("talk")
        .stdin(Stdio::SameAs(2))
        .stdout(Stdio::SameAs(0));
    let spawned = bench.port.spawn(&command).expect("it is known");
    let pipes = [0, 1, 2].map(|number| spawned.pipe(number));
    let [None, None, Some(stderr)] = pipes else {
        panic!("only standard error is a pipe: {pipes:?}");
    };
    assert_eq!(bench.receive_all(stderr).expect("it ends"), b"out err");
    let circle = Command::new("talk").stdout(Stdio::SameAs(1));
    let error = bench.port.spawn(&circle).expect_err("it leads nowhere");
    assert_eq!(
        (error.step, error.source.kind()),
        (SpawnStep::Descriptor(1), ErrorKind::InvalidInput)
    );
}

#[test]
fn what_cannot_be_started_says_why() {
    let mut bench = Bench::new(Sim::new(1));
    bench.sim.program("true", || programs::Exit(0));
    let step = |bench: &mut Bench, command: &Command| {
        let error = bench.port.spawn(command).expect_err("it cannot start");
        (error.step, error.source.kind())
    };
    let unknown = Command::new("nobody");
    assert_eq!(
        step(&mut bench, &unknown),
        (SpawnStep::Search, ErrorKind::NotFound)
    );
    let nul = Command::new("true").arg("a\0b");
    assert_eq!(
        step(&mut bench, &nul),
        (SpawnStep::Arguments, ErrorKind::InvalidInput)
    );
    let terminal = Command::new("true").terminal(TerminalSize::default());
    assert_eq!(
        step(&mut bench, &terminal),
        (SpawnStep::Terminal, ErrorKind::Unsupported)
    );
    assert_eq!(bench.port.open_handles(), 0);
}

#[test]
fn closing_a_process_neither_ends_nor_forgets_it_too_early() {
    let sim = Sim::new(1);
    sim.program("sleep", || programs::Sleep(Duration::from_secs(5)));
    let mut bench = Bench::new(sim);
    let (process, _) = start(&mut bench, &Command::new("sleep"));
    close(&mut bench, process);
    assert!(matches!(
        bench.next(RequestKind::Exit),
        Err(Failure::Cancelled)
    ));
    assert_eq!(bench.sim.running_processes(), 1);
    bench.sim.advance(Duration::from_secs(5));
    assert_eq!(bench.sim.running_processes(), 0);
}
