//! Opening with no free descriptor, or too few: the error says so and names what was to be opened, nothing leaks, and it
//! works again later. Files, children and accepts have tests of their own: `file_faults.rs`, `storms.rs`, `descriptors.rs`.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, setrlimit};
use tidewaiter::port::{DirectoryOptions, Interest, ListenOptions, SerialOptions};
use tidewaiter::{Address, ConnectError, Factory, Protocol, Reactor};

use super::promises::datagrams::Silent as NoDatagrams;
use super::promises::support::{Silent, any_port, assert_empty, deserted_port, reactor};
use crate::descriptors::{descriptors, leave_free};
use crate::support::alone::alone;
use crate::support::folder::Folder;
use crate::support::terminal::Terminal;

/// Opens something, and closes it again. Returns the error, as text.
type Open = Box<dyn Fn(&Reactor) -> Result<(), String>>;

/// What can be opened, each with a part of the text that names it.
fn kinds(folder: &Folder, terminal: &str) -> Vec<(String, Open)> {
    let (stream, datagrams) = (folder.socket("stream"), folder.socket("datagrams"));
    let (packets, nobody) = (folder.socket("packets"), deserted_port());
    let listen = |options: ListenOptions| -> Open {
        Box::new(move |reactor| {
            let listener = reactor.listen(options.clone(), |_| Silent);
            let listener = listener.map_err(|error| error.to_string())?;
            listener.stop_listening();
            Ok(())
        })
    };
    let serial = terminal.to_owned();
    vec![
        (
            "127.0.0.1".to_owned(),
            listen(ListenOptions::from(any_port())),
        ),
        (stream.to_string(), listen(ListenOptions::from(stream))),
        (
            packets.to_string(),
            listen(ListenOptions::from(packets).sequenced_packets(true)),
        ),
        (
            "127.0.0.1".to_owned(),
            Box::new(|reactor| {
                let socket = reactor.listen_udp(any_port(), NoDatagrams);
                socket.map_err(|error| error.to_string())?.close();
                Ok(())
            }),
        ),
        (
            "127.0.0.1:9".to_owned(),
            Box::new(|reactor| {
                let peer = SocketAddr::from(([127, 0, 0, 1], 9));
                let socket = reactor.connect_udp(peer, NoDatagrams);
                socket.map_err(|error| error.to_string())?.close();
                Ok(())
            }),
        ),
        (
            datagrams.to_string(),
            Box::new(move |reactor| {
                let socket = reactor.listen_unix_datagrams(datagrams.clone(), NoDatagrams);
                socket.map_err(|error| error.to_string())?.close();
                Ok(())
            }),
        ),
        ("nobody".to_owned(), connect(folder.socket("nobody"))),
        (nobody.to_string(), connect(nobody)),
        // The program knows the path.
        (
            String::new(),
            Box::new(move |reactor| {
                let port = reactor.open_serial(&SerialOptions::new(&serial, 115_200), Silent);
                port.map_err(|error| error.to_string())?
                    .transport()
                    .abort_connection();
                Ok(())
            }),
        ),
    ]
}

/// Connects to nobody: that nobody is there is no failure to open.
fn connect(address: impl Into<Address>) -> Open {
    let address = address.into();
    Box::new(move |reactor| {
        let told = Rc::new(RefCell::new(None));
        reactor.connect(address.clone(), Refused(Rc::clone(&told)));
        while told.borrow().is_none() {
            reactor
                .iterate(Duration::from_millis(1))
                .expect("the reactor runs");
        }
        match told.take() {
            Some(ConnectError::Os { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            Some(ConnectError::Refused { .. }) => Ok(()),
            Some(error) => Err(error.to_string()),
            None => unreachable!("it was told"),
        }
    })
}

struct Refused(Rc<RefCell<Option<ConnectError>>>);

impl Factory for Refused {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        panic!("nobody listens");
    }

    fn connection_failed(&mut self, _: &Reactor, error: ConnectError) {
        self.0.replace(Some(error));
    }
}

#[test]
fn whatever_is_opened_nothing_leaks_without_free_descriptors() {
    let name = "whatever_is_opened_nothing_leaks_without_free_descriptors";
    alone(module_path!(), name, || {
        let (folder, reactor) = (Folder::new(), reactor());
        let [_master, slave] = Terminal::open_cooked()
            .expect("terminals are free")
            .into_ends();
        let terminal = rustix::termios::ttyname(&slave, Vec::new()).expect("it is a terminal");
        let terminal = terminal.to_str().expect("such names are ASCII").to_owned();
        let kinds = kinds(&folder, &terminal);
        let settle = || {
            // Closing takes a turn or two.
            for _ in 0..3 {
                reactor.iterate(Duration::ZERO).expect("the reactor runs");
            }
        };
        // Opens what is opened once and kept.
        for (_, open) in &kinds {
            open(&reactor).expect("descriptors are free");
            settle();
        }
        for (at, (named, open)) in kinds.iter().enumerate() {
            let before = descriptors();
            let mut refused = 0;
            for spare in 0..10 {
                let limit = leave_free(spare);
                let opened = open(&reactor);
                setrlimit(Resource::Nofile, limit).expect("it may be raised again");
                settle();
                assert_eq!(descriptors(), before, "{at}, {spare} free: {opened:?}");
                let Err(error) = opened else { break };
                let reason = std::io::Error::from(Errno::MFILE).to_string();
                assert!(error.contains(&reason), "{at}: {error}");
                assert!(error.contains(named), "{at}: {error}");
                refused += 1;
            }
            assert!((1..10).contains(&refused), "{at}: {refused} were refused");
        }
        let files = std::fs::read_dir(folder.path()).expect("it is there");
        assert_eq!(files.count(), 0, "neither sockets nor locks are left");
        // A port may have a set of its own for what it watches.
        let number = std::os::fd::AsRawFd::as_raw_fd(&slave);
        let limit = leave_free(0);
        let first = reactor.watch(number, Interest::READABLE, |_, _| ());
        setrlimit(Resource::Nofile, limit).expect("it may be raised again");
        let watch = first.or_else(|error| {
            let text = error.to_string();
            let reason = std::io::Error::from(Errno::MFILE).to_string();
            assert!(
                text.contains(&reason) && text.contains(&number.to_string()),
                "{text}"
            );
            reactor.watch(number, Interest::READABLE, |_, _| ())
        });
        watch.expect("descriptors are free").stop();
        settle();
        assert_empty(&reactor.metrics());
    });
}

/// As above. A reactor watches all its directories through one descriptor, so each attempt has a reactor of its own.
#[test]
fn a_directory_is_not_watched_without_a_free_descriptor() {
    let name = "a_directory_is_not_watched_without_a_free_descriptor";
    alone(module_path!(), name, || {
        let folder = Folder::new();
        for spare in [0, 5] {
            let reactor = reactor();
            reactor.iterate(Duration::ZERO).expect("the reactor runs");
            let before = descriptors();
            let limit = leave_free(spare);
            let options = DirectoryOptions::new(folder.path());
            let watch = reactor.watch_directory(&options, |_, _| ());
            setrlimit(Resource::Nofile, limit).expect("it may be raised again");
            if spare > 0 {
                watch.expect("descriptors are free").stop();
                reactor.iterate(Duration::ZERO).expect("the reactor runs");
            } else {
                let error = watch.expect_err("none is free");
                assert_eq!(Errno::from_io_error(&error), Some(Errno::MFILE), "{error}");
                assert_eq!(descriptors(), before);
                let again = reactor.watch_directory(&options, |_, _| ());
                again.expect("descriptors are free").stop();
                reactor.iterate(Duration::ZERO).expect("the reactor runs");
            }
            assert_empty(&reactor.metrics());
        }
    });
}
