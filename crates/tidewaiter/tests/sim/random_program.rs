//! A program that takes random actions on two ports, and checks their completions against a model.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use tidewaiter::Address;
use tidewaiter::port::sim::{Call, Faults, Output, Sim, programs};
use tidewaiter::port::{
    Chunks, CloseMode, Completion, Failure, Handle, ListenOptions, Outcome, Port, Request,
    RequestKind, Socket, Token,
};
use tidewaiter::process::{Command, ExitStatus, Signal, SignalTarget};

use crate::model::{Flow, Item, Kind, Pending, path};

const FLOOD_BYTES: usize = 5000;

/// The most bytes in a send, and in a packet, which is received whole.
const SEND_BYTES_MAX: usize = 3000;
const PACKET_BYTES_MAX: usize = 500;

/// The number of paths at which UNIX sockets listen: few, so that they are in use, and used again.
const PATHS: usize = 4;

/// The number of actions of a run.
const STEPS: usize = 250;

pub(crate) struct RandomProgram {
    random: u64,
    sim: Sim,
    ports: [Port; 2],
    /// A closed handle leaves a gap.
    items: Vec<Option<Item>>,
    flows: Vec<Flow>,
    statuses: Vec<Option<ExitStatus>>,
    /// Each address that was listened on, and whether for sequenced packets.
    listening: Vec<(Address, bool)>,
    /// The flows of each connection, to and from the listener, and whether it has packets, by the address of the connecting
    /// end.
    connections: BTreeMap<String, (usize, usize, bool)>,
    accepted: Vec<(Socket, Address)>,
    pending: BTreeMap<u64, Pending>,
    next_token: u64,
    trace: Vec<String>,
}

impl RandomProgram {
    pub(crate) fn new(seed: u64) -> RandomProgram {
        let sim = Sim::builder(seed).receive_bytes(512).build();
        sim.program("cat", || programs::Cat);
        sim.program("false", || programs::Exit(1));
        sim.program("flood", || {
            programs::Flood::new(Output::Stdout, FLOOD_BYTES)
        });
        sim.program("mute", || programs::Mute);
        sim.program("idle", || programs::Idle);
        sim.program("leave", || programs::LeaveBehind(Duration::from_millis(50)));
        RandomProgram {
            random: seed.wrapping_mul(2).wrapping_add(1),
            ports: [sim.port(), sim.port()],
            sim,
            items: Vec::new(),
            flows: Vec::new(),
            statuses: Vec::new(),
            listening: Vec::new(),
            connections: BTreeMap::new(),
            accepted: Vec::new(),
            pending: BTreeMap::new(),
            next_token: 0,
            trace: Vec::new(),
        }
    }

    /// Runs the program. Returns a line for each completion.
    pub(crate) fn run(mut self) -> Vec<String> {
        for _ in 0..3 {
            self.listen();
        }
        for _ in 0..STEPS {
            self.step();
        }
        if self.below(2) == 0 {
            self.settle();
        }
        self.drain();
        self.check_flows();
        self.trace
    }

    /// A number below `limit`, from a generator (xorshift) of its own.
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let limit = u64::try_from(limit).expect("64 bits hold it");
        usize::try_from((self.random >> 11) % limit).expect("below the limit")
    }

    fn step(&mut self) {
        match self.below(40) {
            0 => self.listen(),
            1..=4 => self.connect(),
            5..=7 => self.submit_on(|item| match item.kind {
                Kind::Listener(_) => Some(Request::Accept),
                _ => None,
            }),
            8..=12 => self.receive(),
            13..=18 => self.send(),
            19 => self.shut_down(),
            20..=21 => self.close_any(),
            22 => self.cancel_any(),
            23..=24 => self.spawn(),
            25 => self.signal(),
            26 => self.submit_on(|item| match item.kind {
                Kind::Process(_) => Some(Request::Exit),
                _ => None,
            }),
            27 => self.change_weather(),
            28..=29 => self.adopt_any(),
            30 => self.sim.advance(Duration::from_millis(7)),
            _ => self.wait(),
        }
    }

    fn listen(&mut self) {
        let port = self.below(2);
        let way = self.below(4);
        let address = match way {
            0 | 1 => ([127, 0, 0, 1], 0).into(),
            _ => path(&format!("/run/{}.sock", self.below(PATHS))),
        };
        let mut options = ListenOptions::new(address);
        options.backlog = 3;
        options.sequenced_packets = way == 3;
        match self.ports[port].listen(&options) {
            Ok(handle) => {
                let kind = Kind::Listener(self.listening.len());
                let local = self.local_addr(port, handle);
                self.listening.push((local, options.sequenced_packets));
                self.add(port, handle, kind, None, None);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}"),
        }
    }

    fn local_addr(&self, port: usize, handle: Handle) -> Address {
        let address = self.ports[port].local_addr(handle);
        address.expect("it is bound")
    }

    fn connect(&mut self) {
        let port = self.below(2);
        let listener = self.pick(|item| matches!(item.kind, Kind::Listener(_)));
        let (peer, packets) = match listener.map(|index| self.item(index).kind) {
            Some(Kind::Listener(number)) => self.listening[number].clone(),
            _ => match self.below(2) {
                0 => (([192, 0, 2, 1], 80).into(), false),
                _ => (path("/run/nobody.sock"), false),
            },
        };
        // The listener knows the connection by the client's address, so clients of UNIX sockets have one as well.
        let number = self.connections.len();
        let local = match &peer {
            Address::Unix(_) => Some(path(&format!("/clients/{number}"))),
            _ => None,
        };
        let opened = match packets {
            true => self.ports[port].open_packets(&peer, local.as_ref()),
            false => self.ports[port].open_stream(&peer, local.as_ref()),
        };
        let Ok(handle) = opened else {
            return;
        };
        let local = self.local_addr(port, handle);
        let (to, from) = (self.add_flow(None), self.add_flow(None));
        self.connections
            .insert(local.to_string(), (to, from, packets));
        let kind = Kind::Socket { packets };
        let index = self.add(port, handle, kind, Some(from), Some(to));
        self.submit(index, Request::connect(peer));
    }

    fn spawn(&mut self) {
        let port = self.below(2);
        let names = ["cat", "false", "flood", "mute", "idle", "leave", "nobody"];
        let name = names[self.below(names.len())];
        let Ok(spawned) = self.ports[port].spawn(&Command::new(name)) else {
            return;
        };
        assert_ne!(name, "nobody");
        let child = self.statuses.len();
        self.statuses.push(None);
        let process = self.add(port, spawned.process, Kind::Process(child), None, None);
        let [stdin, stdout, stderr] =
            [0, 1, 2].map(|number| spawned.pipe(number).expect("a pipe each"));
        let input = self.add_flow(Some(child));
        let output = if name == "cat" {
            input
        } else {
            self.add_flow(Some(child))
        };
        if name == "flood" {
            self.flows[output].pattern = None;
            self.flows[output].sent = FLOOD_BYTES;
        }
        let errors = self.add_flow(Some(child));
        self.add(port, stdin, Kind::Pipe, None, Some(input));
        self.add(port, stdout, Kind::Pipe, Some(output), None);
        self.add(port, stderr, Kind::Pipe, Some(errors), None);
        self.submit(process, Request::Exit);
    }

    fn signal(&mut self) {
        let Some(index) = self.pick(|item| matches!(item.kind, Kind::Process(_))) else {
            return;
        };
        let signal = [Signal::Interrupt, Signal::Terminate, Signal::Kill][self.below(3)];
        let target = [SignalTarget::Process, SignalTarget::Tree][self.below(2)];
        let (port, handle) = (self.item(index).port, self.item(index).handle);
        if let Err(error) = self.ports[port].signal(handle, signal, target) {
            assert_eq!(error.kind(), ErrorKind::NotFound, "it has ended: {error}");
        }
    }

    fn receive(&mut self) {
        if let Some(index) = self.pick(|item| item.incoming.is_some() && !item.receiving) {
            self.submit(index, Request::Receive);
        }
    }

    fn send(&mut self) {
        if let Some(index) = self.pick(|item| item.outgoing.is_some() && !item.sending) {
            let most = match self.item(index).kind {
                Kind::Socket { packets: true } => PACKET_BYTES_MAX,
                _ => SEND_BYTES_MAX,
            };
            let count = 1 + self.below(most);
            let flow = &self.flows[self.item(index).outgoing.expect("picked so")];
            let bytes = (flow.sent..flow.sent + count).map(|place| flow.byte_at(place));
            let chunks = Chunks::from(bytes.collect::<Vec<u8>>());
            self.submit(index, Request::Send(chunks));
        }
    }

    fn shut_down(&mut self) {
        if let Some(index) =
            self.pick(|item| matches!(item.kind, Kind::Socket { .. }) && !item.sending)
        {
            let (port, handle) = (self.item(index).port, self.item(index).handle);
            if let Err(error) = self.ports[port].shutdown_write(handle) {
                assert_eq!(error.kind(), ErrorKind::NotConnected);
            }
        }
    }

    fn submit_on(&mut self, request: impl Fn(&Item) -> Option<Request>) {
        if let Some(index) = self.pick(|item| request(item).is_some()) {
            let request = request(self.item(index)).expect("picked so");
            self.submit(index, request);
        }
    }

    fn close_any(&mut self) {
        if let Some(index) = self.pick(|_| true) {
            let mode = [CloseMode::Graceful, CloseMode::Reset][self.below(2)];
            self.close(index, mode);
        }
    }

    fn cancel_any(&mut self) {
        let count = self.pending.len();
        if count > 0 {
            let place = self.below(count);
            let pending = *self.pending.values().nth(place).expect("one of them");
            let port = &mut self.ports[pending.port];
            assert!(port.cancel(pending.operation), "{pending:?} is under way");
            assert!(port.cancel(pending.operation), "asking again is no error");
        }
    }

    /// Changes the faults, resets connections, or makes a call fail.
    fn change_weather(&mut self) {
        match self.below(6) {
            0 => self.sim.set_faults(Faults::default()),
            1 => self.sim.set_faults(Faults::bumpy()),
            2 | 3 => self.sim.set_faults(Faults::stormy()),
            4 => {
                let count = self.connections.len().max(1);
                let place = self.below(count);
                if let Some(address) = self.connections.keys().nth(place) {
                    let address: Address = address.parse().expect("it was written");
                    self.sim.reset(address);
                }
            }
            _ => {
                let calls = [
                    Call::Connect,
                    Call::Accept,
                    Call::Receive,
                    Call::Send,
                    Call::Spawn,
                ];
                let call = calls[self.below(calls.len())];
                self.sim.fail_next(call, ErrorKind::QuotaExceeded);
            }
        }
    }

    /// Adopts an accepted socket on a random port, or drops it.
    fn adopt_any(&mut self) {
        let Some((socket, peer)) = self.accepted.pop() else {
            return;
        };
        let port = self.below(3);
        if port < 2 {
            let handle = self.ports[port].adopt(socket).expect("of this world");
            let (to, from, packets) = self.connections[&peer.to_string()];
            let kind = Kind::Socket { packets };
            self.add(port, handle, kind, Some(to), Some(from));
        }
    }

    fn add_flow(&mut self, child: Option<usize>) -> usize {
        self.flows.push(Flow {
            pattern: Some(self.flows.len()),
            sent: 0,
            received: 0,
            ended: false,
            child,
        });
        self.flows.len() - 1
    }

    fn add(
        &mut self,
        port: usize,
        handle: Handle,
        kind: Kind,
        incoming: Option<usize>,
        outgoing: Option<usize>,
    ) -> usize {
        self.items.push(Some(Item {
            port,
            handle,
            kind,
            incoming,
            outgoing,
            receiving: false,
            sending: false,
            failed: false,
        }));
        self.items.len() - 1
    }

    /// Returns a random one of the open handles for which `suits` is true.
    fn pick(&mut self, suits: impl Fn(&Item) -> bool) -> Option<usize> {
        let open = self.items.iter().enumerate();
        let open = open.filter(|(_, item)| item.as_ref().is_some_and(&suits));
        let open: Vec<usize> = open.map(|(index, _)| index).collect();
        if open.is_empty() {
            return None;
        }
        Some(open[self.below(open.len())])
    }

    fn item(&self, index: usize) -> &Item {
        self.items[index]
            .as_ref()
            .expect("picked among the open ones")
    }

    fn submit(&mut self, index: usize, request: Request) {
        let kind = request.kind();
        let token = self.next_token;
        let item = self.items[index]
            .as_mut()
            .expect("picked among the open ones");
        // A socket that is connecting takes neither.
        item.receiving |= matches!(kind, RequestKind::Receive | RequestKind::Connect);
        item.sending |= matches!(kind, RequestKind::Send | RequestKind::Connect);
        let submitted = self.ports[item.port].submit(item.handle, request, Token(token));
        let operation = submitted.expect("the handle is open and idle");
        let pending = item.pending(index, operation, kind);
        self.note(pending);
    }

    fn note(&mut self, pending: Pending) {
        self.pending.insert(self.next_token, pending);
        self.next_token += 1;
    }

    fn close(&mut self, index: usize, mode: CloseMode) {
        let item = self.items[index]
            .take()
            .expect("picked among the open ones");
        let port = &mut self.ports[item.port];
        let operation = port.close(item.handle, mode, Token(self.next_token));
        let operation = operation.expect("it is open");
        let again = port.submit(item.handle, Request::Receive, Token(0));
        assert_eq!(
            again.expect_err("it is closing").kind(),
            ErrorKind::NotFound
        );
        self.note(item.pending(index, operation, RequestKind::Close));
    }

    /// Waits on a port, with or without a timeout.
    fn wait(&mut self) {
        let port = self.below(2);
        let milliseconds = [0, 0, 1, 10][self.below(4)];
        self.wait_on(port, Some(Duration::from_millis(milliseconds)));
    }

    /// Returns whether anything completed. A wait without a timeout may find that nothing can.
    fn wait_on(&mut self, port: usize, timeout: Option<Duration>) -> bool {
        let mut batch = Vec::new();
        match self.ports[port].wait(timeout, &mut batch) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(
                    (error.kind(), timeout),
                    (ErrorKind::Deadlock, None),
                    "{error}"
                );
            }
        }
        let any = !batch.is_empty();
        for completion in batch {
            let time = self.sim.elapsed();
            self.trace
                .push(format!("{time:?} port {port}: {completion:?}"));
            self.check(port, completion);
        }
        any
    }

    /// Checks a completion against the model.
    fn check(&mut self, port: usize, completion: Completion) {
        let token = completion.token.0;
        let Some(pending) = self.pending.get(&token).copied() else {
            panic!("nothing like that is under way: {completion:?}");
        };
        assert_eq!(pending.port, port, "{completion:?}");
        assert_eq!(pending.operation, completion.operation, "{completion:?}");
        assert_eq!(pending.kind, completion.kind, "{completion:?}");
        if !completion.more {
            self.pending.remove(&token);
            self.end_operation(pending);
        }
        match completion.result {
            Ok(outcome) => self.check_outcome(pending, outcome, completion.more),
            Err(failure) => {
                assert!(!completion.more, "a failure is the last completion");
                assert_ne!(pending.kind, RequestKind::Close, "closing cannot fail");
                let failed = matches!(failure, Failure::Os { .. });
                if let Some(item) = self.items[pending.item].as_mut() {
                    item.failed |= failed;
                }
            }
        }
    }

    fn end_operation(&mut self, pending: Pending) {
        if let Some(item) = self.items[pending.item].as_mut() {
            let connecting = pending.kind == RequestKind::Connect;
            item.receiving &= !connecting && pending.kind != RequestKind::Receive;
            item.sending &= !connecting && pending.kind != RequestKind::Send;
        }
        if pending.kind == RequestKind::Close {
            let mut others = self.pending.values();
            let left = others.find(|other| other.item == pending.item);
            assert!(left.is_none(), "closed before {left:?} completed");
        }
    }

    fn check_outcome(&mut self, pending: Pending, outcome: Outcome, more: bool) {
        match (pending.kind, outcome) {
            (RequestKind::Accept, Outcome::Accepted { socket, peer }) => {
                assert!(
                    more && self.connections.contains_key(&peer.to_string()),
                    "nobody has {peer}"
                );
                self.accepted.push((socket, peer));
            }
            (RequestKind::Receive, Outcome::Received(bytes)) => {
                assert!(more && !bytes.is_empty());
                let flow = &mut self.flows[pending.incoming.expect("it receives")];
                let place = flow.received;
                let right = bytes.iter().enumerate();
                let right = right.filter(|&(n, &byte)| byte == flow.byte_at(place + n));
                assert_eq!(
                    right.count(),
                    bytes.len(),
                    "wrong bytes at {place}: {pending:?}"
                );
                flow.received += bytes.len();
            }
            (RequestKind::Receive, Outcome::EndOfFile) => {
                assert!(!more);
                self.flows[pending.incoming.expect("it receives")].ended = true;
            }
            (RequestKind::Send, Outcome::Sent { bytes, .. }) => {
                assert!(!more && bytes > 0);
                self.flows[pending.outgoing.expect("it sends")].sent += bytes;
            }
            (RequestKind::Exit, Outcome::Exited(status)) => {
                let known = &mut self.statuses[pending.child.expect("it is a process")];
                assert!(!more && known.is_none_or(|known| known == status));
                *known = Some(status);
            }
            (RequestKind::Connect, Outcome::Connected) | (RequestKind::Close, Outcome::Closed) => {
                assert!(!more);
            }
            (kind, outcome) => panic!("{kind:?} came to {outcome:?}"),
        }
    }

    /// Runs until nothing more completes by itself: receives everything, and sends nothing more.
    fn settle(&mut self) {
        self.sim.set_faults(Faults::bumpy());
        // After this many rounds, the last delay, and the grandchildren's 50 ms, are over.
        let (mut rounds, mut quiet_rounds) = (0, 0);
        while quiet_rounds < 5 {
            rounds += 1;
            assert!(rounds < 10_000, "it does not come to rest");
            while !self.accepted.is_empty() {
                self.adopt_any();
            }
            self.settle_items();
            let tick = Duration::from_millis(10);
            let both = [Duration::ZERO, tick]
                .map(|timeout| self.wait_on(0, Some(timeout)) | self.wait_on(1, Some(timeout)));
            quiet_rounds = if both.contains(&true) {
                0
            } else {
                quiet_rounds + 1
            };
        }
    }

    fn settle_items(&mut self) {
        for index in 0..self.items.len() {
            let Some(item) = &self.items[index] else {
                continue;
            };
            let (port, handle, kind) = (item.port, item.handle, item.kind);
            if let Some(flow) = item.incoming
                && !item.receiving
                && !item.failed
                && !self.flows[flow].ended
                && self.ports[port].peer_addr(handle).is_ok()
            {
                self.submit(index, Request::Receive);
            }
            let sending = self.item(index).sending;
            match kind {
                Kind::Socket { .. } if !sending => drop(self.ports[port].shutdown_write(handle)),
                Kind::Pipe if !sending && self.item(index).outgoing.is_some() => {
                    self.close(index, CloseMode::Graceful);
                }
                _ => {}
            }
        }
    }

    /// Closes everything, and checks that nothing is left.
    fn drain(&mut self) {
        self.accepted.clear();
        for index in 0..self.items.len() {
            if self.items[index].is_some() {
                self.close(index, CloseMode::Graceful);
            }
        }
        for port in 0..2 {
            while self.ports[port].in_flight() > 0 {
                assert!(self.wait_on(port, None), "closing always completes");
                self.accepted.clear();
            }
            assert_eq!(self.ports[port].open_handles(), 0);
            assert_eq!(self.ports[port].stale(), 0);
        }
        assert!(
            self.pending.is_empty(),
            "never completed: {:?}",
            self.pending
        );
    }

    fn check_flows(&self) {
        for flow in &self.flows {
            let exited = |child: usize| self.statuses[child] == Some(ExitStatus::Code(0));
            flow.check(flow.child.is_none_or(exited));
        }
    }
}
