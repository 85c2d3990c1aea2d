//! Every public call of a port, in a forked copy, on another thread and while the port is suspended.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tidewaiter::PipeName;
use tidewaiter::port::{
    CloseMode, DatagramBatch, DatagramOptions, DirectoryOptions, FilePart, FileRequest, Handle,
    Interest, ListenOptions, Multicast, Operation, PipeConnectOptions, Port, Request, SerialLine,
    SerialOptions, SerialQueue, SocketOption, Token,
};
use tidewaiter::process::{Signal, SignalTarget, TerminalSize};

use crate::support::across_threads::on_another_thread;
use crate::support::harness::Harness;
use crate::support::piped_child::Child;
use crate::support::roles::Role;

/// The objects that the calls are about.
pub(super) struct Objects {
    pub(super) listener: Handle,
    pub(super) server: Handle,
    pub(super) child: Handle,
    pub(super) accepting: Operation,
}

/// Where or when a port is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// A copy of the process that `fork` made.
    #[allow(dead_code, reason = "only the ports of Linux are tested in copies")]
    Copy,
    /// A thread other than the one that waited first.
    OtherThread,
    /// The port's own thread, between `before_fork` and `after_fork`.
    Suspended,
}

/// What a call does, which decides where and when it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Reads the port's own memory.
    Reads,
    /// Changes or asks something in the OS, or submits a request.
    Acts,
    Waits,
    Suspends,
    Resumes,
}

impl Kind {
    /// The error with which such a call is refused; `None` if it is not refused.
    fn refusal(self, caller: Caller) -> Option<io::ErrorKind> {
        match (self, caller) {
            (Kind::Resumes, Caller::Copy | Caller::OtherThread) => {
                Some(io::ErrorKind::InvalidInput)
            }
            (Kind::Acts | Kind::Waits | Kind::Suspends, Caller::Copy)
            | (Kind::Waits, Caller::OtherThread | Caller::Suspended)
            | (Kind::Suspends, Caller::OtherThread) => Some(io::ErrorKind::ResourceBusy),
            _ => None,
        }
    }
}

type Call = fn(&mut Port, &Objects) -> io::Result<()>;

const TOKEN: Token = Token(1);

/// The calls, in an order in which the earlier ones leave the objects that the later ones need.
const CALLS: &[(&str, Kind, Call)] = &[
    ("submit", Kind::Acts, |port, it| {
        submit(port, it.listener, Request::Accept)
    }),
    ("submit", Kind::Acts, |port, it| {
        submit(port, it.listener, Request::AcceptOne)
    }),
    ("submit", Kind::Acts, |port, it| {
        let peer = Harness::deserted_address();
        submit(port, it.server, Request::connect(peer))
    }),
    ("submit", Kind::Acts, |port, it| {
        submit(port, it.server, Request::Receive)
    }),
    ("submit", Kind::Acts, |port, it| {
        submit(port, it.server, Request::Send(b"no".as_slice().into()))
    }),
    ("submit", Kind::Acts, |port, it| {
        submit(port, it.server, Request::HangUp)
    }),
    ("submit", Kind::Acts, |port, it| {
        submit(port, it.server, Request::ReceiveDatagrams)
    }),
    ("submit", Kind::Acts, |port, it| {
        let mut batch = DatagramBatch::new();
        batch.push(b"no", None);
        submit(port, it.server, Request::SendDatagrams(batch))
    }),
    ("submit", Kind::Acts, |port, it| {
        submit(port, it.child, Request::Exit)
    }),
    ("submit", Kind::Acts, |port, it| {
        let part = FilePart {
            file: it.listener,
            offset: 0,
            len: 1,
        };
        submit(port, it.server, Request::SendFile(Box::new(part)))
    }),
    ("submit", Kind::Acts, |port, it| {
        submit(
            port,
            it.server,
            Request::File(Box::new(FileRequest::Metadata)),
        )
    }),
    ("unopened_file", Kind::Acts, |port, _| {
        let file = port.unopened_file()?;
        close(port, file)
    }),
    ("wait", Kind::Waits, |port, _| {
        port.wait(None, &mut Vec::new())
    }),
    ("waker", Kind::Reads, |port, _| {
        port.waker().wake();
        Ok(())
    }),
    ("info", Kind::Reads, |port, _| {
        assert!(!port.info().reason.is_empty());
        Ok(())
    }),
    ("now", Kind::Reads, |port, _| {
        assert!(port.now() <= port.now());
        Ok(())
    }),
    ("in_flight", Kind::Reads, |port, _| {
        assert!(port.in_flight() > 0);
        Ok(())
    }),
    ("open_handles", Kind::Reads, |port, _| {
        assert!(port.open_handles() > 0);
        Ok(())
    }),
    ("stale", Kind::Reads, |port, _| {
        assert_eq!(port.stale(), 0);
        Ok(())
    }),
    ("submit", Kind::Acts, |port, it| {
        submit(port, it.server, Request::ReceiveWithDescriptors)
    }),
    ("listen", Kind::Acts, |port, _| {
        port.listen(&ListenOptions::new(any_port())).map(drop)
    }),
    ("open_stream", Kind::Acts, |port, _| {
        let peer = Harness::deserted_address();
        port.open_stream(&peer.into(), None).map(drop)
    }),
    ("open_datagrams", Kind::Acts, |port, _| {
        let options = DatagramOptions::bound(any_port());
        port.open_datagrams(&options).map(drop)
    }),
    ("set_peer", Kind::Acts, |port, it| {
        port.set_peer(it.server, None)
    }),
    ("set_multicast", Kind::Acts, |port, it| {
        port.set_multicast(it.server, Multicast::Loopback(false))
    }),
    ("open_serial", Kind::Acts, |port, _| {
        let options = SerialOptions::new("/no/such/device", 9600);
        port.open_serial(&options).map(drop)
    }),
    ("set_serial_line", Kind::Acts, |port, it| {
        port.set_serial_line(it.server, SerialLine::Break, false)
    }),
    ("set_baud_rate", Kind::Acts, |port, it| {
        port.set_baud_rate(it.server, 9600)
    }),
    ("discard", Kind::Acts, |port, it| {
        port.discard(it.server, SerialQueue::Output)
    }),
    ("modem_lines", Kind::Acts, |port, it| {
        port.modem_lines(it.server).map(drop)
    }),
    ("open_packets", Kind::Acts, |port, _| {
        let peer = Harness::deserted_address();
        port.open_packets(&peer.into(), None).map(drop)
    }),
    ("open_pipe", Kind::Acts, |port, _| {
        let name = PipeName::local("no such pipe").expect("a good name");
        port.open_pipe(&name, &PipeConnectOptions::default())
            .map(drop)
    }),
    ("adopt", Kind::Acts, |port, _| {
        let spare = TcpListener::bind(any_port()).expect("a port is free");
        port.adopt(spare).map(drop)
    }),
    ("watch", Kind::Acts, |port, _| {
        port.watch(0, Interest::READABLE, TOKEN).map(drop)
    }),
    ("watch_directory", Kind::Acts, |port, _| {
        let options = DirectoryOptions::new("/no/such/directory");
        port.watch_directory(&options, TOKEN).map(drop)
    }),
    ("watch_handle", Kind::Acts, |port, _| {
        port.watch_handle(0, TOKEN).map(drop)
    }),
    ("set_interest", Kind::Acts, |port, it| {
        port.set_interest(it.accepting, Interest::NONE)
    }),
    ("spawn", Kind::Acts, |port, _| {
        let spawned = port.spawn(&crate::child(Role::Echo));
        spawned.map(drop).map_err(|error| error.source)
    }),
    ("local_addr", Kind::Acts, |port, it| {
        port.local_addr(it.server).map(drop)
    }),
    ("peer_addr", Kind::Acts, |port, it| {
        port.peer_addr(it.server).map(drop)
    }),
    ("multicast_settings", Kind::Acts, |port, it| {
        port.multicast_settings(it.server).map(drop)
    }),
    ("peer_credentials", Kind::Acts, |port, it| {
        port.peer_credentials(it.server).map(drop)
    }),
    ("unacknowledged", Kind::Acts, |port, it| {
        port.unacknowledged(it.server).map(drop)
    }),
    ("usage", Kind::Acts, |port, it| {
        port.usage(it.child).map(drop)
    }),
    ("raw_descriptor", Kind::Acts, |port, it| {
        port.raw_descriptor(it.server).map(drop)
    }),
    ("set_option", Kind::Acts, |port, it| {
        port.set_option(it.server, SocketOption::NoDelay(true))
    }),
    ("shutdown_write", Kind::Acts, |port, it| {
        port.shutdown_write(it.server)
    }),
    ("signal", Kind::Acts, |port, it| {
        port.signal(it.child, Signal::Terminate, SignalTarget::Process)
            .map(drop)
    }),
    ("signal", Kind::Acts, |port, it| {
        port.signal(it.child, Signal::Kill, SignalTarget::Tree)
            .map(drop)
    }),
    ("resize", Kind::Acts, |port, it| {
        port.resize(it.server, TerminalSize::default())
    }),
    ("cancel", Kind::Acts, |port, it| {
        match port.cancel(it.accepting) {
            true => Ok(()),
            false => Err(io::ErrorKind::ResourceBusy.into()),
        }
    }),
    ("close", Kind::Acts, |port, it| close(port, it.listener)),
    ("close", Kind::Acts, |port, it| close(port, it.server)),
    ("close", Kind::Acts, |port, it| close(port, it.child)),
    ("before_fork", Kind::Suspends, |port, _| port.before_fork()),
    ("after_fork", Kind::Resumes, |port, _| port.after_fork()),
];

fn submit(port: &mut Port, handle: Handle, request: Request) -> io::Result<()> {
    port.submit(handle, request, TOKEN).map(drop)
}

fn close(port: &mut Port, handle: Handle) -> io::Result<()> {
    port.close(handle, CloseMode::Reset, TOKEN).map(drop)
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Makes every call, and checks which are refused.
pub(super) fn call_all(port: &mut Port, objects: &Objects, caller: Caller) {
    for (name, kind, call) in CALLS {
        let refused = call(port, objects).err().map(|error| error.kind());
        match kind.refusal(caller) {
            Some(refusal) => assert_eq!(refused, Some(refusal), "{name}, {caller:?}"),
            // The objects may be of no kind that takes the call.
            None => assert_ne!(
                refused,
                Some(io::ErrorKind::ResourceBusy),
                "{name}, {caller:?}"
            ),
        }
    }
}

fn objects(harness: &mut Harness) -> Objects {
    let (listener, _) = harness.listen();
    let accepting = harness.submit(listener, Request::Accept);
    let (_client, server) = harness.pair();
    let child = Child::start(harness, Role::Echo).process;
    Objects {
        listener,
        server,
        child,
        accepting,
    }
}

#[test]
fn the_table_has_every_public_call() {
    let sources = [
        include_str!("../../src/port/mod.rs"),
        include_str!("../../src/port/file_calls.rs"),
        include_str!("../../src/port/fork.rs"),
        include_str!("../../src/port/named_pipe.rs"),
        include_str!("../../src/port/queries.rs"),
        include_str!("../../src/port/directory/calls.rs"),
        include_str!("../../src/port/datagram/calls.rs"),
        include_str!("../../src/port/serial/calls.rs"),
    ];
    let public = sources.iter().flat_map(|source| {
        let (_, calls) = source.split_once("impl Port {").expect("it is there");
        let lines = calls.lines();
        lines.filter_map(|line| line.strip_prefix("    pub fn ")?.split('(').next())
    });
    let public: BTreeSet<&str> = public.collect();
    let called: BTreeSet<&str> = CALLS.iter().map(|(name, ..)| *name).collect();
    assert_eq!(called, public);
}

#[test]
fn only_waits_are_refused_while_suspended() {
    let mut harness = Harness::new();
    let objects = objects(&mut harness);
    harness.port.before_fork().expect("it can be suspended");
    call_all(&mut harness.port, &objects, Caller::Suspended);
    let waited = harness.port.wait(Some(Duration::ZERO), &mut Vec::new());
    waited.expect("the last call made it usable again");
    harness.drop_port();
}

#[test]
fn only_waits_and_forks_are_refused_on_another_thread() {
    let mut harness = Harness::new();
    let objects = objects(&mut harness);
    let mut harness = on_another_thread(harness, |mut harness| {
        call_all(&mut harness.port, &objects, Caller::OtherThread);
        harness
    });
    let waited = harness.port.wait(Some(Duration::ZERO), &mut Vec::new());
    waited.expect("it still belongs to this thread");
    harness.drop_port();
}
