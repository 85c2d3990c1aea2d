//! A program that takes random actions on the datagram sockets of two ports, and checks what arrives against a model.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use tidewaiter::port::sim::{Call, Faults, Sim};
use tidewaiter::port::{
    CloseMode, Completion, DatagramBatch, DatagramOptions, Failure, Handle, Multicast,
    NetworkInterface, Operation, Outcome, Port, Request, RequestKind, Token,
};
use tidewaiter::{Address, UnixAddress};

/// The number of actions of a run.
const STEPS: usize = 250;

/// The sockets of a run: so many of UDP, then so many of the UNIX family.
const UDP: usize = 5;
const UNIX: usize = 3;

struct Socket {
    port: usize,
    handle: Handle,
    address: Address,
    receive: Option<Operation>,
    sending: bool,
    is_open: bool,
}

/// A datagram that was sent: by which socket, to which one (`None`: to a group or to nobody), and how often it arrived.
struct Sent {
    from: usize,
    to: Option<usize>,
    arrived: Vec<usize>,
}

pub(crate) struct RandomDatagrams {
    random: u64,
    sim: Sim,
    ports: [Port; 2],
    sockets: Vec<Socket>,
    sent: Vec<Sent>,
    /// The last number that each UNIX socket received from each of the others.
    last: BTreeMap<(usize, usize), usize>,
    pending: BTreeMap<u64, (usize, RequestKind)>,
    next_token: u64,
    trace: Vec<String>,
}

impl RandomDatagrams {
    pub(crate) fn new(seed: u64) -> RandomDatagrams {
        let sim = Sim::new(seed);
        let mut run = RandomDatagrams {
            random: seed.wrapping_mul(2).wrapping_add(1),
            ports: [sim.port(), sim.port()],
            sim,
            sockets: Vec::new(),
            sent: Vec::new(),
            last: BTreeMap::new(),
            pending: BTreeMap::new(),
            next_token: 0,
            trace: Vec::new(),
        };
        for at in 0..UDP + UNIX {
            run.open(at);
        }
        run
    }

    /// Runs the program. Returns a line for each completion.
    pub(crate) fn run(mut self) -> Vec<String> {
        for _ in 0..STEPS {
            self.step();
        }
        self.settle();
        self.drain();
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

    fn open(&mut self, at: usize) {
        let port = at % 2;
        let options = if at < UDP {
            let mut options = DatagramOptions::bound(([0, 0, 0, 0], 0));
            options.packet_info = at == 0;
            options.broadcast = true;
            options
        } else {
            let path = format!("/run/{at}.sock");
            DatagramOptions::bound(UnixAddress::from_pathname(path).expect("a good path"))
        };
        let opened = self.ports[port].open_datagrams(&options);
        let handle = opened.expect("the address is free");
        let mut address = self.ports[port].local_addr(handle).expect("it is bound");
        if let Some(ip) = address.socket_addr() {
            address = SocketAddr::from(([127, 0, 0, 1], ip.port())).into();
        }
        self.sockets.push(Socket {
            port,
            handle,
            address,
            receive: None,
            sending: false,
            is_open: true,
        });
    }

    fn step(&mut self) {
        match self.below(20) {
            0..=2 => self.begin_receive(),
            3..=9 => self.send(),
            10 => self.cancel(),
            11 => self.change_weather(),
            12 => self.join(),
            13 => self.sim.advance(Duration::from_millis(7)),
            14 => self.close_any(),
            _ => self.wait(Some(Duration::from_millis(3))),
        }
    }

    fn submit(&mut self, at: usize, request: Request) -> Option<Operation> {
        let kind = request.kind();
        let (port, handle) = (self.sockets[at].port, self.sockets[at].handle);
        self.next_token += 1;
        let token = Token(self.next_token);
        let submitted = self.ports[port].submit(handle, request, token);
        let operation = match submitted {
            Ok(operation) => operation,
            Err(error) => {
                assert!(!self.sockets[at].is_open, "refused: {error}");
                return None;
            }
        };
        self.pending.insert(self.next_token, (at, kind));
        Some(operation)
    }

    fn begin_receive(&mut self) {
        let at = self.below(self.sockets.len());
        if self.sockets[at].receive.is_none() {
            self.sockets[at].receive = self.submit(at, Request::ReceiveDatagrams);
        }
    }

    fn send(&mut self) {
        let from = self.below(self.sockets.len());
        if self.sockets[from].sending {
            return;
        }
        let is_udp = from < UDP;
        let mut batch = DatagramBatch::new();
        for _ in 0..=self.below(4) {
            let to = match is_udp {
                true => self.below(UDP + 2),
                false => UDP + self.below(UNIX),
            };
            let address = match to {
                UDP if is_udp => self.group(),
                to if is_udp && to > UDP => ([127, 0, 0, 1], 9).into(),
                to => self.sockets[to].address.clone(),
            };
            let number = self.sent.len();
            let mut data = number.to_le_bytes().to_vec();
            data.resize(8 + self.below(100), number.to_le_bytes()[0]);
            batch.push(&data, Some(&address));
            self.sent.push(Sent {
                from,
                to: Some(to).filter(|&to| !is_udp || to < UDP),
                arrived: Vec::new(),
            });
        }
        self.sockets[from].sending = self.submit(from, Request::SendDatagrams(batch)).is_some();
    }

    /// The group's address, with the port of one of the sockets.
    fn group(&mut self) -> Address {
        let one = self.below(UDP);
        let address = self.sockets[one].address.socket_addr();
        ([239, 1, 2, 3], address.expect("it is UDP").port()).into()
    }

    fn cancel(&mut self) {
        let at = self.below(self.sockets.len());
        if let Some(receive) = self.sockets[at].receive {
            self.ports[self.sockets[at].port].cancel(receive);
        }
    }

    fn join(&mut self) {
        let at = self.below(UDP);
        let (port, handle) = (self.sockets[at].port, self.sockets[at].handle);
        let change = Multicast::Join {
            group: [239, 1, 2, 3].into(),
            source: None,
            interface: NetworkInterface::Any,
        };
        if let Err(error) = self.ports[port].set_multicast(handle, change) {
            let kinds = [ErrorKind::AddrInUse, ErrorKind::NotFound];
            assert!(kinds.contains(&error.kind()), "{error}");
        }
    }

    fn close_any(&mut self) {
        if self.below(5) == 0 {
            let at = self.below(self.sockets.len());
            self.close(at);
        }
    }

    fn close(&mut self, at: usize) {
        if !std::mem::take(&mut self.sockets[at].is_open) {
            return;
        }
        let (port, handle) = (self.sockets[at].port, self.sockets[at].handle);
        self.next_token += 1;
        let token = Token(self.next_token);
        let closed = self.ports[port].close(handle, CloseMode::Graceful, token);
        closed.expect("it is open");
        let kind = RequestKind::Close;
        self.pending.insert(self.next_token, (at, kind));
    }

    fn change_weather(&mut self) {
        match self.below(5) {
            0 => self.sim.set_faults(Faults::stormy()),
            1 => self.sim.set_faults(Faults::default()),
            2 => self.sim.fail_next(Call::ReceiveDatagrams, ErrorKind::Other),
            3 => self.sim.fail_next(Call::SendDatagrams, ErrorKind::Other),
            _ => self.sim.set_faults(Faults::bumpy()),
        }
    }

    /// Waits on both ports. With several ports, each delivers what it has before one moves the clock.
    fn wait(&mut self, timeout: Option<Duration>) {
        for (port, timeout) in [
            (0, Some(Duration::ZERO)),
            (1, Some(Duration::ZERO)),
            (0, timeout),
        ] {
            let mut batch = Vec::new();
            let waited = self.ports[port].wait(timeout, &mut batch);
            waited.unwrap_or_else(|error| panic!("{error}"));
            for completion in batch {
                let elapsed = self.sim.elapsed();
                self.trace
                    .push(format!("{elapsed:?} {port} {completion:?}"));
                self.check(completion);
            }
        }
    }

    fn check(&mut self, completion: Completion) {
        let token = completion.token.0;
        let &(at, kind) = self.pending.get(&token).expect("it was submitted");
        assert_eq!(completion.kind, kind);
        if !completion.more {
            self.pending.remove(&token);
        }
        match (kind, completion.result) {
            (RequestKind::ReceiveDatagrams, Ok(Outcome::Datagrams(datagrams))) => {
                assert!(completion.more && !datagrams.is_empty());
                for datagram in datagrams.iter() {
                    self.arrived(at, datagram.bytes(), datagram.sender());
                }
            }
            (RequestKind::ReceiveDatagrams, Ok(Outcome::DatagramError(error))) => {
                assert!(completion.more, "{error} ends nothing");
            }
            (RequestKind::ReceiveDatagrams, Err(Failure::Cancelled)) => {
                assert!(!completion.more);
                self.sockets[at].receive = None;
            }
            (RequestKind::SendDatagrams, Ok(Outcome::DatagramsSent(_))) => {
                assert!(!completion.more);
                self.sockets[at].sending = false;
            }
            (RequestKind::Close, Ok(Outcome::Closed)) => {
                assert!(!completion.more);
                let others = self.pending.values().filter(|(other, _)| *other == at);
                assert_eq!(others.count(), 0, "closing is the last to complete");
            }
            (kind, result) => panic!("{kind:?} came to {result:?}"),
        }
    }

    fn arrived(&mut self, at: usize, bytes: &[u8], sender: Option<&Address>) {
        let number = bytes
            .first_chunk()
            .map(|&number| usize::from_le_bytes(number));
        let number = number.expect("each datagram has a number");
        assert!(
            bytes[8..]
                .iter()
                .all(|&byte| byte == number.to_le_bytes()[0])
        );
        let sent = &mut self.sent[number];
        assert!(sent.to.is_none_or(|to| to == at), "{number} went astray");
        assert_eq!(sender, Some(&self.sockets[sent.from].address));
        sent.arrived.push(at);
        let times = sent.arrived.iter().filter(|&&socket| socket == at).count();
        if at < UDP {
            assert!(times <= 2, "{number} arrived {times} times");
            return;
        }
        assert_eq!(times, 1, "no datagram between UNIX sockets is doubled");
        let last = self.last.insert((at, sent.from), number);
        assert!(last < Some(number), "{number} came after {last:?}");
    }

    /// Receives all that is on its way, without losses. What UNIX sockets have sent has arrived then.
    fn settle(&mut self) {
        self.sim.set_faults(Faults::bumpy());
        for _ in 0..200 {
            for at in 0..self.sockets.len() {
                if self.sockets[at].is_open && self.sockets[at].receive.is_none() {
                    self.sockets[at].receive = self.submit(at, Request::ReceiveDatagrams);
                }
            }
            self.wait(Some(Duration::from_millis(10)));
        }
    }

    /// Closes everything, and checks that nothing is left.
    fn drain(&mut self) {
        for at in 0..self.sockets.len() {
            self.close(at);
        }
        for _ in 0..20 {
            self.wait(Some(Duration::from_millis(10)));
        }
        for port in &self.ports {
            assert_eq!((port.in_flight(), port.open_handles()), (0, 0));
        }
        assert!(self.pending.is_empty(), "left: {:?}", self.pending);
    }
}
