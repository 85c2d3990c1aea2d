//! Which requests a handle takes, and which of them at the same time: the same on every port, and refused in the same
//! words.

use std::io;
use std::net::SocketAddr;

use tidewaiter::port::RequestKind::{
    Accept, Connect, Exit, File, HangUp, OpenFile, Receive, ReceiveDatagrams, Send, SendDatagrams,
    SendFile,
};
use tidewaiter::port::{
    Chunks, DatagramBatch, DatagramOptions, FilePart, FileRequest, FileToOpen, Handle, Outcome,
    PortKind, Request, RequestKind, Token,
};
use tidewaiter::process::Stdio;

use crate::support::harness::Harness;
use crate::support::piped_child::Child;
use crate::support::roles::Role;
use crate::support::unix_pair::unix_pair;

/// Each kind of handle, and the requests that it takes.
const TAKEN: [(&str, &[RequestKind]); 10] = [
    ("a listening socket", &[Accept]),
    (STREAM, &[Connect, Receive, Send, HangUp, SendFile]),
    ("a datagram socket", &[ReceiveDatagrams, SendDatagrams]),
    (PACKETS, &[Connect, Receive, Send, HangUp]),
    ("the reading end of a pipe", &[Receive]),
    (WRITER, &[Send, HangUp, SendFile]),
    (DUPLEX, &[Receive, Send, HangUp, SendFile]),
    ("a process", &[Exit]),
    (UNOPENED_FILE, &[OpenFile]),
    (FILE, &[File]),
];

const STREAM: &str = "a stream socket";
const WRITER: &str = "the writing end of a pipe";
const DUPLEX: &str = "a duplex pipe";
const PACKETS: &str = "a socket of sequenced packets";
const UNOPENED_FILE: &str = "an unopened file";
const FILE: &str = "a file";

/// The pairs of requests that may be under way on a handle at the same time.
const TOGETHER: [(RequestKind, RequestKind); 9] = [
    (Accept, Accept),
    (Exit, Exit),
    (File, File),
    (Receive, Send),
    (ReceiveDatagrams, SendDatagrams),
    (Receive, HangUp),
    (Send, HangUp),
    (SendFile, Receive),
    (SendFile, HangUp),
];

fn doing(kind: RequestKind) -> &'static str {
    match kind {
        Connect => "connecting",
        Receive => "receiving",
        Send => "sending",
        HangUp => "waiting for a hang-up",
        ReceiveDatagrams => "receiving datagrams",
        SendDatagrams => "sending datagrams",
        SendFile => "sending a file",
        OpenFile => "being opened",
        _ => panic!("{kind:?} excludes nothing"),
    }
}

fn may_be_together(first: RequestKind, second: RequestKind) -> bool {
    TOGETHER.contains(&(first, second)) || TOGETHER.contains(&(second, first))
}

/// What requests need: the address of a listener, and a handle whose file is sent.
#[derive(Clone, Copy)]
struct Needed {
    peer: SocketAddr,
    to_send: Handle,
}

/// One request of each kind, and both ways to accept.
fn requests(Needed { peer, to_send }: Needed) -> [Request; 12] {
    let mut batch = DatagramBatch::new();
    batch.push(b"hello", Some(&peer.into()));
    [
        Request::Accept,
        Request::AcceptOne,
        Request::connect(peer),
        Request::Receive,
        Request::Send(Chunks::from(&b"hello"[..])),
        Request::Exit,
        Request::HangUp,
        Request::ReceiveDatagrams,
        Request::SendDatagrams(batch),
        open_file(false),
        Request::File(Box::new(FileRequest::Read {
            offset: 0,
            into: Vec::with_capacity(1),
        })),
        Request::SendFile(Box::new(FilePart {
            file: to_send,
            offset: 0,
            len: 1,
        })),
    ]
}

/// A request to open a file that is not there, or one to create it.
fn open_file(create: bool) -> Request {
    let name = format!("tidewaiter-admission-{}", std::process::id());
    Request::OpenFile(Box::new(FileToOpen {
        path: std::env::temp_dir().join(name),
        options: tidewaiter::FileOptions::new().write(true).create(create),
    }))
}

/// An open file, if the port opens files.
fn file(harness: &mut Harness) -> Option<Handle> {
    let file = harness.port.unopened_file().ok()?;
    harness.track(file);
    let request = open_file(true);
    let Request::OpenFile(asked) = &request else {
        unreachable!("it opens a file")
    };
    let path = asked.path.clone();
    let opening = harness.submit(file, request);
    let opened = harness.last(opening);
    assert!(matches!(opened, Ok(Outcome::FileOpened)), "{opened:?}");
    // The open file stays. (A simulated one is not there.)
    let _ = std::fs::remove_file(path);
    Some(file)
}

/// Every two requests.
fn pairs(needed: Needed) -> impl Iterator<Item = (Request, Request)> {
    let all = move || requests(needed).into_iter();
    let first = move |at| all().nth(at).expect("one of them");
    (0..all().len()).flat_map(move |at| all().map(move |second| (first(at), second)))
}

/// A file that can be sent, on a port that sends files: those of Linux.
fn file_to_send(harness: &mut Harness) -> Option<Handle> {
    if !cfg!(target_os = "linux") || crate::SIMULATED {
        return None;
    }
    let program = std::env::current_exe().and_then(std::fs::File::open);
    Some(harness.adopt(program.expect("we are a program")))
}

/// A socket of sequenced packets. Its peer, if it has one, does not read, and stays.
fn packets(harness: &mut Harness, connected: bool) -> Handle {
    if !connected {
        let peer =
            tidewaiter::UnixAddress::from_pathname("/no such folder/a").expect("a short path");
        let opened = harness.port.open_packets(&peer.into(), None);
        let handle = opened.expect("a socket is to be had");
        harness.track(handle);
        return handle;
    }
    unix_pair(harness, true).0
}

/// A port with a handle of each kind, or with the means to make one.
struct Handles {
    harness: Harness,
    listener: Handle,
    address: SocketAddr,
    child: Child,
    duplex: Handle,
    /// `None` on a port without datagrams.
    datagrams: Option<Handle>,
    /// `None` on a port that opens no files.
    file: Option<Handle>,
    /// `None` on a port that sends no files.
    to_send: Option<Handle>,
}

impl Handles {
    fn new() -> Handles {
        let mut harness = Harness::new();
        let (listener, address) = harness.listen();
        let child = Child::start(&mut harness, Role::Deaf);
        let output = child.output(&mut harness);
        output.stop(&mut harness);
        harness.port.cancel(child.exit);
        harness.assert_cancelled(child.exit);
        let quiet = crate::child(Role::Deaf)
            .stdout(Stdio::Null)
            .stderr(Stdio::Null);
        let quiet = harness.spawn(&quiet.stdin(Stdio::Duplex));
        let any_port = DatagramOptions::bound(([127, 0, 0, 1], 0));
        Handles {
            duplex: quiet.pipe(0).expect("a pipe"),
            datagrams: harness.open_datagrams(&any_port).ok(),
            file: file(&mut harness),
            to_send: file_to_send(&mut harness),
            harness,
            listener,
            address,
            child,
        }
    }

    /// A handle of the named kind; for a stream socket, a new one.
    fn get(&mut self, name: &str, connected: bool) -> Handle {
        match name {
            "a listening socket" => self.listener,
            STREAM if connected => self.harness.pair().0,
            STREAM => self.harness.open_stream(self.address),
            PACKETS => packets(&mut self.harness, connected),
            "the reading end of a pipe" => self.child.stdout,
            WRITER => self.child.stdin,
            "a datagram socket" => self.datagrams.expect("the port has them"),
            DUPLEX => self.duplex,
            "a process" => self.child.process,
            UNOPENED_FILE => {
                let handle = self.harness.port.unopened_file();
                let handle = handle.expect("the port opens files");
                self.harness.track(handle);
                handle
            }
            FILE => self.file.expect("the port opens files"),
            _ => panic!("no such kind of handle: {name}"),
        }
    }

    /// The kinds of handles that this port has, and the requests that they take.
    fn taken(&self) -> Vec<(&'static str, &'static [RequestKind])> {
        let has = |name| match name {
            "a datagram socket" => self.datagrams.is_some(),
            UNOPENED_FILE | FILE => self.file.is_some(),
            PACKETS => cfg!(target_os = "linux") || crate::SIMULATED,
            _ => true,
        };
        TAKEN.into_iter().filter(|(name, _)| has(*name)).collect()
    }

    fn needed(&self) -> Needed {
        Needed {
            peer: self.address,
            // A port that sends no files does not look at the handle.
            to_send: self.to_send.unwrap_or(self.listener),
        }
    }

    /// Whether such an operation can be under way on this port, on a handle of this kind.
    fn performs(&self, name: &str, kind: RequestKind) -> bool {
        match kind {
            HangUp => name == STREAM || self.harness.port.info().kind != PortKind::Iocp,
            SendFile => self.to_send.is_some(),
            _ => true,
        }
    }

    /// Submits a request that must be taken, or refused with this message, for a handle of the named kind.
    #[track_caller]
    fn submit(&mut self, name: &str, handle: Handle, request: Request, refusal: Option<String>) {
        let kind = request.kind();
        let expected = match refusal {
            Some(message) => (io::ErrorKind::InvalidInput, Some(message)),
            None if !self.performs(name, kind) => (io::ErrorKind::Unsupported, None),
            None => {
                self.harness.submit(handle, request);
                return;
            }
        };
        let before = self.harness.port.in_flight();
        let error = self
            .harness
            .port
            .submit(handle, request, Token(0))
            .expect_err("the request should be refused");
        assert_eq!(error.kind(), expected.0, "{error}");
        if let Some(message) = expected.1 {
            assert_eq!(error.to_string(), message);
        }
        assert_eq!(self.harness.port.in_flight(), before);
    }

    /// Ends all operations.
    fn settle(&mut self) {
        for operation in self.harness.live() {
            self.harness.port.cancel(operation);
        }
        self.harness.until("the end of all operations", |harness| {
            harness.live_count() == 0
        });
    }
}

#[test]
fn a_handle_takes_the_requests_of_its_kind() {
    let mut handles = Handles::new();
    for (name, taken) in handles.taken() {
        for request in requests(handles.needed()) {
            let kind = request.kind();
            let handle = handles.get(name, false);
            let refusal = (!taken.contains(&kind)).then(|| format!("{name} takes no {kind:?}"));
            handles.submit(name, handle, request, refusal);
            handles.settle();
        }
    }
    handles.harness.finish();
}

#[test]
fn a_request_under_way_excludes_the_same_others_on_every_port() {
    let mut handles = Handles::new();
    for (name, taken) in handles.taken() {
        for (first, second) in pairs(handles.needed()) {
            let (under_way, asked) = (first.kind(), second.kind());
            if handles.performs(name, under_way) && taken.contains(&under_way) {
                let handle = handles.get(name, under_way != Connect);
                handles.submit(name, handle, first, None);
                let refusal = if !taken.contains(&asked) {
                    Some(format!("{name} takes no {asked:?}"))
                } else if may_be_together(under_way, asked) {
                    None
                } else {
                    let doing = doing(under_way);
                    Some(format!("{name} takes no {asked:?} while it is {doing}"))
                };
                handles.submit(name, handle, second, refusal);
                handles.settle();
            }
        }
    }
    handles.harness.finish();
}

#[test]
fn an_empty_send_is_refused() {
    let mut handles = Handles::new();
    for name in [STREAM, WRITER, DUPLEX] {
        let handle = handles.get(name, true);
        let refusal = Some("there is nothing to send".to_owned());
        handles.submit(name, handle, Request::Send(Chunks::new()), refusal);
    }
    handles.harness.finish();
}

#[test]
fn a_closed_handle_takes_nothing() {
    let mut handles = Handles::new();
    let listener = handles.listener;
    handles.harness.close_now(listener);
    for request in requests(handles.needed()) {
        let error = handles
            .harness
            .port
            .submit(listener, request, Token(0))
            .expect_err("the handle is closed");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), "the handle is closed");
    }
    handles.harness.finish();
}
