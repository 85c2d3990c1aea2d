//! Which requests a handle takes: one rule for all ports, in one table.
//!
//! To teach the ports a new kind of handle or of request, add a row here; a test of the promises walks the table on
//! every port.

use std::io;

use super::calls::unsupported;
use super::file::FileCall;
use super::options::PortKind;
use super::request::{Request, RequestKind};
use crate::os::Address;

/// The kinds of handles that differ in the requests they take. Those of Unix are in the order of its sources, so that the
/// kind of a source is found out without a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandleKind {
    Listener,
    Stream,
    Datagrams,
    #[allow(dead_code, reason = "Windows has no sequenced packets")]
    Packets,
    PipeReader,
    PipeWriter,
    DuplexPipe,
    SerialPort,
    Process,
    UnopenedFile,
    File,
    UnopenedPipe,
}

impl HandleKind {
    /// The requests that handles of this kind take.
    const fn takes(self) -> RequestKinds {
        use RequestKind::{
            Accept, Connect, Exit, File, HangUp, OpenFile, Receive, ReceiveDatagrams, Send,
            SendDatagrams, SendFile,
        };
        // Constants, so that no request pays for building a set.
        match self {
            HandleKind::Listener => const { RequestKinds::of(&[Accept]) },
            HandleKind::Packets => const { RequestKinds::of(&[Connect, Receive, Send, HangUp]) },
            HandleKind::Stream => {
                const { RequestKinds::of(&[Connect, Receive, Send, HangUp, SendFile]) }
            }
            HandleKind::Datagrams => const { RequestKinds::of(&[ReceiveDatagrams, SendDatagrams]) },
            HandleKind::PipeReader => const { RequestKinds::of(&[Receive]) },
            HandleKind::PipeWriter => const { RequestKinds::of(&[Send, HangUp, SendFile]) },
            HandleKind::DuplexPipe => {
                const { RequestKinds::of(&[Receive, Send, HangUp, SendFile]) }
            }
            HandleKind::SerialPort => const { RequestKinds::of(&[Receive, Send]) },
            HandleKind::UnopenedPipe => const { RequestKinds::of(&[Connect]) },
            HandleKind::Process => const { RequestKinds::of(&[Exit]) },
            HandleKind::UnopenedFile => const { RequestKinds::of(&[OpenFile]) },
            HandleKind::File => const { RequestKinds::of(&[File]) },
        }
    }

    const fn name(self) -> &'static str {
        match self {
            HandleKind::Listener => "a listening socket",
            HandleKind::Stream => "a stream socket",
            HandleKind::Datagrams => "a datagram socket",
            HandleKind::Packets => "a socket of sequenced packets",
            HandleKind::PipeReader => "the reading end of a pipe",
            HandleKind::PipeWriter => "the writing end of a pipe",
            HandleKind::DuplexPipe => "a duplex pipe",
            HandleKind::SerialPort => "a serial port",
            HandleKind::UnopenedPipe => "a named pipe that is not open yet",
            HandleKind::Process => "a process",
            HandleKind::UnopenedFile => "an unopened file",
            HandleKind::File => "a file",
        }
    }
}

/// The requests beside which `kind` is refused. Several accepts may be under way on one listener, and several waits
/// for the exit of one process.
const fn excluded_by(kind: RequestKind) -> RequestKinds {
    use RequestKind::{
        Accept, Close, Connect, Exit, File, HangUp, OpenFile, Receive, ReceiveDatagrams, Send,
        SendDatagrams, SendFile, Watch,
    };
    match kind {
        Connect => const { RequestKinds::of(&[Connect, Receive, Send, HangUp, SendFile]) },
        Receive => const { RequestKinds::of(&[Connect, Receive]) },
        Send | SendFile => const { RequestKinds::of(&[Connect, Send, SendFile]) },
        HangUp => const { RequestKinds::of(&[Connect, HangUp]) },
        ReceiveDatagrams => const { RequestKinds::of(&[ReceiveDatagrams]) },
        SendDatagrams => const { RequestKinds::of(&[SendDatagrams]) },
        OpenFile => const { RequestKinds::of(&[OpenFile]) },
        Accept | Exit | File | Watch | Close => const { RequestKinds::of(&[]) },
    }
}

/// The requests that exclude others, and what a handle is doing while one of them is under way.
const ALONE: [(RequestKind, &str); 8] = [
    (RequestKind::Connect, "connecting"),
    (RequestKind::Receive, "receiving"),
    (RequestKind::Send, "sending"),
    (RequestKind::HangUp, "waiting for a hang-up"),
    (RequestKind::ReceiveDatagrams, "receiving datagrams"),
    (RequestKind::SendDatagrams, "sending datagrams"),
    (RequestKind::SendFile, "sending a file"),
    (RequestKind::OpenFile, "being opened"),
];

/// A set of kinds of requests, such as those under way on a handle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RequestKinds(u16);

impl RequestKinds {
    const fn of(kinds: &[RequestKind]) -> RequestKinds {
        let (mut set, mut at) = (RequestKinds(0), 0);
        while at < kinds.len() {
            set.insert(kinds[at]);
            at += 1;
        }
        set
    }

    pub(super) const fn insert(&mut self, kind: RequestKind) {
        self.0 |= 1 << kind as u8;
    }

    pub(super) const fn remove(&mut self, kind: RequestKind) {
        self.0 &= !(1 << kind as u8);
    }

    pub(super) const fn contains(self, kind: RequestKind) -> bool {
        self.0 & 1 << kind as u8 != 0
    }

    const fn and(self, others: RequestKinds) -> RequestKinds {
        RequestKinds(self.0 & others.0)
    }

    const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Refuses a request that such a handle does not take, or not beside the requests that are `under_way` on it, or whose
/// address the port does not know how to reach.
#[inline(always)]
pub(super) fn admit(
    port: PortKind,
    handle: HandleKind,
    under_way: RequestKinds,
    request: &Request,
) -> io::Result<()> {
    let kind = request.kind();
    let is_taken = handle.takes().contains(kind) && excluded_by(kind).and(under_way).is_empty();
    let is_sound = match request {
        Request::Receive => true,
        Request::Send(chunks) if !chunks.has_messages() => !chunks.is_empty(),
        _ => is_sound(port, handle, request),
    };
    if is_taken && is_sound {
        return Ok(());
    }
    Err(refusal(port, handle, under_way, request))
}

/// Whether the contents of a request are what the port and the handle can do.
#[inline(never)]
fn is_sound(port: PortKind, handle: HandleKind, request: &Request) -> bool {
    match request {
        Request::Send(chunks) => !chunks.is_empty() && has_messages(port, handle),
        Request::ReceiveWithDescriptors => has_messages(port, handle),
        Request::SendDatagrams(batch) => !batch.is_empty(),
        Request::Connect(peer) => has_streams_to(port, peer),
        Request::File(asked) => !asked.writes_nothing(),
        Request::SendFile(part) => part.len > 0,
        Request::OpenFile(file) => file.check().is_ok(),
        _ => true,
    }
}

#[cold]
fn refusal(
    port: PortKind,
    handle: HandleKind,
    under_way: RequestKinds,
    request: &Request,
) -> io::Error {
    let asked = request.kind();
    let hindering = excluded_by(asked).and(under_way);
    let message = if !handle.takes().contains(asked) {
        format!("{} takes no {asked:?}", handle.name())
    } else if !hindering.is_empty() {
        let hindering = ALONE.iter().find(|(kind, _)| hindering.contains(*kind));
        let doing = hindering.map_or("busy", |(_, doing)| doing);
        format!("{} takes no {asked:?} while it is {doing}", handle.name())
    } else if let Request::Connect(peer) = request {
        return unsupported(port, "connect to", peer);
    } else if needs_messages(request) {
        return unsupported(port, "pass descriptors over", handle.name());
    } else if let Request::OpenFile(file) = request
        && let Err(error) = file.check()
    {
        return error;
    } else if let Request::File(_) = request {
        "there is nothing to write".to_owned()
    } else {
        "there is nothing to send".to_owned()
    };
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// Whether the port makes streams to and from addresses of this kind.
fn has_streams_to(port: PortKind, address: &Address) -> bool {
    match address {
        Address::Ip(_) => true,
        Address::Unix(name) => !name.is_unnamed(),
        Address::Pipe(_) => matches!(port, PortKind::Iocp | PortKind::Sim),
    }
}

/// Whether the request keeps messages apart or passes descriptors.
fn needs_messages(request: &Request) -> bool {
    match request {
        Request::Send(chunks) => chunks.has_messages(),
        Request::ReceiveWithDescriptors => true,
        _ => false,
    }
}

/// Whether such handles send messages apart from each other, and pass descriptors.
fn has_messages(port: PortKind, handle: HandleKind) -> bool {
    port.has_messages() && matches!(handle, HandleKind::Stream | HandleKind::Packets)
}

/// Refuses sequenced packets on a port without them.
pub(super) fn check_packets(port: PortKind, packets: bool) -> io::Result<()> {
    if !packets || port.has_messages() {
        return Ok(());
    }
    Err(unsupported(port, "exchange", "sequenced packets"))
}

/// Refuses to `verb` ("connect to") an address of a kind that the port makes no streams to.
pub(super) fn check_streams_to(port: PortKind, verb: &str, address: &Address) -> io::Result<()> {
    if has_streams_to(port, address) {
        return Ok(());
    }
    Err(unsupported(port, verb, address))
}

/// The error of a call on a handle that is closed or being closed.
pub(super) fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the handle is closed")
}

/// The error of a control or a query that only sockets take.
pub(super) fn not_a_socket() -> io::Error {
    invalid("the handle is not a socket")
}

/// The error of a control that only datagram sockets take.
pub(super) fn not_for_datagrams() -> io::Error {
    invalid("the handle is not a datagram socket")
}

/// The error of a query that only open files answer.
pub(super) fn not_a_file() -> io::Error {
    invalid("the handle is not an open file")
}

/// The error of a request on files that `port` leaves to calls that block.
pub(super) fn no_file_calls(port: PortKind, request: &Request) -> io::Error {
    let verb = match request {
        Request::OpenFile(_) => "open",
        Request::SendFile(_) => "send",
        Request::File(asked) if asked.call() == FileCall::Read => "read",
        Request::File(asked) if asked.call() == FileCall::Write => "write",
        _ => "sync, cut off or ask about",
    };
    unsupported(port, verb, "files")
}

/// The error of a control that only processes take.
pub(super) fn not_a_process() -> io::Error {
    invalid("the handle is not a process")
}

/// The error of a control or a query that only serial ports take.
pub(super) fn not_a_serial_port() -> io::Error {
    invalid("the handle is not a serial port")
}

/// The error of a control that only the streams of a terminal take.
pub(super) fn not_a_terminal() -> io::Error {
    invalid("the handle is not a terminal")
}

pub(super) fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
