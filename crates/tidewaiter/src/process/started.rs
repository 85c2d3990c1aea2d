//! A child that was started for a port, and that the port has not taken yet.

use std::ffi::{OsStr, OsString};
use std::io;

use super::{Command, OsChild, SpawnError, SpawnStep, abandon, spawn};

/// A child that a port is asked for.
#[derive(Debug)]
pub(crate) enum Spawn<'a> {
    /// The child of this command, which the port starts.
    Command(&'a Command),
    /// A child that was started elsewhere: the port takes it.
    Started(StartedChild),
}

/// A child that runs and belongs to no port yet. It may go to another thread. Dropping it kills it with its tree, because
/// nobody would learn of its end.
#[derive(Debug)]
pub(crate) struct StartedChild {
    program: OsString,
    /// Present until a port takes it.
    child: Option<OsChild>,
}

impl StartedChild {
    /// Starts the program, on this thread.
    pub(crate) fn start(command: &Command) -> Result<StartedChild, SpawnError> {
        Ok(StartedChild {
            program: command.program().to_owned(),
            child: Some(spawn(command)?),
        })
    }

    pub(crate) fn program(&self) -> &OsStr {
        &self.program
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child().pid
    }

    /// The child's descriptors that are pipes.
    pub(crate) fn pipes(&self) -> Vec<u32> {
        self.child()
            .pipes
            .iter()
            .map(|pipe| pipe.child_fd)
            .collect()
    }

    fn child(&self) -> &OsChild {
        self.child.as_ref().expect("`take` consumes it")
    }

    /// The error of a port that cannot take it.
    pub(crate) fn failed(&self, source: io::Error) -> SpawnError {
        SpawnError::at(self.program.clone(), SpawnStep::Adopt, source)
    }

    /// Hands the child over, with the name of its program. The caller answers for it from then on.
    pub(crate) fn take(mut self) -> (OsChild, OsString) {
        let child = self.child.take().expect("nothing else takes it");
        (child, std::mem::take(&mut self.program))
    }
}

#[cfg(test)]
impl StartedChild {
    /// Puts something that no port can wait for in the place of the last pipe.
    pub(crate) fn with_unusable_pipe(mut self, pipe: crate::os::OsPipe) -> StartedChild {
        let child = self.child.as_mut().expect("`take` consumes it");
        child.pipes.last_mut().expect("it has one").pipe = pipe;
        self
    }
}

impl Drop for StartedChild {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            // Our ends first: it may wait for one of them.
            drop(child.pipes);
            abandon(&child.process);
        }
    }
}
