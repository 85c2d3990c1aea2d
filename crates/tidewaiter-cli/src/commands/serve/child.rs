//! The child of a session: passes its events to the session, and logs its standard error.

use std::rc::Rc;

use tidewaiter::process::ExitStatus;
use tidewaiter::{ChildFd, Process, ProcessProtocol, Reason};

use super::session::Session;

/// Longer lines of standard error are logged in several pieces.
const LINE_BYTES_MAX: usize = 4096;

pub(super) struct Child {
    session: Rc<Session>,
    /// The unfinished line of standard error.
    line: Vec<u8>,
}

impl Child {
    pub(super) fn new(session: &Rc<Session>) -> Child {
        Child {
            session: Rc::clone(session),
            line: Vec::new(),
        }
    }

    fn log_errors(&mut self, process: &Process, data: &[u8]) {
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            for part in piece.chunks(LINE_BYTES_MAX) {
                if self.line.len() + part.len() > LINE_BYTES_MAX {
                    self.log_line(process);
                }
                self.line.extend_from_slice(part);
            }
            if self.line.ends_with(b"\n") {
                self.log_line(process);
            }
        }
    }

    fn log_line(&mut self, process: &Process) {
        let line = String::from_utf8_lossy(&self.line);
        let text = line.trim_end_matches(['\r', '\n']);
        log::warn!(peer:% = self.session.peer(), pid = process.pid(), stderr:% = text; "child says");
        self.line.clear();
    }
}

impl ProcessProtocol for Child {
    fn child_data_received(&mut self, process: &Process, child_fd: ChildFd, data: &[u8]) {
        if child_fd == 2 {
            self.log_errors(process, data);
        } else {
            self.session.child_data_received(data);
        }
    }

    fn child_connection_lost(&mut self, process: &Process, child_fd: ChildFd, _: Reason) {
        match child_fd {
            0 => self.session.child_input_closed(),
            1 => self.session.child_output_ended(),
            _ if self.line.is_empty() => {}
            _ => self.log_line(process),
        }
    }

    fn process_exited(&mut self, _: &Process, status: ExitStatus) {
        self.session.child_exited(status);
    }

    fn process_ended(&mut self, _: &Process, _: ExitStatus) {
        self.session.child_ended();
    }
}
