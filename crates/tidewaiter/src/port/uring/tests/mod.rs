//! Tests particular to this backend, on real sockets and pipes.

mod children;
mod refusal;
mod streams;
mod stress;
mod threads;
mod unawaited;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::super::{
    Buffer, CloseMode, Completion, Driver, Failure, Handle, Operation, Outcome, PortOptions,
    Request, RequestKind, Resource, Token,
};
use super::ring::TaskWork;
use super::{Allowed, Uring};
use crate::port::named_calls::NamedCalls;

/// Longer than any step here takes; running into it is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

/// The features that a supported kernel may lack, removed one by one.
const KERNELS: [Allowed; 3] = [
    Allowed::ALL,
    Allowed {
        task_work: TaskWork::Cooperative,
        multishot: true,
        wait_by_number: false,
        immediate_sends: false,
    },
    Allowed {
        task_work: TaskWork::Interrupting,
        multishot: false,
        wait_by_number: false,
        immediate_sends: false,
    },
];

/// A port, and the completions that it has delivered but the test has not taken yet.
struct Harness {
    port: Uring,
    delivered: Vec<Completion>,
}

impl Harness {
    fn new() -> Harness {
        Harness::with(&PortOptions::default(), Allowed::ALL)
    }

    fn with(options: &PortOptions, allowed: Allowed) -> Harness {
        let port = Uring::open(options, "asked for by a test".to_owned(), allowed);
        let mut port = port.expect("this machine has io_uring");
        let successor = port.begin_waiting().expect("it can wait");
        assert!(successor.is_none(), "it waits itself");
        Harness {
            port,
            delivered: Vec::new(),
        }
    }

    fn wait(&mut self) {
        let before = self.delivered.len();
        let deadline = Instant::now() + PATIENCE;
        // Signals that other tests send to the process can end a wait early.
        while self.delivered.len() == before && Instant::now() < deadline {
            self.port
                .wait(Some(PATIENCE), &mut self.delivered)
                .expect("the port can wait");
        }
        assert!(
            self.delivered.len() > before,
            "nothing came: {:?}",
            self.port
        );
    }

    /// Returns the next completion of `operation`.
    fn next(&mut self, operation: Operation) -> Completion {
        loop {
            let mut delivered = self.delivered.iter();
            if let Some(at) = delivered.position(|one| one.operation == operation) {
                return self.delivered.remove(at);
            }
            self.wait();
        }
    }

    /// Returns the last completion of `operation`; drops the earlier ones.
    fn last(&mut self, operation: Operation) -> Completion {
        loop {
            let completion = self.next(operation);
            if !completion.more {
                return completion;
            }
        }
    }

    fn submit(&mut self, handle: Handle, request: Request) -> Operation {
        let submitted = self.port.submit(handle, request, Token(7));
        submitted.expect("the handle takes the request")
    }

    fn receive(&mut self, operation: Operation) -> Buffer {
        match self.next(operation).result {
            Ok(Outcome::Received(buffer)) => buffer,
            other => panic!("no bytes: {other:?}"),
        }
    }

    fn send(&mut self, handle: Handle, data: &[u8]) {
        let operation = self.submit(handle, Request::Send(data.into()));
        match self.next(operation).result {
            Ok(Outcome::Sent { bytes, .. }) => assert_eq!(bytes, data.len()),
            other => panic!("not sent: {other:?}"),
        }
    }

    fn adopt(&mut self, resource: impl Into<Resource>) -> Handle {
        self.port.adopt(resource.into()).expect("it can be adopted")
    }

    fn close(&mut self, handle: Handle, mode: CloseMode) {
        let closing = self.port.close(handle, mode, Token(8)).expect("it is open");
        let closed = self.next(closing);
        assert_eq!(closed.token, Token(8));
        assert_eq!(closed.kind, RequestKind::Close);
        assert!(matches!(closed.result, Ok(Outcome::Closed)), "{closed:?}");
    }

    /// Waits until the handle that is being closed is closed.
    fn wait_for_closed(&mut self) {
        loop {
            let mut delivered = self.delivered.iter();
            if let Some(at) = delivered.position(|one| matches!(one.result, Ok(Outcome::Closed))) {
                self.delivered.remove(at);
                return;
            }
            self.wait();
        }
    }

    /// Checks that nothing is left: neither operations nor handles, nor unexpected completions.
    fn finish(self) {
        assert_eq!(self.port.in_flight(), 0, "{:?}", self.delivered);
        assert_eq!(self.port.open_handles(), 0);
        assert_eq!(self.port.stale(), 0);
        assert!(self.delivered.is_empty(), "{:?}", self.delivered);
    }
}

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Returns two connected sockets.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(loopback()).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let ours = TcpStream::connect(address).expect("it listens");
    let (theirs, _) = listener.accept().expect("we connected");
    theirs.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    (ours, theirs)
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe")
}

fn is_cancelled(completion: &Completion) -> bool {
    matches!(completion.result, Err(Failure::Cancelled))
}

fn os_error(completion: &Completion) -> Option<i32> {
    match &completion.result {
        Err(Failure::Os { source, .. }) => source.raw_os_error(),
        _ => None,
    }
}
