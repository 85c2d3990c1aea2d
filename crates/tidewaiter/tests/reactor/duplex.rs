//! Children whose standard input and output are one pipe, which is one transport.

use std::time::Duration;

use tidewaiter::process::{Command, Stdio};
use tidewaiter::{Process, Reactor};

use super::processes::{Watch, role_output};
use super::support::{Countdown, Log, reactor, run_clean};
use crate::KILLED;
use crate::support::roles::Role;

fn command(role: Role) -> Command {
    crate::child(role)
        .stdin(Stdio::Duplex)
        .stdout(Stdio::SameAs(0))
        .stderr(Stdio::SameAs(0))
}

fn start(reactor: &Reactor, role: Role, watch: Watch) -> Process {
    let process = reactor.spawn_process(&command(role), watch);
    process.expect("the child starts")
}

/// Checks that each event came once, in order: the pipe and the exit in any.
#[track_caller]
fn check_events(log: &Log, status: &str) {
    let events = log.take();
    let (first, last) = (events.first(), events.last());
    assert_eq!(first.map(String::as_str), Some("made"), "{events:?}");
    assert_eq!(last, Some(&format!("ended: {status}")), "{events:?}");
    let mut between = events[1..events.len() - 1].to_vec();
    between.sort();
    assert_eq!(between, [format!("exited: {status}"), "lost 0".into()]);
}

#[test]
fn a_child_is_written_to_and_read_over_one_transport() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let mut asked = false;
    let watch = Watch::new(&log, &countdown).data(move |process, child_fd, all| {
        assert_eq!(child_fd, 0);
        match role_output(all) {
            Some(b"") if !std::mem::replace(&mut asked, true) => process.write(b"question"),
            Some(b"question") => process.close_stdin(),
            _ => {}
        }
    });
    let process = start(&reactor, Role::Echo, watch);
    assert_eq!(process.pipes(), [0]);
    run_clean(&reactor);
    check_events(&log, "exit code 0");
}

/// Goal: our end of file is not the end of the pipe, where the system can tell them apart.
#[test]
fn the_answer_arrives_after_our_side_has_ended() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let mut asked = false;
    let answers = log.clone();
    let watch = Watch::new(&log, &countdown).data(move |process, _, all| match role_output(all) {
        Some(b"") if !std::mem::replace(&mut asked, true) => {
            let pipe = process.pipe(0).expect("it is open");
            pipe.write(b"question");
            pipe.lose_write_connection();
        }
        Some(b"question") => answers.add("answered"),
        _ => {}
    });
    start(&reactor, Role::Echo, watch);
    run_clean(&reactor);
    let events = log.take();
    let lost = events.iter().filter(|event| *event == "lost 0").count();
    assert_eq!(lost, 1, "{events:?}");
    if crate::HALF_CLOSES {
        let at = |what: &str| events.iter().position(|event| event == what);
        assert!(
            at("answered") < at("lost 0") && at("answered").is_some(),
            "{events:?}"
        );
        assert_eq!(events.last().expect("it ended"), "ended: exit code 0");
    }
}

#[test]
fn a_child_that_exits_ends_the_pipe_once() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let watch = Watch::new(&log, &countdown).made(|process| process.write(b"nobody reads it"));
    start(&reactor, Role::Exit(3), watch);
    run_clean(&reactor);
    check_events(&log, "exit code 3");
}

/// It neither reads nor ends, so that the bytes never arrive.
#[test]
fn a_child_that_is_killed_ends_the_pipe_once() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let watch = Watch::new(&log, &countdown)
        .made(|process| process.write(&vec![7; 4 << 20]))
        .data(|process, _, all| {
            if role_output(all).is_some() {
                process.kill().expect("it runs");
            }
        });
    start(&reactor, Role::Deaf, watch);
    run_clean(&reactor);
    check_events(&log, &KILLED.to_string());
}

/// Goal: a pipe that we close is told at once, and its child sees the end.
#[test]
fn a_pipe_that_we_close_ends_its_child() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let watch = Watch::new(&log, &countdown).data(|process, _, all| {
        if role_output(all).is_some() {
            process.lose_connection();
        }
    });
    start(&reactor, Role::Echo, watch);
    run_clean(&reactor);
    check_events(&log, "exit code 0");
}

/// Goal: what the child wrote arrives although it has exited without reading, and a send failed for it.
/// Method: nothing is received before the send has failed.
#[test]
fn a_send_that_fails_does_not_cost_the_childs_last_words() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let words = log.clone();
    let mut told = false;
    let watch = Watch::new(&log, &countdown)
        .made(|process| {
            let pipe = process.pipe(2).expect("it is open");
            pipe.pause_producing();
            pipe.write(&vec![7; 4 << 20]);
        })
        .exited(|process| {
            let process = process.clone();
            let reactor = process.reactor().clone();
            reactor.call_later(Duration::from_millis(50), move |_| {
                if let Some(pipe) = process.pipe(2) {
                    pipe.resume_producing();
                }
            });
        })
        .data(move |_, child_fd, all| {
            if child_fd == 2 && all.len() == 1024 && !std::mem::replace(&mut told, true) {
                words.add("heard");
            }
        });
    let command = crate::child(Role::Flood(1))
        .stdin(Stdio::Null)
        .stderr(Stdio::Duplex);
    let started = reactor.spawn_process(&command, watch);
    started.expect("the child starts");
    run_clean(&reactor);
    let events = log.take();
    let at = |what: &str| events.iter().position(|event| event == what);
    assert!(
        at("heard").is_some() && at("heard") < at("lost 2"),
        "{events:?}"
    );
}
