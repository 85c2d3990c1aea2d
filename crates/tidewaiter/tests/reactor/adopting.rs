//! Streams that other code made, taken over by a reactor.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::thread;

use socket2::{Domain, Type};
use tidewaiter::port::Resource;
use tidewaiter::{Error, Reactor, Transport};

use crate::promises::support::{
    Countdown, Script, Silent, any_port, assert_empty, reactor, run_clean,
};

/// Takes over a socket that is connected to another of this process; returns the error, or what the transport says of
/// its peer after it has echoed.
fn echo_over(ours: impl Into<Resource>, mut theirs: impl io::Read + io::Write + Send + 'static) {
    let (reactor, countdown) = (reactor(), Countdown::new(1));
    let echo = Script::new()
        .data(|transport, data| {
            transport.write(data);
            transport.lose_connection();
        })
        .then_done(&countdown);
    let transport = reactor.adopt(ours, echo).expect("it is a connection");
    let other = thread::spawn(move || {
        theirs.write_all(b"hello")?;
        let mut text = String::new();
        theirs.read_to_string(&mut text)?;
        Ok::<String, io::Error>(text)
    });
    run_clean(&reactor);
    assert_eq!(other.join().unwrap().unwrap(), "hello");
    assert_eq!(reactor.metrics().adopted, 1);
    drop(transport);
    assert_empty(&reactor.metrics());
}

fn refusal(resource: impl Into<Resource>) -> (io::ErrorKind, String) {
    let reactor = reactor();
    let error = reactor.adopt(resource, Silent).unwrap_err();
    reactor.call_when_running(Reactor::stop);
    run_clean(&reactor);
    let Error::Adopt { peer: None, source } = error else {
        panic!("{error}");
    };
    (source.kind(), source.to_string())
}

#[test]
fn a_connection_is_adopted_and_its_peer_found() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    echo_over(ours, theirs);

    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let reactor = reactor();
    let transport = reactor.adopt(ours, Script::new().made(Transport::lose_connection));
    let address = listener.local_addr().unwrap();
    assert_eq!(transport.unwrap().peer_addr(), Some(address.into()));
    reactor.call_when_running(Reactor::stop);
    run_clean(&reactor);
}

#[test]
fn what_is_no_connection_is_refused() {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let (kind, message) = refusal(TcpStream::from(socket));
    assert_eq!(kind, io::ErrorKind::NotConnected, "{message}");

    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    let invalid = (
        io::ErrorKind::InvalidInput,
        "the socket is no connection".to_owned(),
    );
    assert_eq!(refusal(listener), invalid);
    assert!(TcpStream::connect(address).is_err(), "it is closed");
}

/// Goal: a pipe that Windows cannot read through a completion port is refused with the cause.
#[cfg(windows)]
#[test]
fn a_blocking_pipe_is_refused() {
    let (reader, _writer) = io::pipe().unwrap();
    let (kind, message) = refusal(Resource::PipeReader(reader.into()));
    assert_eq!(kind, io::ErrorKind::InvalidInput);
    assert!(message.contains("overlapped"), "{message}");
}

#[cfg(unix)]
mod unix {
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::{cell::RefCell, rc::Rc};

    use super::{
        Countdown, Reactor, Script, Transport, assert_empty, echo_over, reactor, run_clean,
    };
    use super::{io, thread};
    use crate::support::folder::Folder;

    #[test]
    fn a_pair_of_unix_sockets_is_adopted() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        echo_over(ours, theirs);
    }

    #[test]
    fn pipes_are_adopted() {
        let (reactor, countdown) = (reactor(), Countdown::new(2));
        let ((reader, mut theirs), (mut their_reader, writer)) =
            (io::pipe().unwrap(), io::pipe().unwrap());
        let heard = Rc::new(RefCell::new(Vec::new()));
        let hearing = Rc::clone(&heard);
        let listening = Script::new()
            .data(move |_, data| hearing.borrow_mut().extend_from_slice(data))
            .then_done(&countdown);
        reactor.adopt(reader, listening).unwrap();
        let talking = Script::new()
            .made(|transport| {
                transport.write(b"to them");
                transport.lose_connection();
            })
            .then_done(&countdown);
        reactor.adopt(writer, talking).unwrap();
        let other = thread::spawn(move || {
            io::Write::write_all(&mut theirs, b"to us").unwrap();
            drop(theirs);
            io::read_to_string(&mut their_reader).unwrap()
        });
        run_clean(&reactor);
        assert_eq!(other.join().unwrap(), "to them");
        assert_eq!(*heard.borrow(), b"to us");
        assert_empty(&reactor.metrics());
    }

    #[test]
    fn a_listening_unix_socket_is_adopted() {
        let folder = Folder::new();
        let path = folder.path().join("listening");
        let socket = UnixListener::bind(&path).unwrap();
        let (reactor, countdown) = (reactor(), Countdown::new(1));
        let server = Script::new().data(Transport::write).then_done(&countdown);
        let server = RefCell::new(Some(server));
        let listener = reactor.listen_on(socket, move |_| server.take().unwrap());
        let text = listener.unwrap().local_addr().to_string();
        assert_eq!(text, format!("unix:{}", path.display()));
        let mut client = UnixStream::connect(&path).unwrap();
        let other = thread::spawn(move || {
            io::Write::write_all(&mut client, b"hello").unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
            io::read_to_string(&mut client).unwrap()
        });
        run_clean(&reactor);
        assert_eq!(other.join().unwrap(), "hello");
    }

    /// Goal: a copy of the socket that we keep makes no difference to what the reactor does with its own.
    #[test]
    fn a_connection_may_have_copies() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let copy = ours.try_clone().unwrap();
        let reactor = reactor();
        let transport = reactor.adopt(ours, Script::new().made(Transport::lose_connection));
        drop(transport.unwrap());
        reactor.call_when_running(Reactor::stop);
        run_clean(&reactor);
        io::Write::write_all(&mut &theirs, b"still").unwrap();
        let mut word = [0; 5];
        copy.set_nonblocking(false).unwrap();
        io::Read::read_exact(&mut &copy, &mut word).unwrap();
        assert_eq!(&word, b"still");
    }
}
