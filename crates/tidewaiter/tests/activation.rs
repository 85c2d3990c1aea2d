//! Socket activation: this executable starts itself as a service, with descriptors and the variables that announce them.
#![cfg(unix)]

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use rustix::io::{FdFlags, fcntl_getfd};
use tidewaiter::port::{Resource, Socket, activated, inherited};
use tidewaiter::process::{Command, Stdio};
use tidewaiter::{CommandOptions, Reactor};

#[path = "../examples/activated.rs"]
mod example;

/// Says what the started process is to do.
const SERVICE: &str = "TIDEWAITER_TEST_SERVICE";

/// The entry point of the processes that the tests start. In any other process, this test does nothing.
#[test]
fn is_a_service() {
    match std::env::var(SERVICE).as_deref() {
        Ok("tell") => tell(),
        Ok("serve") => example::main().expect("it serves"),
        _ => {}
    }
}

/// Says on standard error what was passed, and whether a child would inherit it.
#[expect(clippy::print_stderr, reason = "its parent reads it")]
fn tell() {
    for round in ["first", "again"] {
        match activated() {
            Err(error) => eprintln!("told {round}: {:?}: {error}", error.kind()),
            Ok(passed) => {
                eprintln!("told {round}: {}", passed.len());
                for passed in &passed {
                    eprintln!("told {}: {}", passed.name, kind(&passed.resource));
                }
            }
        }
    }
}

fn kind(resource: &Resource) -> &'static str {
    match resource {
        Resource::Listener(_) => "listener",
        Resource::Socket(_) => "connection",
        Resource::PipeReader(pipe) | Resource::PipeWriter(pipe) => {
            let flags = fcntl_getfd(pipe).expect("it is open");
            assert!(flags.contains(FdFlags::CLOEXEC), "no child inherits it");
            match resource {
                Resource::PipeReader(_) => "reader",
                _ => "writer",
            }
        }
        _ => "something new",
    }
}

/// A command that runs this executable as a service. `$$` is the number of the process that becomes the service.
fn service(what: &str, variables: &str, descriptors: &[i32]) -> Command {
    let program = std::env::current_exe().expect("we are a program");
    let script = format!("export {variables}; exec \"$@\"");
    let mut command = Command::new("sh")
        .args(["-c", &script, "sh"])
        .arg(program)
        .args(["--exact", "is_a_service", "--nocapture"])
        .env(SERVICE, what);
    for (child_fd, descriptor) in (3..).zip(descriptors) {
        command = command.fd(child_fd, Stdio::Descriptor(*descriptor));
    }
    command
}

/// Runs a service that tells what it was passed; returns the lines.
fn told(variables: &str, descriptors: &[i32]) -> Vec<String> {
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let output = Rc::new(RefCell::new(None));
    let result = Rc::clone(&output);
    let command = service("tell", variables, descriptors);
    reactor.run_command(CommandOptions::new(command), move |reactor, ended| {
        *result.borrow_mut() = Some(ended);
        reactor.stop();
    });
    reactor.run().expect("the port works");
    let output = output.take().expect("it ended").expect("it ran");
    let text = String::from_utf8(output.stderr.to_vec()).expect("it is text");
    assert!(output.status.success(), "{text}");
    let lines = text.lines().filter_map(|line| line.split_once("told "));
    lines.map(|(_, told)| told.to_owned()).collect()
}

const AGAIN: &str = "again: AlreadyExists: the descriptors of LISTEN_FDS were taken over before";

#[test]
fn sockets_and_pipes_arrive_with_their_names() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let passed = [
        listener.as_raw_fd(),
        client.as_raw_fd(),
        reader.as_raw_fd(),
        writer.as_raw_fd(),
    ];
    let variables = "LISTEN_PID=$$ LISTEN_FDS=4 LISTEN_FDNAMES=web:peer::out";
    let expected = [
        "first: 4",
        "web: listener",
        "peer: connection",
        ": reader",
        "out: writer",
        AGAIN,
    ];
    assert_eq!(told(variables, &passed), expected);

    let expected = ["first: 1", "unknown: listener", AGAIN];
    assert_eq!(told("LISTEN_PID=$$ LISTEN_FDS=1", &passed), expected);
}

#[test]
fn without_variables_for_this_process_there_is_nothing() {
    let nothing = ["first: 0", "again: 0"];
    for variables in [
        "NOTHING=1",
        "LISTEN_FDS=1",
        "LISTEN_PID=1 LISTEN_FDS=1",
        "LISTEN_PID=$$",
    ] {
        assert_eq!(told(variables, &[]), nothing, "{variables}");
    }
}

#[test]
fn what_makes_no_sense_is_named() {
    let file = OwnedFd::from(std::fs::File::open("/").unwrap());
    let (reader, _writer) = std::io::pipe().unwrap();
    let cases = [
        ("LISTEN_PID=me LISTEN_FDS=1", "LISTEN_PID=me is no number"),
        (
            "LISTEN_PID=$$ LISTEN_FDS=two",
            "LISTEN_FDS=two is no number",
        ),
        (
            "LISTEN_PID=$$ LISTEN_FDS=-1",
            "LISTEN_FDS=-1 is no number of descriptors",
        ),
        (
            "LISTEN_PID=$$ LISTEN_FDS=9999999999",
            "LISTEN_FDS=9999999999 is no number of descriptors",
        ),
        (
            "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=a",
            "LISTEN_FDNAMES=a does not have one name for each descriptor of LISTEN_FDS",
        ),
        (
            "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=a:b",
            "descriptor 4 of LISTEN_FDS (b): it is a directory, and no socket, pipe or character device",
        ),
        (
            "LISTEN_PID=$$ LISTEN_FDS=9 LISTEN_FDNAMES=a::::::::b",
            "descriptor 4 of LISTEN_FDS (): it is a directory, and no socket, pipe or character device",
        ),
        (
            "LISTEN_PID=$$ LISTEN_FDS=1 3<&-",
            "descriptor 3 of LISTEN_FDS (unknown): Bad file descriptor (os error 9)",
        ),
    ];
    for (variables, problem) in cases {
        let variables = variables.replace(" 3<&-", "; exec 3<&-");
        let lines = told(&variables, &[reader.as_raw_fd(), file.as_raw_fd()]);
        let expected = format!("first: InvalidData: {problem}");
        assert_eq!(lines[0], expected, "{variables}");
    }
}

/// Goal: a service that the first client starts answers that client.
#[test]
fn the_example_serves_the_client_that_waits() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let variables = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=echo";
    let command = service("serve", variables, &[listener.as_raw_fd()]);
    let run = reactor.run_command(CommandOptions::new(command), |reactor, _| reactor.stop());
    drop(listener);
    let remote = reactor.remote();
    let client = std::thread::spawn(move || {
        client.write_all(b"anybody?").unwrap();
        let mut answer = [0; 8];
        client.read_exact(&mut answer).unwrap();
        remote.call(Reactor::stop).unwrap();
        answer
    });
    reactor.run().expect("the port works");
    assert_eq!(&client.join().unwrap(), b"anybody?");
    assert!(run.is_over(), "the stop ended the service");
}

#[test]
fn a_descriptor_is_copied_by_its_number() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let copied = inherited(listener.as_raw_fd()).unwrap();
    assert_eq!(kind(&copied), "listener");
    drop(copied);
    assert!(listener.local_addr().is_ok(), "the original stays open");
    for (number, code) in [(-1, libc::EBADF), (RawFd::MAX, libc::EBADF)] {
        let error = inherited(number).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(code), "{number}: {error}");
    }
}

/// Goal: what was passed can go on to another process: a `Socket` gives its descriptor back.
#[test]
fn a_passed_connection_is_an_ordinary_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let number = client.as_raw_fd();
    let Ok(Resource::Socket(socket)) = Resource::try_from(OwnedFd::from(client)) else {
        panic!("it is a connection");
    };
    let stream = TcpStream::try_from(socket).map_err(|_: Socket| "simulated");
    assert_eq!(stream.unwrap().as_raw_fd(), number);
}
