//! Children: `posix_spawn`, and a pidfd in the epoll. The output of a child is read by blocking reads, because the
//! fastest way needs no loop.

use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bench_common::child::{self, Count, Lines, Pipeline, Received};
use bench_common::net::{BUFFER_BYTES, PIECE_BYTES};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use slab::Slab;

/// A child, and its pidfd, which becomes readable when it exits.
struct Living {
    child: Child,
    pidfd: OwnedFd,
}

pub(crate) fn spawn(at_a_time: usize) -> io::Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut count = Count::default();
    let mut living = Slab::new();
    for _ in 0..at_a_time {
        next(&epoll, &mut count, &mut living)?;
    }
    let mut events: Vec<Event> = Vec::with_capacity(64);
    while !living.is_empty() {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let at = usize::try_from(event.data.u64()).expect("we set it");
            let mut ended: Living = living.remove(at);
            // Closing the pidfd would not remove it if a child that is just starting still has a copy.
            epoll::delete(&epoll, &ended.pidfd)?;
            ended.child.wait()?;
            count.reaped();
            next(&epoll, &mut count, &mut living)?;
        }
    }
    Ok(())
}

fn next(epoll: &OwnedFd, count: &mut Count, living: &mut Slab<Living>) -> io::Result<()> {
    if !count.takes_another() {
        return Ok(());
    }
    let child = Command::new(child::brief()).spawn()?;
    let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let place = living.vacant_entry();
    let data = EventData::new_u64(place.key() as u64);
    epoll::add(epoll, &pidfd, data, EventFlags::IN)?;
    place.insert(Living { child, pidfd });
    Ok(())
}

pub(crate) fn stdout() -> io::Result<()> {
    let mut child = Command::new(child::program())
        .arg(child::WRITER)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = child.stdout.take().expect("it is a pipe");
    let mut received = Received::default();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let count = output.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        received.add(count);
    }
    child.wait()?;
    received.end();
    Ok(())
}

/// Leaves the pipeline to the shell.
pub(crate) fn pipeline() -> io::Result<()> {
    let pipeline = Pipeline::begin();
    let script = format!(
        "\"$0\" {} </dev/null | \"$0\" {} | \"$0\" {} >/dev/null",
        child::WRITER,
        child::ECHOER,
        child::DRAIN
    );
    let mut shell = Command::new("/bin/sh");
    let status = shell.arg("-c").arg(script).arg(child::program()).status()?;
    pipeline.end(status.success());
    Ok(())
}

/// Sends a line to each child, and another one when it has come back.
pub(crate) fn echo() -> io::Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut lines = Lines::default();
    let mut children = Vec::new();
    for number in 0..child::echoers() {
        let mut child = start_echoer()?;
        let data = EventData::new_u64(number as u64);
        epoll::add(&epoll, &child.1, data, EventFlags::IN)?;
        lines.begin(number);
        child.0.write_all(child::LINE)?;
        children.push(child);
    }
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut events: Vec<Event> = Vec::with_capacity(super::EVENTS_MAX);
    loop {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let number = usize::try_from(event.data.u64()).expect("we set it");
            let (input, output) = &mut children[number];
            let count = output.read(&mut buffer)?;
            if lines.received(number, count) {
                input.write_all(child::LINE)?;
            }
        }
    }
}

fn start_echoer() -> io::Result<(ChildStdin, ChildStdout)> {
    let mut child = Command::new(child::program())
        .arg(child::ECHOER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let input = child.stdin.take().expect("it is a pipe");
    let output = child.stdout.take().expect("it is a pipe");
    Ok((input, output))
}
