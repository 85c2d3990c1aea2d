//! Copies of a process that touch what has no connection: datagram sockets, directories that are watched, and serial ports;
//! and sockets that pass packets and descriptors.

use std::cell::RefCell;
use std::fs::File;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::{
    Change, DirectoryOptions, ListenOptions, Multicast, NetworkInterface, SerialOptions,
    SerialQueue,
};
use tidewaiter::{
    Address, ConnectOptions, DatagramTransport, DirectoryWatch, Listener, Reactor, SerialPort,
    Transport,
};

use crate::promises::datagrams::Echo as DatagramEcho;
use crate::promises::support::{Script, any_port, reactor};
use crate::support::alone::alone;
use crate::support::folder::Folder;
use crate::support::system::{fork, join};
use crate::support::terminal::Terminal;

/// How long a turn waits at most: what arrives at sockets that are not the reactor's does not wake it.
const MOMENT: Duration = Duration::from_millis(10);

/// The parts that the original has, and its copies touch.
struct Parts {
    udp: DatagramTransport,
    unix: DatagramTransport,
    directory: DirectoryWatch,
    serial: SerialPort,
    listener: Listener,
    packets: Transport,
}

/// The bytes that arrived at the connections of the original.
type Arrived = Rc<RefCell<Vec<u8>>>;

fn noting(arrived: &Arrived) -> Script {
    let arrived = Rc::clone(arrived);
    Script::new().data(move |_, data| arrived.borrow_mut().extend_from_slice(data))
}

/// Makes turns until `is_so`.
fn until(reactor: &Reactor, is_so: impl Fn() -> bool) {
    while !is_so() {
        reactor.iterate(MOMENT).expect("it runs");
    }
}

/// Makes every call with which a copy could do harm; `stranger` is the address of a socket that must hear nothing.
fn use_all(reactor: &Reactor, parts: &Parts, stranger: &Address) {
    let group = "239.255.0.1".parse().expect("a group");
    let anywhere = NetworkInterface::Any;
    for socket in [&parts.udp, &parts.unix] {
        socket.send_to(b"harm", stranger);
        // Queued, as all that a copy sends.
        socket
            .try_send(b"harm", Some(stranger))
            .expect("it is queued");
        assert!(socket.set_peer(Some(stranger)).is_err());
        assert!(socket.join_multicast(group, anywhere).is_err());
        assert!(socket.leave_multicast(group, anywhere).is_err());
        assert!(socket.set_multicast(Multicast::Loopback(false)).is_err());
        assert!(socket.local_addr().is_err() && socket.raw_descriptor().is_none());
        socket.pause_receiving();
        socket.flush();
        socket.close();
    }
    parts.directory.stop();
    assert!(parts.serial.discard(SerialQueue::Input).is_err());
    assert!(parts.serial.send_break(Duration::ZERO).is_err());
    for transport in [&parts.packets, &parts.serial.transport()] {
        transport.write(b"harm");
        transport.lose_connection();
        transport.abort_connection();
    }
    parts.listener.stop_listening();
    assert!(reactor.iterate(None).is_err());
}

/// Opens all of it.
fn open_all(reactor: &Reactor, folder: &Folder, terminal: &str, arrived: &Arrived) -> Parts {
    let udp = reactor.listen_udp(any_port(), DatagramEcho);
    let unix = reactor.listen_unix_datagrams(folder.socket("datagrams"), DatagramEcho);
    let changed = Rc::clone(arrived);
    let options = DirectoryOptions::new(folder.path());
    let directory = reactor.watch_directory(&options, move |_, change| {
        if matches!(change, Change::Created(path) if path.ends_with("new")) {
            changed.borrow_mut().extend_from_slice(b"a change");
        }
    });
    let serial = reactor.open_serial(&SerialOptions::new(terminal, 115_200), noting(arrived));
    let accepted = Rc::new(RefCell::new(None));
    let (slot, server) = (Rc::clone(&accepted), Rc::clone(arrived));
    let options = ListenOptions::from(folder.socket("packets")).sequenced_packets(true);
    let listener = reactor.listen_unix(options, move |_: Address| {
        let slot = Rc::clone(&slot);
        noting(&server).made(move |transport| drop(slot.replace(Some(transport.clone()))))
    });
    let listener = listener.expect("a free path");
    let options = ConnectOptions::from(folder.socket("packets")).sequenced_packets();
    let client = Rc::clone(arrived);
    reactor.connect_unix(options, move |_: Address| noting(&client));
    until(reactor, || accepted.borrow().is_some());
    Parts {
        udp: udp.expect("a free port"),
        unix: unix.expect("a free path"),
        directory: directory.expect("it can be watched"),
        serial: serial.expect("it can be opened"),
        packets: accepted.take().expect("it was accepted"),
        listener,
    }
}

/// Uses all of it, as the original may still do.
fn assert_whole(
    reactor: &Reactor,
    folder: &Folder,
    parts: &Parts,
    master: &mut File,
    arrived: &Arrived,
) {
    let has = |what: &[u8]| {
        let arrived = arrived.borrow();
        arrived.windows(what.len()).any(|part| part == what)
    };
    let client = UdpSocket::bind(any_port()).expect("a free port");
    let server = parts.udp.local_addr().expect("it is open");
    let Address::Ip(server) = server else {
        panic!("it is UDP's");
    };
    client.send_to(b"question", server).expect("it is sent");
    client.set_nonblocking(true).expect("it can be set");
    until(reactor, || client.recv(&mut [0; 16]).is_ok());
    let client = UnixDatagram::bind(folder.path().join("client")).expect("a free path");
    client
        .send_to(b"question", folder.path().join("datagrams"))
        .expect("it has its file");
    client.set_nonblocking(true).expect("it can be set");
    until(reactor, || client.recv(&mut [0; 16]).is_ok());
    std::fs::write(folder.path().join("new"), "").expect("it is made");
    until(reactor, || has(b"a change"));
    master.write_all(b"from the device").expect("it is open");
    until(reactor, || has(b"from the device"));
    parts.packets.write(b"a packet");
    until(reactor, || has(b"a packet"));
    assert!(!has(b"harm"));
}

/// Goal: every call on a copy is refused or does nothing: the original's sockets keep their peers, groups and files, and
/// its watch and its devices go on.
#[test]
fn copies_of_sockets_watches_and_devices_are_harmless() {
    let name = "copies_of_sockets_watches_and_devices_are_harmless";
    alone(module_path!(), name, || {
        let (folder, arrived) = (Folder::new(), Arrived::default());
        let stranger = UdpSocket::bind(any_port()).expect("a free port");
        let address = stranger.local_addr().expect("it is bound").into();
        let [mut master, slave] = Terminal::open().expect("terminals are free").into_ends();
        let terminal = rustix::termios::ttyname(&slave, Vec::new()).expect("it is a terminal");
        let terminal = terminal.to_str().expect("such names are ASCII").to_owned();
        let reactor = reactor();
        let parts = open_all(&reactor, &folder, &terminal, &arrived);
        let mut owner = Some(reactor);
        join(fork(|| {
            let reactor = owner.take().expect("it exists");
            use_all(&reactor, &parts, &address);
            drop(reactor);
            // The program keeps the transports beyond the reactor.
            parts.udp.close();
            parts.unix.close();
        }));
        let reactor = owner.expect("the child had a copy");
        assert_whole(&reactor, &folder, &parts, &mut master, &arrived);
        stranger.set_nonblocking(true).expect("it can be set");
        assert!(stranger.recv(&mut [0; 16]).is_err(), "nothing was sent");
        assert!(parts.listener.raw_descriptor().is_some());
        assert_eq!(reactor.metrics().panics, 0);
        drop(reactor);
        let left = std::fs::read_dir(folder.path()).expect("it is there");
        let mut left: Vec<_> = left
            .map(|entry| entry.expect("it is there").file_name())
            .collect();
        left.sort();
        assert_eq!(left, ["client", "new"], "the original removes its files");
    });
}
