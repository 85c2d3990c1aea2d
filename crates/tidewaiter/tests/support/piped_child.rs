//! A child of a port, with a pipe to each of its standard streams.

use tidewaiter::port::{Handle, Operation, Request};
use tidewaiter::process::{Command, ExitStatus};

use super::harness::Harness;
use super::reader::Reader;
use super::roles::{READY, Role};

/// A started child, with a wait for its end under way.
pub(crate) struct Child {
    pub(crate) process: Handle,
    pub(crate) stdin: Handle,
    pub(crate) stdout: Handle,
    pub(crate) stderr: Handle,
    pub(crate) exit: Operation,
}

impl Child {
    #[track_caller]
    pub(crate) fn start(harness: &mut Harness, role: Role) -> Child {
        Child::run(harness, &crate::child(role))
    }

    #[track_caller]
    pub(crate) fn run(harness: &mut Harness, command: &Command) -> Child {
        let spawned = harness.spawn(command);
        let [Some(stdin), Some(stdout), Some(stderr)] =
            [0, 1, 2].map(|number| spawned.pipe(number))
        else {
            panic!("there should be three pipes: {:?}", spawned.pipes);
        };
        assert_ne!(spawned.pid, 0);
        Child {
            process: spawned.process,
            stdin,
            stdout,
            stderr,
            exit: harness.submit(spawned.process, Request::Exit),
        }
    }

    /// Receives the child's output, from the beginning of its role.
    #[track_caller]
    pub(crate) fn output(&self, harness: &mut Harness) -> Reader {
        let mut reader = Reader::new(harness, self.stdout);
        reader.skip_past(harness, READY);
        reader
    }

    /// A text that no other child of this port has.
    pub(crate) fn process_text(&self) -> Vec<u8> {
        format!("{:?}", self.process).into_bytes()
    }

    /// Waits for the child's end.
    #[track_caller]
    pub(crate) fn status(&self, harness: &mut Harness) -> ExitStatus {
        harness.exit_status(self.exit)
    }
}
