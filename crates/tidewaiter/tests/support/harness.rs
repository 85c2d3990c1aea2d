//! A port whose every completion is checked against a record of the submissions; used by all tests of the
//! promises.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use tidewaiter::port::{
    Chunks, CloseMode, Completion, DatagramOptions, Failure, FileOutcome, FileRequest, Handle,
    ListenOptions, Operation, Outcome, Port, PortOptions, Request, RequestKind, Resource, Socket,
    Spawned, Token,
};
use tidewaiter::process::{Command, ExitStatus, Signal, SignalTarget};

/// The limit on any wait before a test fails: far longer than it takes even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An operation that has completions to come.
#[derive(Debug)]
struct Entry {
    handle: Handle,
    kind: RequestKind,
    token: Token,
    /// The number of bytes, or of datagrams, of a send; 1 for an accept of one connection.
    bytes: usize,
}

/// A port, and a record of its submissions and completions.
///
/// Every completion is checked at once: it belongs to a submitted operation, carries its token, is of its kind,
/// and says `more` only where more may follow; no completion of a handle follows its closing.
pub(crate) struct Harness {
    pub(crate) port: Port,
    /// How many bytes one receive may bring. Messages are of any length.
    pub(crate) receive_bytes: RangeInclusive<usize>,
    tokens: u64,
    live: HashMap<Operation, Entry>,
    ended: HashSet<Operation>,
    arrived: HashMap<Operation, VecDeque<Completion>>,
    open: HashSet<Handle>,
    children: HashSet<Handle>,
    settled: bool,
}

impl Harness {
    pub(crate) fn new() -> Harness {
        Harness::with(&PortOptions::default())
    }

    pub(crate) fn with(options: &PortOptions) -> Harness {
        Harness {
            port: crate::open(options),
            receive_bytes: 1..=options.surge_bytes.max(options.receive_bytes),
            tokens: 0,
            live: HashMap::new(),
            ended: HashSet::new(),
            arrived: HashMap::new(),
            open: HashSet::new(),
            children: HashSet::new(),
            settled: false,
        }
    }

    /// Submits a request that the port must accept.
    #[track_caller]
    pub(crate) fn submit(&mut self, handle: Handle, request: Request) -> Operation {
        let kind = request.kind();
        match self.try_submit(handle, request) {
            Ok(operation) => operation,
            Err(error) => panic!("the port took no {kind:?}: {error}"),
        }
    }

    /// Submits a request that the port may refuse.
    #[track_caller]
    pub(crate) fn try_submit(&mut self, handle: Handle, request: Request) -> io::Result<Operation> {
        let kind = request.kind();
        let bytes = match &request {
            Request::Send(data) => data.len(),
            Request::File(asked) => match &**asked {
                FileRequest::Write { data, .. } => data.len(),
                _ => 0,
            },
            Request::SendDatagrams(batch) => batch.len(),
            Request::AcceptOne => 1,
            _ => 0,
        };
        let token = self.next_token();
        let operation = self.port.submit(handle, request, token)?;
        self.enter(operation, handle, kind, bytes, token);
        Ok(operation)
    }

    #[track_caller]
    pub(crate) fn receive(&mut self, handle: Handle) -> Operation {
        self.submit(handle, Request::Receive)
    }

    #[track_caller]
    pub(crate) fn send(&mut self, handle: Handle, data: impl Into<Chunks>) -> Operation {
        self.submit(handle, Request::Send(data.into()))
    }

    #[track_caller]
    pub(crate) fn close(&mut self, handle: Handle, mode: CloseMode) -> Operation {
        let token = self.next_token();
        let operation = self
            .port
            .close(handle, mode, token)
            .expect("an open handle can be closed");
        self.enter(operation, handle, RequestKind::Close, 0, token);
        self.open.remove(&handle);
        operation
    }

    /// Closes gracefully, and waits for the completion.
    #[track_caller]
    pub(crate) fn close_now(&mut self, handle: Handle) {
        let closing = self.close(handle, CloseMode::Graceful);
        assert!(matches!(self.last(closing), Ok(Outcome::Closed)));
    }

    /// A token may be any number: these count down from the largest.
    fn next_token(&mut self) -> Token {
        self.tokens += 1;
        Token(u64::MAX - self.tokens)
    }

    #[track_caller]
    fn enter(
        &mut self,
        operation: Operation,
        handle: Handle,
        kind: RequestKind,
        bytes: usize,
        token: Token,
    ) {
        assert!(
            !self.ended.contains(&operation),
            "operations are never valid twice"
        );
        let entry = Entry {
            handle,
            kind,
            token,
            bytes,
        };
        assert!(
            self.live.insert(operation, entry).is_none(),
            "two operations under way are not one"
        );
    }

    /// Waits once. Returns the number of completions, which are kept until a test asks for them.
    #[track_caller]
    pub(crate) fn turn(&mut self, timeout: Option<Duration>) -> usize {
        let mut completions = Vec::new();
        self.port
            .wait(timeout, &mut completions)
            .expect("the port waits");
        let count = completions.len();
        for completion in completions {
            self.check_off(completion);
        }
        let closing = self
            .live
            .values()
            .filter(|entry| entry.kind == RequestKind::Close)
            .count();
        let submitted = self.live.len() - closing;
        let in_flight = self.port.in_flight();
        assert!(
            (submitted..=self.live.len()).contains(&in_flight),
            "{submitted} operations and {closing} closings are under way, not {in_flight}"
        );
        count
    }

    #[track_caller]
    fn check_off(&mut self, completion: Completion) {
        let operation = completion.operation;
        let Some(entry) = self.live.get(&operation) else {
            panic!("a completion without an operation under way: {completion:?}");
        };
        assert_eq!(completion.token, entry.token, "{completion:?}");
        assert_eq!(completion.kind, entry.kind, "{completion:?}");
        self.check_result(entry, &completion);
        if completion.kind == RequestKind::Close {
            let handle = entry.handle;
            let others = self.live.values().filter(|entry| entry.handle == handle);
            assert_eq!(others.count(), 1, "closing is the last to complete");
        }
        if !completion.more {
            self.live.remove(&operation);
            self.ended.insert(operation);
        }
        self.arrived
            .entry(operation)
            .or_default()
            .push_back(completion);
    }

    #[track_caller]
    fn check_result(&self, entry: &Entry, completion: &Completion) {
        use RequestKind::{
            Accept, Close, Connect, Exit, File, HangUp, OpenFile, Receive, ReceiveDatagrams, Send,
            SendDatagrams, SendFile,
        };
        let unsent = completion.unsent.len();
        match (&completion.result, entry.kind, completion.more) {
            (Ok(Outcome::Received(buffer)), Receive, true) => {
                let possible = &self.receive_bytes;
                assert!(possible.contains(&buffer.len()), "{completion:?}");
            }
            (Ok(Outcome::ReceivedWithDescriptors(received)), Receive, true) => {
                let possible = &self.receive_bytes;
                assert!(possible.contains(&received.data.len()), "{completion:?}");
            }
            (Ok(Outcome::Sent { bytes }), Send, false) => {
                assert!(*bytes > 0, "a send sends something");
                assert_eq!(bytes + unsent, entry.bytes, "{completion:?}");
            }
            (Ok(Outcome::File(FileOutcome::Written { bytes })), File, false) => {
                assert!(*bytes > 0, "a write writes something");
                assert_eq!(bytes + unsent, entry.bytes, "{completion:?}");
            }
            (Err(_), Send | File, false) => assert_eq!(unsent, entry.bytes, "{completion:?}"),
            _ if unsent > 0 => panic!("nothing was to be sent: {completion:?}"),
            (Ok(Outcome::Accepted { .. }), Accept, more) if more == (entry.bytes == 0) => {}
            (Ok(Outcome::EndOfFile), Receive, false)
            | (Ok(Outcome::Connected), Connect, false)
            | (Ok(Outcome::Exited(_)), Exit, false)
            | (Ok(Outcome::HungUp), HangUp, false)
            | (Ok(Outcome::FileOpened), OpenFile, false)
            | (Ok(Outcome::File(_)), File, false)
            | (Ok(Outcome::FileSent { .. }), SendFile, false)
            | (Ok(Outcome::Closed), Close, false) => {}
            (Ok(Outcome::Datagrams(datagrams)), ReceiveDatagrams, true) => {
                assert!(!datagrams.is_empty(), "{completion:?}");
            }
            (Ok(Outcome::DatagramError(_)), ReceiveDatagrams, true) => {}
            (Ok(Outcome::DatagramsSent(batch)), SendDatagrams, false) => {
                assert!(batch.len() <= entry.bytes, "{completion:?}");
            }
            (Err(_), kind, false) if kind != Close && kind != SendDatagrams => {}
            _ => panic!("no answer to a {:?}: {completion:?}", entry.kind),
        }
    }

    /// Waits until `done` returns true, or fails and names `what` it waited for.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Harness) -> bool) {
        let deadline = self.port.now() + PATIENCE;
        while !done(self) {
            let left = deadline.saturating_duration_since(self.port.now());
            assert!(
                !left.is_zero(),
                "still waiting for {what}: {:?}, {:?}",
                self.port,
                self.live
            );
            self.turn(Some(left));
        }
    }

    /// Returns the next completion of `operation` if it has been delivered.
    pub(crate) fn arrived(&mut self, operation: Operation) -> Option<Completion> {
        self.arrived.get_mut(&operation)?.pop_front()
    }

    /// Whether `operation` has completions to come.
    pub(crate) fn is_live(&self, operation: Operation) -> bool {
        self.live.contains_key(&operation)
    }

    /// How many operations have completions to come.
    pub(crate) fn live_count(&self) -> usize {
        self.live.len()
    }

    /// The operations that have completions to come.
    pub(crate) fn live(&self) -> Vec<Operation> {
        self.live.keys().copied().collect()
    }

    /// Waits for the next completion of `operation`.
    #[track_caller]
    pub(crate) fn next(&mut self, operation: Operation) -> Completion {
        let mut found = None;
        self.until("the next completion of an operation", |harness| {
            found = harness.arrived(operation);
            found.is_some()
        });
        found.expect("`until` ended")
    }

    /// Waits for the last completion of `operation`; those before it are dropped.
    #[track_caller]
    pub(crate) fn last(&mut self, operation: Operation) -> Result<Outcome, Failure> {
        loop {
            let completion = self.next(operation);
            if !completion.more {
                return completion.result;
            }
        }
    }

    /// Waits for the last completion of `operation`, which must report an error of the OS, and returns the
    /// error.
    #[track_caller]
    pub(crate) fn refusal(&mut self, operation: Operation) -> io::Error {
        match self.last(operation) {
            Err(Failure::Os { call, source }) => {
                assert!(!call.is_empty(), "the call is named");
                source
            }
            other => panic!("the OS should have refused: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn assert_cancelled(&mut self, operation: Operation) {
        let result = self.last(operation);
        assert!(matches!(result, Err(Failure::Cancelled)), "{result:?}");
    }

    /// Listens at `address`, whose port may be 0.
    #[track_caller]
    pub(crate) fn listen_on(&mut self, address: &str) -> (Handle, SocketAddr) {
        let address: SocketAddr = address.parse().expect("an address");
        let listener = self
            .port
            .listen(&ListenOptions::new(address))
            .expect("the port listens");
        self.open.insert(listener);
        (listener, self.local_ip(listener))
    }

    /// The IP address that a socket is bound to.
    #[track_caller]
    pub(crate) fn local_ip(&self, handle: Handle) -> SocketAddr {
        let address = self.port.local_addr(handle).expect("it is bound");
        address.socket_addr().expect("an IP address")
    }

    #[track_caller]
    pub(crate) fn listen(&mut self) -> (Handle, SocketAddr) {
        self.listen_on("127.0.0.1:0")
    }

    pub(crate) fn open_datagrams(&mut self, options: &DatagramOptions) -> io::Result<Handle> {
        let handle = self.port.open_datagrams(options)?;
        self.open.insert(handle);
        Ok(handle)
    }

    #[track_caller]
    pub(crate) fn open_stream(&mut self, peer: SocketAddr) -> Handle {
        let handle = self
            .port
            .open_stream(&peer.into(), None)
            .expect("a socket is to be had");
        self.open.insert(handle);
        handle
    }

    #[track_caller]
    pub(crate) fn connect(&mut self, peer: SocketAddr) -> (Handle, Operation) {
        let handle = self.open_stream(peer);
        (handle, self.submit(handle, Request::connect(peer)))
    }

    #[track_caller]
    pub(crate) fn adopt(&mut self, resource: impl Into<Resource>) -> Handle {
        let handle = self
            .port
            .adopt(resource)
            .expect("the port takes the resource");
        self.track(handle);
        handle
    }

    /// Records a handle that was opened without the harness, so that it is closed at the end.
    pub(crate) fn track(&mut self, handle: Handle) {
        self.open.insert(handle);
    }

    /// Records a child process, so that it is killed at the end.
    pub(crate) fn track_child(&mut self, process: Handle) {
        self.track(process);
        self.children.insert(process);
    }

    /// Starts a child, and records its handles.
    #[track_caller]
    pub(crate) fn spawn(&mut self, command: &Command) -> Spawned {
        let spawned = self.port.spawn(command).expect("the child starts");
        self.track_child(spawned.process);
        for pipe in &spawned.pipes {
            self.track(pipe.handle);
        }
        spawned
    }

    /// Waits for the end of a child, given the operation that awaits it.
    #[track_caller]
    pub(crate) fn exit_status(&mut self, exit: Operation) -> ExitStatus {
        match self.last(exit) {
            Ok(Outcome::Exited(status)) => status,
            other => panic!("the child should have exited: {other:?}"),
        }
    }

    /// Kills the children and their descendants, as far as they still run and are still known.
    fn end_children(&mut self) {
        for process in self.children.drain() {
            // It may have ended, or its handle may be closed, so an error is expected.
            let _ = self.port.signal(process, Signal::Kill, SignalTarget::Tree);
        }
    }

    /// Listens on an address that the tests beside this one do not use. They open sockets by the thousand, and
    /// one of these might get an ordinary address as soon as it is free.
    #[track_caller]
    pub(crate) fn listen_apart(&mut self) -> (Handle, SocketAddr) {
        self.listen_on("[::1]:0")
    }

    /// An address at which nobody listens: no OS assigns this port.
    pub(crate) fn deserted_address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 1))
    }

    /// Attempts a call that needs the address of a closed listener to be free.
    ///
    /// Retries for a moment, because on Unix the children that other tests fork hold a copy of every descriptor
    /// until their programs start.
    #[track_caller]
    pub(crate) fn soon<T>(&mut self, mut attempt: impl FnMut(&mut Harness) -> io::Result<T>) -> T {
        let deadline = self.port.now() + PATIENCE;
        loop {
            match attempt(self) {
                Ok(value) => return value,
                Err(error) => assert!(self.port.now() < deadline, "{error}"),
            }
            self.turn(Some(Duration::from_millis(1)));
        }
    }

    /// Waits for the next connection that `accepting` delivers.
    #[track_caller]
    pub(crate) fn accepted(&mut self, accepting: Operation) -> (Socket, SocketAddr) {
        let completion = self.next(accepting);
        match completion.result {
            Ok(Outcome::Accepted { socket, peer }) => {
                (socket, peer.socket_addr().expect("an IP address"))
            }
            other => panic!("a connection should have arrived: {other:?}"),
        }
    }

    /// Two connected handles: the one that connected, and the one that was accepted.
    #[track_caller]
    pub(crate) fn pair(&mut self) -> (Handle, Handle) {
        self.pairs(1).remove(0)
    }

    /// Makes connected pairs, through a listener that is closed afterwards.
    #[track_caller]
    pub(crate) fn pairs(&mut self, count: usize) -> Vec<(Handle, Handle)> {
        /// Fewer than a backlog holds.
        const AT_ONCE: usize = 100;
        let (listener, address) = self.listen();
        let accepting = self.submit(listener, Request::Accept);
        let mut pairs = Vec::new();
        while pairs.len() < count {
            let wave = AT_ONCE.min(count - pairs.len());
            let connects: Vec<_> = (0..wave).map(|_| self.connect(address)).collect();
            let mut clients = HashMap::new();
            for (client, connecting) in connects {
                let result = self.last(connecting);
                assert!(matches!(result, Ok(Outcome::Connected)), "{result:?}");
                clients.insert(self.local_ip(client), client);
            }
            for _ in 0..wave {
                let (socket, peer) = self.accepted(accepting);
                let client = clients.remove(&peer).expect("whose peer is one of ours");
                pairs.push((client, self.adopt(socket)));
            }
        }
        self.close_now(listener);
        self.assert_cancelled(accepting);
        pairs
    }

    /// Sends all of `data`, in as many operations as it takes.
    #[track_caller]
    pub(crate) fn send_all(&mut self, handle: Handle, data: &[u8]) {
        let mut left = Chunks::from(data);
        while !left.is_empty() {
            let sending = self.send(handle, left);
            left = self.sent(sending).1;
        }
    }

    /// Waits for the end of a send, which must not fail. Returns how many bytes the OS took, and the unsent
    /// ones.
    #[track_caller]
    pub(crate) fn sent(&mut self, sending: Operation) -> (usize, Chunks) {
        let completion = self.next(sending);
        match completion.result {
            Ok(Outcome::Sent { bytes }) => (bytes, completion.unsent),
            other => panic!("it cannot be sent: {other:?}"),
        }
    }

    /// Sends `data` over and over until the OS takes no more. Returns the send that is stuck, and how many
    /// bytes were sent before it.
    #[track_caller]
    pub(crate) fn send_until_stuck(&mut self, handle: Handle, data: &Bytes) -> (Operation, usize) {
        /// On loopback, an operation that takes longer than several of these waits for something. A busy machine may
        /// stand still for longer than one.
        const STILL: Duration = Duration::from_millis(100);
        const STILLS: usize = 4;
        let (mut sent, mut left) = (0, Chunks::new());
        loop {
            if left.is_empty() {
                left = Chunks::from(data.clone());
            }
            let sending = self.send(handle, left);
            let mut still = 0;
            while self.is_live(sending) && still < STILLS {
                still = if self.turn(Some(STILL)) > 0 {
                    0
                } else {
                    still + 1
                };
            }
            if self.is_live(sending) {
                return (sending, sent);
            }
            let (bytes, rest) = self.sent(sending);
            sent += bytes;
            left = rest;
        }
    }

    /// Starts to close everything that is open.
    pub(crate) fn close_all(&mut self, mode: CloseMode) {
        self.end_children();
        let open: Vec<_> = self.open.iter().copied().collect();
        for handle in open {
            self.close(handle, mode);
        }
    }

    /// Closes everything that is open, and checks that every operation completed and nothing is left.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        self.close_all(CloseMode::Reset);
        self.until("the last completions", |harness| harness.live.is_empty());
        assert_eq!(
            self.turn(Some(Duration::ZERO)),
            0,
            "nothing is left to come"
        );
        assert_eq!(self.port.in_flight(), 0, "no operation is left");
        assert_eq!(self.port.open_handles(), 0, "no handle is left");
        assert_eq!(self.port.stale(), 0, "nothing came too late");
        self.settled = true;
    }

    /// Drops the port with everything under way.
    pub(crate) fn drop_port(mut self) {
        self.settled = true;
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.end_children();
        assert!(
            self.settled || std::thread::panicking(),
            "a test must end with `finish` or `drop_port`"
        );
    }
}
