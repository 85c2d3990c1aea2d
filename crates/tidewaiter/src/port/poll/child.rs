//! Children: the registration of their handles, and waits for their exits.

use std::io;

use super::super::source::Source;
use super::super::{Failure, Outcome};
use super::attempt::Attempt;
use super::entry::Entry;
use super::{PollPort, Spawned, SpawnedPipe};
use crate::process::{ChildPipe, OsChild, OsProcess, PipeDirection};

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
            match self.register_any(Source::of_pipe(direction, pipe)) {
                Ok(handle) => pipes.push(SpawnedPipe {
                    child_fd,
                    direction,
                    half_closes: direction == PipeDirection::Both,
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
                    unreachable!("`register` gives its source back");
                };
                Err((error, *process))
            }
        }
    }
}

pub(super) fn attempt(entry: &mut Entry) -> Attempt {
    let Source::Process(process) = &entry.source else {
        unreachable!("`check` lets no other source exit");
    };
    match process.try_wait() {
        Ok(Some(status)) => Attempt::Last(Ok(Outcome::Exited(status))),
        Ok(None) => {
            entry.readable = false;
            Attempt::NotReady
        }
        Err(error) => Attempt::Last(Err(Failure::os("waitid", error))),
    }
}
