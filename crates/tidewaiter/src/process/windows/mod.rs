//! Starting processes.

use std::io;

use super::{Command, ExitStatus, OsChild, Signal, SignalTarget, SpawnError, SpawnStep};

#[derive(Debug)]
pub(crate) struct OsProcess {
    handle: std::os::windows::io::OwnedHandle,
}

pub(crate) fn spawn(command: &Command) -> Result<OsChild, SpawnError> {
    Err(SpawnError {
        program: command.program.clone(),
        step: SpawnStep::Execute,
        source: io::Error::from(io::ErrorKind::Unsupported),
    })
}

impl OsProcess {
    pub(crate) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        Ok(None)
    }

    pub(crate) fn signal(&self, _signal: Signal, _target: SignalTarget) -> io::Result<()> {
        Ok(())
    }
}
