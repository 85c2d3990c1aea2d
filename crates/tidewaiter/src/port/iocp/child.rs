//! Children: starting them, and waiting for their exits.

use std::io;
use std::os::windows::io::AsHandle;
use std::sync::Arc;

use super::Iocp;
use super::entry::{Child, Entry, Source};
use super::wait::Wait;
use crate::port::table::Key;
use crate::port::{Failure, Handle, Outcome, Spawned, SpawnedPipe};
use crate::process::{
    self, OsChild, PipeDirection, PseudoConsole, Spawn, SpawnError, SpawnStep, StartedChild,
};

impl Iocp {
    pub(super) fn spawn_child(&mut self, spawn: Spawn<'_>) -> Result<Spawned, SpawnError> {
        let started = match spawn {
            Spawn::Command(command) => StartedChild::start(command)?,
            Spawn::Started(started) => started,
        };
        let (child, program) = started.take();
        self.adopt_child(child)
            .map_err(|source| SpawnError::at(program, SpawnStep::Adopt, source))
    }

    fn adopt_child(&mut self, child: OsChild) -> io::Result<Spawned> {
        let process = Box::new(Child {
            process: child.process,
            pipes: Vec::new(),
        });
        // A process is not associated with the port, so this cannot fail.
        let process = Handle(self.handles.insert(Entry::new(Source::Process(process))));
        let mut pipes = Vec::with_capacity(child.pipes.len());
        for pipe in child.pipes {
            let source = match pipe.direction {
                PipeDirection::ToChild => Source::PipeWriter(pipe.pipe),
                PipeDirection::FromChild => Source::PipeReader(pipe.pipe),
                PipeDirection::Both => Source::DuplexPipe(pipe.pipe),
            };
            match self.insert(source, true) {
                Ok(handle) => pipes.push(SpawnedPipe {
                    child_fd: pipe.child_fd,
                    direction: pipe.direction,
                    half_closes: false,
                    handle,
                }),
                Err(error) => {
                    self.abandon(process, &pipes);
                    return Err(error);
                }
            }
        }
        if let Some(terminal) = child.terminal {
            self.give_terminal(process, &terminal, &pipes);
        }
        if let Some(entry) = self.handles.get_mut(process.0)
            && let Source::Process(child) = &mut entry.source
        {
            child.pipes = pipes.iter().map(|pipe| pipe.handle.0).collect();
        }
        Ok(Spawned {
            process,
            pid: child.pid,
            pipes,
        })
    }

    /// Makes the pipes of a terminal keep it open, and end when it was closed.
    fn give_terminal(
        &mut self,
        process: Handle,
        terminal: &Arc<PseudoConsole>,
        pipes: &[SpawnedPipe],
    ) {
        let queue = Arc::clone(&self.queue);
        terminal.report_closed(Box::new(move || {
            if let Err(error) = queue.post_job(process.0) {
                log::warn!("port: the end of a terminal cannot be reported: {error}");
            }
        }));
        for pipe in pipes.iter().filter(|pipe| pipe.child_fd < 2) {
            if let Some(entry) = self.handles.get_mut(pipe.handle.0) {
                entry.terminal = Some(Arc::clone(terminal));
            }
        }
    }

    /// Kills a child that the caller never received.
    fn abandon(&mut self, process: Handle, pipes: &[SpawnedPipe]) {
        let Some(Source::Process(child)) = self.handles.get(process.0).map(|entry| &entry.source)
        else {
            unreachable!("it was just inserted");
        };
        process::abandon(&child.process);
        for handle in pipes.iter().map(|pipe| pipe.handle).chain([process]) {
            self.handles.remove(handle.0);
        }
    }

    /// Waits for a process to exit.
    pub(super) fn start_exit(&mut self, operation: Key) {
        let (Source::Process(child), _) = self.source_of(operation) else {
            unreachable!("only processes exit");
        };
        let process = child.process.as_handle();
        match Wait::start(self.functions.packets, &self.queue, process, operation) {
            Ok(wait) => {
                let pending = self.operations.get_mut(operation).expect("just started");
                pending.wait = Some(wait);
            }
            Err(error) => self.end(operation, Err(Failure::os("wait for a process", error))),
        }
    }

    /// Reports the exit of a process.
    pub(super) fn finish_exit(&mut self, operation: Key) {
        let (Source::Process(child), _) = self.source_of(operation) else {
            unreachable!("only processes exit");
        };
        let result = match child.process.ended() {
            Ok(status) => Ok(Outcome::Exited(status)),
            Err(error) => Err(Failure::os("GetExitCodeProcess", error)),
        };
        self.end_tree_if_over(self.handle_of(operation));
        self.end(operation, result);
    }
}
