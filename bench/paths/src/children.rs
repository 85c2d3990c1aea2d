//! Child processes.
//!
//! Under callgrind no program is run: the tool makes a fork of what is to share our memory, so that our
//! child finds its pidfd missing and ends. For the parent, whose instructions count, nothing changes. But
//! a child that talks is a simulated one, and a child's pipe is filled by hand.

use std::error::Error;
use std::io::Write;

use bytes::Bytes;
use tidewaiter::port::sim::{Sim, programs};
use tidewaiter::port::{Outcome, Port, PortKind, PortOptions, Request, Resource, Token};
use tidewaiter::process::{Command, Stdio};
use tidewaiter::{ProcessProtocol, Reactor};

use crate::walk::Walk;

/// By its path, so that nobody looks for it.
const BRIEF: &str = "/bin/true";

/// As much as a pipe holds.
const PIPE_BYTES: usize = 64 << 10;

/// Hears of a child, and does nothing.
struct Bystander;

impl ProcessProtocol for Bystander {}

/// A child is spawned and reaped.
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

/// A pipe that is full is received from.
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
                    return Err("the pipe brought something else than data".into());
                };
                received += data.len();
                meter.count(|| drop(data));
            }
        }
        Ok(())
    }))
}

/// What a child is told comes back.
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
