//! The end of a child's pipes together with the child's tree: the child and all its descendants.
//!
//! A pipe ends by itself once nobody holds its other end. But for as long as a child is being started, its ends are
//! inheritable, and a process that another thread starts in that moment may get them too. It does not know that it
//! has them, and would keep the pipes open for as long as it lives. So when the last process of the tree has ended,
//! the port disconnects the pipes. Bytes that are still in a pipe are read first.
//!
//! The pipes of a terminal lead to the pseudo-console, which the port closes first: before Windows 11 24H2, its output
//! does not end otherwise. When it was closed, all its output is in the pipe, and the port disconnects the pipes as those
//! of any other child. Later versions of Windows end the pipes by themselves.

use std::os::windows::io::AsHandle;

use super::Iocp;
use super::entry::{Child, Source};
use super::pipe::{disconnect, disconnect_if_empty};
use super::queue::job_key;
use crate::port::table::Key;

impl Iocp {
    /// Ends the pipes of a child that has exited if no process of its tree is left. Otherwise has the job post a packet
    /// when one ends, to ask again.
    pub(super) fn end_tree_if_over(&mut self, process: Key) {
        let Some(Source::Process(child)) = self.handles.get(process).map(|entry| &entry.source)
        else {
            // Closed meanwhile.
            return;
        };
        if child.pipes.is_empty() {
            return;
        }
        let queue = self.queue.as_handle();
        let over = child.process.tree_has_ended().and_then(|ended| {
            if ended {
                return Ok(true);
            }
            child.process.report_tree_to(queue, job_key(process))?;
            // Asks again, because the last process may have ended before the job began to report.
            child.process.tree_has_ended()
        });
        match over {
            Ok(true) => self.end_pipes(process),
            Ok(false) => {}
            // The pipes still end once nobody holds their other ends.
            Err(error) => log::warn!("port: the end of a child's descendants is unknown: {error}"),
        }
    }

    fn end_pipes(&mut self, process: Key) {
        let Some(child) = self.child_mut(process) else {
            return;
        };
        let mut waiting = Vec::new();
        for pipe in std::mem::take(&mut child.pipes) {
            // The program may have closed it meanwhile.
            let Some(entry) = self.handles.get_mut(pipe) else {
                continue;
            };
            if let Some(terminal) = &entry.terminal
                && !terminal.has_ended()
            {
                terminal.close();
                if !terminal.ends_by_itself() {
                    waiting.push(pipe);
                }
                continue;
            }
            match &entry.source {
                Source::PipeWriter(pipe) => disconnect(pipe),
                Source::PipeReader(pipe) | Source::DuplexPipe(pipe) => {
                    disconnect_if_empty(pipe);
                    entry.ends_when_empty = true;
                }
                _ => {}
            }
        }
        if let Some(child) = self.child_mut(process) {
            child.pipes = waiting;
        }
    }

    /// The child behind the handle; `None` once that was closed.
    fn child_mut(&mut self, process: Key) -> Option<&mut Child> {
        match self.handles.get_mut(process)?.source {
            Source::Process(ref mut child) => Some(child),
            _ => None,
        }
    }
}
