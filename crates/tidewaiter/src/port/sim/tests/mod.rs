//! Tests of the promises that only the simulated port makes. Another suite tests those of all
//! ports.

mod children;
mod clock;
mod datagrams;
mod faults;
mod network;
mod unix;

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::Sim;
use crate::os::Address;
use crate::port::{
    Chunks, Completion, Failure, Handle, ListenOptions, Outcome, Port, Request, RequestKind, Token,
};

/// A port, and the completions that it has delivered but the test has not taken yet.
struct Bench {
    sim: Sim,
    port: Port,
    unseen: VecDeque<Completion>,
}

impl Bench {
    fn new(sim: Sim) -> Bench {
        Bench {
            port: sim.port(),
            sim,
            unseen: VecDeque::new(),
        }
    }

    fn submit(&mut self, handle: Handle, request: Request) {
        let submitted = self.port.submit(handle, request, Token(0));
        submitted.expect("it can be submitted");
    }

    fn send(&mut self, handle: Handle, bytes: &[u8]) {
        self.submit(handle, Request::Send(Chunks::from(bytes)));
    }

    /// Returns the result of the next completion of this kind, on any handle.
    fn next(&mut self, kind: RequestKind) -> Result<Outcome, Failure> {
        self.completion(kind).result
    }

    /// Returns the next completion of a send, which must succeed: the number of bytes sent, and the
    /// unsent rest.
    fn sent(&mut self) -> (usize, Chunks) {
        let completion = self.completion(RequestKind::Send);
        match completion.result {
            Ok(Outcome::Sent { bytes }) => (bytes, completion.unsent),
            other => panic!("not sent: {other:?}"),
        }
    }

    fn completion(&mut self, kind: RequestKind) -> Completion {
        loop {
            let found = self.unseen.iter().position(|seen| seen.kind == kind);
            if let Some(completion) = found.and_then(|place| self.unseen.remove(place)) {
                return completion;
            }
            let mut batch = Vec::new();
            let waited = self.port.wait(None, &mut batch);
            waited.unwrap_or_else(|error| panic!("waiting for {kind:?}: {error}"));
            self.unseen.extend(batch);
        }
    }

    fn listen(&mut self) -> (Handle, SocketAddr) {
        let address = ([127, 0, 0, 1], 0);
        let listener = self.port.listen(&ListenOptions::new(address));
        let listener = listener.expect("a free port");
        let address = self.port.local_addr(listener).expect("it is open");
        (listener, address.socket_addr().expect("an IP address"))
    }

    fn connect(&mut self, address: impl Into<Address>) -> Handle {
        let address = address.into();
        let client = self.port.open_stream(&address, None).expect("a free port");
        self.submit(client, Request::connect(address));
        client
    }

    /// Returns a client's end and a server's end of a connection.
    fn pair(&mut self) -> (Handle, Handle) {
        let (listener, address) = self.listen();
        self.submit(listener, Request::Accept);
        let client = self.connect(address);
        let connected = self.next(RequestKind::Connect);
        assert!(matches!(connected, Ok(Outcome::Connected)));
        let accepted = self.next(RequestKind::Accept);
        let Ok(Outcome::Accepted { socket, .. }) = accepted else {
            panic!("not accepted: {accepted:?}");
        };
        (client, self.port.adopt(socket).expect("of the same world"))
    }

    /// Receives everything up to the end of file. `handle` must not be receiving.
    fn receive_all(&mut self, handle: Handle) -> Result<Vec<u8>, Failure> {
        self.submit(handle, Request::Receive);
        let mut all = Vec::new();
        loop {
            match self.next(RequestKind::Receive)? {
                Outcome::Received(bytes) => all.extend_from_slice(&bytes),
                Outcome::EndOfFile => return Ok(all),
                other => panic!("a receive came to {other:?}"),
            }
        }
    }
}

/// The kind of error that an operation failed with.
fn error_kind(result: Result<Outcome, Failure>) -> std::io::ErrorKind {
    match result {
        Err(Failure::Os { source, .. }) => source.kind(),
        other => panic!("no OS error: {other:?}"),
    }
}
