//! Datagrams of UNIX sockets.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

use tidewaiter::port::{Datagram, DatagramError, DatagramOptions};
use tidewaiter::{Address, DatagramProtocol, DatagramTransport, Error, Reactor};

use super::promises::datagrams::{Client, Echo, Silent};
use super::promises::support::{Log, reactor, run_clean};
use super::support::folder::Folder;

#[test]
fn what_is_sent_arrives_and_is_answered() {
    let (folder, reactor) = (Folder::new(), reactor());
    let server = folder.socket("server");
    let echo = reactor.listen_unix_datagrams(server.clone(), Echo);
    assert_eq!(
        echo.expect("it listens").local_addr().expect("it is bound"),
        server.clone().into()
    );
    let client = Client::new(3);
    let mut options = DatagramOptions::connected(server);
    options.local = Some(folder.socket("client").into());
    let transport = reactor.open_datagrams(options, client.clone());
    let transport = transport.expect("it connects");
    let large = vec![b'x'; 100_000];
    transport.send(b"one");
    transport.send(b"");
    transport.send(&large);
    run_clean(&reactor);
    let log = client.log.take();
    assert_eq!(log[..3], ["started", "received one", "received "]);
    assert_eq!(log[3].len(), "received ".len() + large.len());
}

/// Goal: a sender without a name is told apart, and one with an abstract name can be answered.
#[test]
fn senders_have_names_or_none() {
    struct Names(Client);
    impl DatagramProtocol for Names {
        fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
            let name = datagram.sender().map(Address::to_string);
            self.0.note(transport, format!("{name:?}"));
        }
    }
    let (folder, reactor) = (Folder::new(), reactor());
    let (server, named) = (folder.socket("server"), folder.socket("named"));
    let names = Client::new(3);
    reactor
        .listen_unix_datagrams(server.clone(), Names(names.clone()))
        .expect("it listens");
    let path = server.as_pathname().expect("it is a path");
    let unnamed = reactor.connect_unix_datagrams(path, Silent);
    unnamed.expect("it connects").send(b"first");
    let mut options = DatagramOptions::connected(server);
    options.local = Some(named.clone().into());
    let transport = reactor
        .open_datagrams(options, Silent)
        .expect("it connects");
    transport.send(b"second");
    transport.send(b"last");
    run_clean(&reactor);
    let named = format!("{:?}", Some(named.to_string()));
    let mut told = names.log.take();
    told.sort();
    assert_eq!(told, ["None", &named, &named]);
}

#[test]
fn a_peer_that_is_not_there_is_named() {
    struct Check(Address);
    impl DatagramProtocol for Check {
        fn datagram_received(&mut self, _: &DatagramTransport, _: &Datagram<'_>) {}

        fn error_received(&mut self, transport: &DatagramTransport, error: &DatagramError) {
            assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
            assert_eq!(error.peer.as_ref(), Some(&self.0));
            transport.reactor().stop();
        }
    }
    let (folder, reactor) = (Folder::new(), reactor());
    let nobody: Address = folder.socket("nobody").into();
    let check = Check(nobody.clone());
    let transport = reactor.listen_unix_datagrams(folder.socket("client"), check);
    transport.expect("it listens").send_to(b"?", &nobody);
    run_clean(&reactor);
}

#[test]
fn a_socket_file_has_its_mode_and_is_removed_and_a_stale_one_replaced() {
    if crate::SIMULATED {
        // The names of simulated sockets are not in the file system.
        return;
    }
    let (folder, reactor) = (Folder::new(), reactor());
    let address = folder.socket("server");
    let path = address.as_pathname().expect("a path").to_owned();
    // A server that died leaves its file.
    drop(UnixDatagram::bind(&path).expect("the path is free"));
    let mut options = DatagramOptions::bound(address.clone());
    options.socket_file.mode = Some(0o620);
    // A child that another test has just forked may hold a copy of the dead server's socket, until its program starts.
    let begun = std::time::Instant::now();
    let server = loop {
        match reactor.listen_unix_datagrams(options.clone(), Silent) {
            Ok(server) => break server,
            Err(error) => assert!(begun.elapsed().as_secs() < 60, "it is stale: {error}"),
        }
        std::thread::yield_now();
    };
    let mode = std::fs::metadata(&path)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o620);
    let second = reactor.listen_unix_datagrams(options, Silent);
    let Err(Error::Datagrams { source, .. }) = second else {
        panic!("another server is there");
    };
    assert_eq!(source.kind(), io::ErrorKind::AddrInUse);
    server.close();
    reactor.call_later(std::time::Duration::from_millis(5), Reactor::stop);
    run_clean(&reactor);
    assert!(!path.exists());
}

/// Goal: a peer that never reads costs a bounded queue. The protocol is told to stop, and how much was dropped; once the
/// peer reads, it is told to go on.
#[test]
fn a_queue_is_bounded_and_tells_what_was_dropped() {
    struct Sender {
        log: Log,
        dropped: usize,
    }
    impl DatagramProtocol for Sender {
        fn started(&mut self, transport: &DatagramTransport) {
            for _ in 0..1000 {
                transport.send(&[b'x'; 1000]);
            }
            assert_eq!(transport.queued(), 20);
        }

        fn datagram_received(&mut self, _: &DatagramTransport, _: &Datagram<'_>) {}

        fn datagrams_dropped(&mut self, _: &DatagramTransport, count: usize) {
            self.dropped += count;
            self.log.add("dropped");
        }

        fn write_paused(&mut self, _: &DatagramTransport) {
            self.log.add("paused");
        }

        fn write_resumed(&mut self, transport: &DatagramTransport) {
            self.log.add("resumed");
            assert!(self.dropped > 100, "{}", self.dropped);
            transport.reactor().stop();
        }
    }
    let (folder, reactor) = (Folder::new(), reactor());
    let address = folder.socket("reader");
    let reader = reactor.listen_unix_datagrams(address.clone(), Silent);
    let reader = reader.expect("it listens");
    reader.pause_receiving();
    let log = Log::default();
    let mut options = DatagramOptions::connected(address);
    options.queued_datagrams = 20;
    let sender = Sender {
        log: log.clone(),
        dropped: 0,
    };
    reactor
        .open_datagrams(options, sender)
        .expect("it connects");
    let later = std::time::Duration::from_millis(50);
    reactor.call_later(later, move |_| reader.resume_receiving());
    run_clean(&reactor);
    let mut told = log.take();
    told.sort();
    assert_eq!(told, ["dropped", "paused", "resumed"]);
}

/// Goal: a queue without a limit drops nothing, and tells when the OS has no room and when it has taken everything.
#[test]
fn a_queue_without_a_limit_drops_nothing() {
    const COUNT: usize = 300;
    struct Sender(Log);
    impl DatagramProtocol for Sender {
        fn started(&mut self, transport: &DatagramTransport) {
            transport.queue_without_limit();
            for _ in 0..COUNT {
                transport.send(&[b'x'; 1000]);
            }
            assert_eq!(transport.queued_bytes(), COUNT * 1000);
            transport.flush();
            assert!(transport.queued() < COUNT);
            assert_eq!(transport.queued_bytes(), transport.queued() * 1000);
        }

        fn datagram_received(&mut self, _: &DatagramTransport, _: &Datagram<'_>) {}

        fn datagrams_dropped(&mut self, _: &DatagramTransport, _: usize) {
            self.0.add("dropped");
        }

        fn write_paused(&mut self, transport: &DatagramTransport) {
            assert!(transport.queued() > 0);
            self.0.add("paused");
        }

        fn write_resumed(&mut self, transport: &DatagramTransport) {
            assert_eq!(transport.queued(), 0);
            self.0.add("resumed");
        }
    }
    struct Count(usize);
    impl DatagramProtocol for Count {
        fn datagram_received(&mut self, transport: &DatagramTransport, _: &Datagram<'_>) {
            self.0 += 1;
            if self.0 == COUNT {
                transport.reactor().stop();
            }
        }
    }
    let (folder, reactor) = (Folder::new(), reactor());
    let address = folder.socket("reader");
    let reader = reactor.listen_unix_datagrams(address.clone(), Count(0));
    let reader = reader.expect("it listens");
    reader.pause_receiving();
    let log = Log::default();
    let options = DatagramOptions::connected(address);
    reactor
        .open_datagrams(options, Sender(log.clone()))
        .expect("it connects");
    let later = std::time::Duration::from_millis(50);
    reactor.call_later(later, move |_| reader.resume_receiving());
    run_clean(&reactor);
    assert_eq!(log.take(), ["paused", "resumed"]);
}
