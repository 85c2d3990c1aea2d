//! Paths with child processes.
//!
//! Under callgrind, our children never run a program. We create a child that shares our memory until it calls `exec`,
//! but callgrind makes a fork of it. The child then finds no pidfd and exits. The parent, whose instructions count,
//! behaves as usual. So a path in which a child talks uses a simulated child, and the path `pipe-in` fills a pipe by
//! itself.

use std::error::Error;
use std::io::Write;

use bytes::Bytes;
use tidewaiter::port::sim::{Sim, programs};
use tidewaiter::port::{Outcome, Port, PortKind, PortOptions, Request, Resource, Token};
use tidewaiter::process::{Command, Stdio};
use tidewaiter::{ProcessProtocol, Reactor};

use crate::walk::Walk;

/// A program by its full path, so that no search counts.
const BRIEF: &str = "/bin/true";

/// The capacity of a pipe.
const PIPE_BYTES: usize = 64 << 10;

/// A protocol that ignores all events of a child.
struct Bystander;

impl ProcessProtocol for Bystander {}

/// Spawns and reaps a child.
pub(crate) fn spawn(kind: PortKind) -> Result<Walk, Box<dyn Error>> {
    let reactor = Reactor::builder().port(kind).signals(false).build()?;
    let command = Command::new(BRIEF)
        .stdin(Stdio::Inherit)
        .stdout(Stdio::Inherit)
        .stderr(Stdio::Inherit);
    Ok(Box::new(move |meter| {
        meter.count(|| reactor.spawn_process(&command, Bystander))?;
        meter.turn_until(&reactor, |metrics| metrics.living.children == 0)
    }))
}

/// Receives from a full pipe.
pub(crate) fn pipe(kind: PortKind) -> Result<Walk, Box<dyn Error>> {
    let mut options = PortOptions::default();
    options.kind = Some(kind);
    let mut port = Port::open(&options)?;
    let (reader, mut writer) = std::io::pipe()?;
    let reader = port.adopt(Resource::PipeReader(reader.into()))?;
    port.submit(reader, Request::Receive, Token(1))?;
    let message = vec![7; PIPE_BYTES];
    let mut completions = Vec::new();
    Ok(Box::new(move |meter| {
        writer.write_all(&message)?;
        let mut received = 0;
        while received < message.len() {
            meter.count(|| port.wait(None, &mut completions))?;
            for completion in completions.drain(..) {
                let Outcome::Received(data) = completion.result? else {
                    return Err("the pipe completed with something other than data".into());
                };
                received += data.len();
                meter.count(|| drop(data));
            }
        }
        Ok(())
    }))
}

/// Writes to a simulated child, which sends the data back.
pub(crate) fn echo_simulated() -> Result<Walk, Box<dyn Error>> {
    let sim = Sim::new(0);
    sim.program("cat", || programs::Cat);
    let reactor = Reactor::builder().simulation(&sim).build()?;
    let command = Command::new("cat").stderr(Stdio::Inherit);
    let child = reactor.spawn_process(&command, Bystander)?;
    let input = child.pipe(0).ok_or("the child has no standard input")?;
    let message = Bytes::from_static(&[7; 64]);
    let mut received = 0;
    Ok(Box::new(move |meter| {
        meter.count(|| input.write_bytes(message.clone()));
        received += message.len() as u64;
        meter.turn_until(&reactor, |metrics| metrics.bytes_received >= received)
    }))
}
