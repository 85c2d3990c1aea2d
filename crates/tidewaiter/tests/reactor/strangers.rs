//! A number of the OS belongs to one object, from the moment it is reported until its user is told of the end,
//! whatever else opens and closes meanwhile. A "stranger" is a socket or a terminal that the reactor does not know.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tidewaiter::port::{Interest, RawDescriptor};
use tidewaiter::process::TerminalSize;
use tidewaiter::{
    Address, ChildFd, Factory, Listener, Process, ProcessProtocol, Protocol, Reactor, Reason,
    Transport, Watch,
};

use crate::promises::support::{any_port, reactor, run_clean};
use crate::support::alone::alone;
use crate::support::number::{address_of, file_of, number};
use crate::support::random::Random;
use crate::support::roles::Role;
use crate::support::stranger::Stranger;
#[cfg(unix)]
use crate::support::terminal::Terminal;

/// More than the numbers that other tests may have left free.
const MANY_STRANGERS: usize = 64;

/// Sockets that the reactor does not know.
fn strangers() -> Vec<TcpListener> {
    (0..MANY_STRANGERS)
        .map(|_| TcpListener::bind(any_port()).expect("descriptors are free"))
        .collect()
}

fn have(strangers: &[TcpListener], wanted: RawDescriptor) -> bool {
    strangers.iter().any(|stranger| number(stranger) == wanted)
}

/// Checks, when the listener is closed, that no other socket got its number before.
struct Watchful {
    number: RawDescriptor,
    strangers: Rc<RefCell<Vec<TcpListener>>>,
}

impl Factory for Watchful {
    fn build_protocol(&mut self, peer: Address) -> Option<Box<dyn Protocol>> {
        panic!("{peer} connects to nobody");
    }

    fn listener_closed(&mut self, listener: &Listener) {
        assert_eq!(listener.raw_descriptor(), None);
        assert!(!have(&self.strangers.borrow(), self.number));
        listener.reactor().stop();
    }
}

/// Goal: the number of a stopped listener stays taken until its factory is told of the end.
/// Method: open sockets right after the stop, once in a callback, once while accepting is paused.
#[test]
fn a_listener_keeps_its_number_until_its_factory_is_told() {
    for paused in [false, true] {
        let reactor = reactor();
        let socket = TcpListener::bind(any_port()).expect("a port is free");
        let strangers_opened = Rc::default();
        let factory = Watchful {
            number: number(&socket),
            strangers: Rc::clone(&strangers_opened),
        };
        let listener = reactor.listen_on(socket, factory).expect("it listens");
        if paused {
            listener.pause_accepting();
        }
        // In the second turn or later, when the port is accepting, or has ended the accept.
        reactor.call_later(Duration::from_millis(1), move |_| {
            listener.stop_listening();
            assert_eq!(listener.raw_descriptor(), None);
            strangers_opened.replace(strangers());
        });
        run_clean(&reactor);
    }
}

/// The number of random programs: fewer on ports where connections take long.
const SEEDS: u64 = if crate::MANY < 500 { 3 } else { 8 };
/// The maximum number of actions of each program.
const ACTS_MAX: usize = 600;
/// The maximum number of connections, strangers, terminals of strangers, and children at a time.
const CONNECTIONS_MAX: usize = 24;
const STRANGERS_MAX: usize = 12;
#[cfg(unix)]
const TERMINALS_MAX: usize = 6;
const CHILDREN_MAX: usize = 4;
/// The maximum number of pipes of children that the program still uses, open or closed.
const PIPES_MAX: usize = 12;

/// A connection of the reactor, and the number that it was reported to have.
struct Known {
    transport: Transport,
    number: RawDescriptor,
    address: SocketAddr,
}

/// A pipe of a child or an end of its terminal, the number that it was reported to have, and the file that the
/// number referred to then.
#[derive(Clone)]
struct KnownPipe {
    transport: Transport,
    child_fd: ChildFd,
    number: RawDescriptor,
    file: Option<String>,
}

/// A stranger, and a watch of one of its ends.
struct Watched {
    stranger: Stranger,
    watch: Option<Watch>,
    /// Once true, nothing may be reported of it any more.
    closed: Rc<Cell<bool>>,
}

/// A program that takes random actions from its callbacks.
struct Program {
    reactor: Reactor,
    random: RefCell<Random>,
    acts: Cell<usize>,
    known: RefCell<Vec<Known>>,
    /// The pipes of children, the oldest first.
    pipes: RefCell<VecDeque<KnownPipe>>,
    listener: RefCell<Option<Listener>>,
    strangers: RefCell<Vec<Watched>>,
    #[cfg(unix)]
    terminals: RefCell<VecDeque<Terminal>>,
    children: Cell<usize>,
    /// The breaches that were found.
    complaints: RefCell<Vec<String>>,
}

impl Program {
    fn below(&self, limit: usize) -> usize {
        self.random.borrow_mut().below(limit)
    }

    fn complain(&self, what: String) {
        self.complaints.borrow_mut().push(what);
    }

    /// Takes a few random actions, in a callback.
    fn act(self: &Rc<Self>) {
        for _ in 0..=self.below(4) {
            match self.acts.get().checked_sub(1) {
                None => return self.reactor.stop(),
                Some(left) => self.acts.set(left),
            }
            match self.below(20) {
                0..=2 => self.connect(),
                3 => self.listen(),
                4 | 5 => self.open_stranger(),
                6 => self.close_stranger(),
                7 | 8 => self.start_child(),
                9..=11 => self.use_a_pipe(),
                12 | 13 => self.exchange_terminals(),
                _ => self.use_a_connection(),
            }
        }
    }

    fn connect(self: &Rc<Self>) {
        let address = self.listener.borrow().as_ref().map(Listener::local_addr);
        let Some(address) = address.filter(|_| self.known.borrow().len() < CONNECTIONS_MAX) else {
            return;
        };
        let program = Rc::clone(self);
        self.reactor
            .connect_tcp(address, move |_| Actor::of(&program));
    }

    /// Stops listening, and listens on another socket.
    fn listen(self: &Rc<Self>) {
        if let Some(listener) = self.listener.take() {
            listener.stop_listening();
            if listener.raw_descriptor().is_some() {
                self.complain("a listener that is stopped tells its number".to_owned());
            }
        }
        let listener = self
            .reactor
            .listen_tcp(any_port(), Acceptor(Rc::clone(self)));
        self.listener.replace(listener.ok());
    }

    fn open_stranger(self: &Rc<Self>) {
        if self.strangers.borrow().len() >= STRANGERS_MAX {
            return self.close_stranger();
        }
        let stranger = Stranger::open().expect("a connection");
        let closed = Rc::new(Cell::new(false));
        let (program, over) = (Rc::downgrade(self), Rc::clone(&closed));
        let [watched, _] = stranger.numbers();
        let watch = self
            .reactor
            .watch(watched, Interest::READABLE, move |_, _| {
                if let Some(program) = program.upgrade() {
                    program.complain(format!("a watch is reported, closed: {}", over.get()));
                }
            });
        self.strangers.borrow_mut().push(Watched {
            stranger,
            watch: watch.ok(),
            closed,
        });
    }

    fn close_stranger(&self) {
        let count = self.strangers.borrow().len();
        if count == 0 {
            return;
        }
        let one = self.strangers.borrow_mut().swap_remove(self.below(count));
        if let Some(watch) = &one.watch {
            watch.stop();
        }
        one.closed.set(true);
        if let Err(error) = one.stranger.close() {
            self.complain(format!("a stranger was touched: {error}"));
        }
    }

    /// Opens a terminal, and closes the oldest one if there are many.
    #[cfg(unix)]
    fn exchange_terminals(&self) {
        let terminal = Terminal::open().expect("a terminal");
        self.terminals.borrow_mut().push_back(terminal);
        if self.terminals.borrow().len() > TERMINALS_MAX {
            self.close_terminal();
        }
    }

    #[cfg(windows)]
    fn exchange_terminals(&self) {}

    #[cfg(unix)]
    fn close_terminal(&self) {
        let oldest = self.terminals.borrow_mut().pop_front();
        if let Some(Err(error)) = oldest.map(Terminal::close) {
            self.complain(format!("a stranger's terminal was touched: {error}"));
        }
    }

    /// Closes everything that the reactor does not know.
    fn close_strangers(&self) {
        while !self.strangers.borrow().is_empty() {
            self.close_stranger();
        }
        #[cfg(unix)]
        while !self.terminals.borrow().is_empty() {
            self.close_terminal();
        }
    }

    fn start_child(self: &Rc<Self>) {
        if self.children.get() == CHILDREN_MAX {
            return;
        }
        let command = crate::child(Role::Echo);
        let command = match self.below(2) {
            0 if cfg!(unix) => command.terminal(TerminalSize::default()),
            _ => command,
        };
        let parent = Parent {
            program: Rc::clone(self),
            pipes: Vec::new(),
        };
        let started = self.reactor.spawn_process(&command, parent);
        self.children
            .set(self.children.get() + usize::from(started.is_ok()));
    }

    fn use_a_connection(self: &Rc<Self>) {
        let count = self.known.borrow().len();
        if count == 0 {
            return;
        }
        let at = self.below(count);
        let (transport, number, address) = {
            let known = &self.known.borrow()[at];
            (known.transport.clone(), known.number, known.address)
        };
        match self.below(10) {
            0 => transport.abort_connection(),
            1 => transport.lose_connection(),
            2 => transport.close_connection_now(),
            3 => transport.lose_write_connection(),
            4 | 5 => transport.write(&vec![7; 1 << self.below(18)]),
            6 => transport.pause_producing(),
            7 => transport.resume_producing(),
            8 => _ = transport.set_no_delay(true),
            _ => _ = transport.set_keep_alive(Some(Duration::from_secs(60))),
        }
        self.check_number(&transport, number, address);
    }

    fn use_a_pipe(&self) {
        let count = self.pipes.borrow().len();
        if count == 0 {
            return;
        }
        let at = self.below(count);
        let pipe = self.pipes.borrow()[at].clone();
        let transport = &pipe.transport;
        match self.below(9) {
            0 => transport.abort_connection(),
            1 => transport.lose_connection(),
            2 => transport.close_connection_now(),
            3 => transport.lose_write_connection(),
            4 | 5 => transport.write(b"a line\n"),
            6 => transport.pause_producing(),
            7 => transport.resume_producing(),
            // A pipe has no such option, so an error is expected.
            _ => _ = transport.set_no_delay(true),
        }
        if let Some(told) = transport.raw_descriptor() {
            self.check_pipe(&pipe, told);
        }
    }

    /// Checks that `told` is a pipe's number, and still refers to the pipe.
    fn check_pipe(&self, pipe: &KnownPipe, told: RawDescriptor) {
        let found = file_of(told);
        if told != pipe.number || found != pipe.file {
            let KnownPipe { number, file, .. } = pipe;
            self.complain(format!(
                "a pipe tells {told}, {found:?}, for {number}, {file:?}"
            ));
        }
    }

    /// Checks that everything a connection reports is about itself.
    fn check_number(&self, transport: &Transport, number: RawDescriptor, address: SocketAddr) {
        let told = transport.raw_descriptor();
        if told.is_some_and(|told| told != number || address_of(told) != Some(address)) {
            self.complain(format!("{transport:?} tells {told:?} for {number}"));
        }
        let local = transport.local_addr().ok();
        if local.as_ref().is_some_and(|local| *local != address.into()) {
            self.complain(format!("{transport:?} is at {address}, not {local:?}"));
        }
    }
}

/// Acts in each of its callbacks, and checks that its number is its own until it is told of the end.
struct Actor {
    program: Rc<Program>,
    me: Option<(RawDescriptor, SocketAddr)>,
}

impl Actor {
    fn of(program: &Rc<Program>) -> Actor {
        Actor {
            program: Rc::clone(program),
            me: None,
        }
    }
}

impl Protocol for Actor {
    fn connection_made(&mut self, transport: &Transport) {
        let address = transport.local_addr().ok();
        let address = address.and_then(|address| address.socket_addr());
        if let (Some(number), Some(address)) = (transport.raw_descriptor(), address) {
            self.me = Some((number, address));
            self.program.known.borrow_mut().push(Known {
                transport: transport.clone(),
                number,
                address,
            });
        }
        transport.write(b"hello");
        self.program.act();
    }

    fn data_received(&mut self, _: &Transport, _: &[u8]) {
        self.program.act();
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        let program = &self.program;
        if let Some((number, address)) = self.me {
            let found = address_of(number);
            if found != Some(address) {
                let what = format!("{number} is {found:?}, not {address}, when {reason} is told");
                program.complain(what);
            }
        }
        if transport.raw_descriptor().is_some() {
            program.complain(format!("{transport:?} tells its number after its end"));
        }
        program.act();
        // Keeps using it for a while, as a program does that keeps the transport.
        let mut known = program.known.borrow_mut();
        if known.len() > CONNECTIONS_MAX / 2 {
            known.retain(|one| one.transport != *transport);
        }
    }
}

struct Acceptor(Rc<Program>);

impl Factory for Acceptor {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Actor::of(&self.0)))
    }

    fn connection_failed(&mut self, _: &Reactor, _: tidewaiter::ConnectError) {}

    fn listener_closed(&mut self, _: &Listener) {
        self.0.act();
    }
}

/// Has a child answer once, and ends it. Checks that the numbers of its pipes are theirs until it is told of the end.
struct Parent {
    program: Rc<Program>,
    pipes: Vec<KnownPipe>,
}

impl ProcessProtocol for Parent {
    fn connection_made(&mut self, process: &Process) {
        for child_fd in process.pipes() {
            let transport = process.pipe(child_fd).expect("it is open");
            if let Some(number) = transport.raw_descriptor() {
                let file = file_of(number);
                self.pipes.push(KnownPipe {
                    transport,
                    child_fd,
                    number,
                    file,
                });
            }
        }
        let known = &self.program.pipes;
        known.borrow_mut().extend(self.pipes.iter().cloned());
        process.write(b"hello\n");
        self.program.act();
    }

    fn child_data_received(&mut self, process: &Process, _: ChildFd, _: &[u8]) {
        match self.program.below(3) {
            0 => process.close_stdin(),
            1 => process.lose_connection(),
            // It may have ended, so an error is expected.
            _ => _ = process.kill(),
        }
        self.program.act();
    }

    fn child_connection_lost(&mut self, process: &Process, child_fd: ChildFd, _: Reason) {
        let program = &self.program;
        if let Some(pipe) = self.pipes.iter().find(|pipe| pipe.child_fd == child_fd) {
            program.check_pipe(pipe, pipe.number);
            if let Some(told) = pipe.transport.raw_descriptor() {
                program.complain(format!("a pipe tells {told} after its end"));
            }
        }
        process.close_stdin();
        program.act();
    }

    fn process_ended(&mut self, _: &Process, _: tidewaiter::process::ExitStatus) {
        let program = &self.program;
        program.children.set(program.children.get() - 1);
        program.act();
        // Keeps using its pipes for a while, as a program does that keeps their transports.
        let mut known = program.pipes.borrow_mut();
        let too_many = known.len().saturating_sub(PIPES_MAX);
        known.drain(..too_many);
    }
}

/// Opens and closes connections until it is told to end. Returns a complaint for each one that was touched.
fn elsewhere(over: &AtomicBool) -> Vec<String> {
    let mut open: VecDeque<Stranger> = VecDeque::new();
    let mut complaints = Vec::new();
    let mut close = |stranger: Stranger| {
        if let Err(error) = stranger.close() {
            complaints.push(format!("a stranger of another thread was touched: {error}"));
        }
    };
    while !over.load(Ordering::Relaxed) {
        open.push_back(Stranger::open().expect("a connection"));
        if open.len() > STRANGERS_MAX {
            open.pop_front().into_iter().for_each(&mut close);
        }
    }
    open.into_iter().for_each(&mut close);
    complaints
}

fn run_program(seed: u64) -> Vec<String> {
    let program = Rc::new(Program {
        reactor: reactor(),
        random: RefCell::new(Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        acts: Cell::new(ACTS_MAX),
        known: RefCell::default(),
        pipes: RefCell::default(),
        listener: RefCell::default(),
        strangers: RefCell::default(),
        #[cfg(unix)]
        terminals: RefCell::default(),
        children: Cell::new(0),
        complaints: RefCell::default(),
    });
    program.listen();
    tick(&program);
    run_clean(&program.reactor);
    program.close_strangers();
    program.complaints.take()
}

/// Acts every now and then, even if no other callback is called.
fn tick(program: &Rc<Program>) {
    program.act();
    let again = Rc::clone(program);
    let delay = Duration::from_micros(300);
    program.reactor.call_later(delay, move |_| tick(&again));
}

/// Goal: whatever opens and closes sockets and terminals, in callbacks or on other threads, none of other code is
/// read, written, changed or closed; what a connection or a child's pipe or terminal reports of itself is true; and
/// its number is its own until its protocol has been told of the end.
/// Method: random programs, by seed, that use connections and children in all states, beside threads that open and
/// close connections of their own; each of those is checked before it is closed.
#[test]
fn no_stranger_is_ever_touched() {
    // Alone, because its many children would hold copies of sockets and so keep other tests' addresses in use.
    alone(module_path!(), "no_stranger_is_ever_touched", || {
        for seed in 0..SEEDS {
            let complaints = run_beside_strangers(seed);
            assert!(complaints.is_empty(), "seed {seed}: {complaints:#?}");
        }
    });
}

fn run_beside_strangers(seed: u64) -> Vec<String> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(|| elsewhere(&over)));
        let mut complaints = run_program(seed);
        over.store(true, Ordering::Relaxed);
        for thread in threads {
            complaints.extend(thread.join().expect("it only complains"));
        }
        complaints
    })
}
