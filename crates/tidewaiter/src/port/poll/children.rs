//! Children on their way onto the port.

use std::io;

use super::attempt::Source;
use super::{PollPort, Spawned, SpawnedPipe};
use crate::process::{ChildPipe, OsChild, OsProcess, PipeDirection, Signal, SignalTarget};

/// How long a child that we could not take on has to die of our signal, before it is left a zombie.
const REAP_LIMIT: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

impl PollPort {
    pub(super) fn register_child(
        &mut self,
        child: OsChild,
    ) -> Result<Spawned, (io::Error, OsProcess)> {
        let mut pipes = Vec::with_capacity(child.pipes.len());
        let mut failure = None;
        for ChildPipe {
            child_fd,
            direction,
            pipe,
        } in child.pipes
        {
            let source = match direction {
                PipeDirection::ToChild => Source::Writer(pipe),
                PipeDirection::FromChild => Source::Reader(pipe),
            };
            match self.register_any(source) {
                Ok(handle) => pipes.push(SpawnedPipe {
                    child_fd,
                    direction,
                    handle,
                }),
                Err((error, _)) => failure = Some(error),
            }
        }
        let process = Source::Process(Box::new(child.process));
        let registered = match failure {
            None => self.register(process),
            Some(error) => Err((error, process)),
        };
        match registered {
            Ok(process) => Ok(Spawned {
                process,
                pid: child.pid,
                pipes,
            }),
            Err((error, source)) => {
                for pipe in pipes {
                    self.remove(pipe.handle);
                }
                let Source::Process(process) = source else {
                    unreachable!("what was to be registered is given back");
                };
                Err((error, *process))
            }
        }
    }
}

/// Ends a child that could not be taken on, so that nothing is left running.
pub(super) fn abandon(process: &OsProcess) {
    let kill = |target| process.signal(Signal::Kill, target);
    let ended = kill(SignalTarget::Tree)
        // It may lead no group.
        .or_else(|_| kill(SignalTarget::Process))
        .and_then(|()| {
            let mut end = [rustix::event::PollFd::new(
                process,
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut end, Some(&REAP_LIMIT))?;
            process.try_wait()
        });
    if let Err(error) = ended {
        log::error!("port: a child that could not be watched may be left: {error}");
    }
}
