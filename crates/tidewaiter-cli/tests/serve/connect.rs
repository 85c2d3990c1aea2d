//! The command `tidewaiter connect`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use crate::child::READY;
use crate::command_line::run;
use crate::starting;
use crate::support::{Server, tidewaiter};

/// Bytes to upload: more than all buffers on the way hold.
const UPLOAD: u64 = 64 << 20;

fn start(address: &str) -> Child {
    start_with(tidewaiter(), address)
}

fn start_with(mut command: Command, address: &str) -> Child {
    command
        .args(["connect", address])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    starting::start(&mut command).expect("the command starts")
}

#[test]
fn standard_input_and_output_are_joined_to_the_connection() {
    let server = Server::start_on("localhost:0", "echo", &[]);
    let mut process = start(&format!("localhost:{}", server.address.port()));
    let data: Vec<u8> = (0..=255).cycle().take(16 << 20).collect();
    let (mut input, sent) = (process.stdin.take().unwrap(), data.clone());
    let writing = thread::spawn(move || input.write_all(&sent).unwrap());
    let output = process.wait_with_output().unwrap();
    writing.join().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let start = output.stdout.len() - data.len();
    assert!(output.stdout[..start].ends_with(READY));
    assert!(output.stdout[start..] == data, "the echo differs");
}

#[test]
fn the_other_side_may_end_first() {
    let server = Server::start("exit-7", &[]);
    let mut process = start(&server.address.to_string());
    // Standard input stays open until the end.
    let input = process.stdin.take();
    let output = process.wait_with_output().unwrap();
    drop(input);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.ends_with(READY));
}

/// Starts the command with a file of `bytes` bytes as its input; returns it with the other end of its connection.
fn upload(name: &str, bytes: u64, options: &[&str]) -> (Child, TcpStream) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let file = File::create(&path).expect("the directory is there");
    file.set_len(bytes).expect("zeros take no place");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = tidewaiter();
    command
        .args(["connect", &listener.local_addr().unwrap().to_string()])
        .args(options)
        .stdin(File::open(&path).expect("it was just made"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let process = starting::start(&mut command).expect("the command starts");
    let (peer, _) = listener.accept().unwrap();
    (process, peer)
}

/// Goal: the end of one direction does not end the other.
#[test]
fn input_is_sent_to_its_end_although_the_other_side_ends_its_output_first() {
    let (process, mut peer) = upload("whole", UPLOAD, &[]);
    peer.write_all(b"that is all").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    let received = io::copy(&mut peer, &mut io::sink()).unwrap();
    let output = process.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert_eq!((received, output.stdout), (UPLOAD, b"that is all".to_vec()));
}

#[test]
fn input_that_is_not_sent_completely_is_reported_with_code_4() {
    let (process, mut peer) = upload("part", UPLOAD, &[]);
    peer.shutdown(Shutdown::Write).unwrap();
    // The command can send this much only after it has noticed our end of file. We close with data unread, which
    // resets the connection.
    io::copy(&mut (&mut peer).take(UPLOAD / 2), &mut io::sink()).unwrap();
    peer.peek(&mut [0]).unwrap();
    drop(peer);
    let output = process.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{message}");
    let said = "tidewaiter: the other side closed before all of standard input was sent";
    assert!(message.starts_with(said), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn with_end_with_peer_sending_stops_when_the_other_side_ends() {
    let (process, mut peer) = upload("ended", UPLOAD, &["--end-with-peer"]);
    peer.shutdown(Shutdown::Write).unwrap();
    let received = io::copy(&mut peer, &mut io::sink()).unwrap();
    let output = process.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert_eq!(message, "");
    assert!(received < UPLOAD);
}

#[test]
fn a_closed_standard_output_is_reported_with_code_1() {
    let (mut process, mut peer) = upload("deaf", 0, &[]);
    drop(process.stdout.take());
    peer.write_all(b"to nobody").unwrap();
    let output = process.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.starts_with("tidewaiter: standard output: "),
        "{message}"
    );
}

#[test]
fn a_refused_connection_has_code_1() {
    // No OS assigns this port. A listener that was closed just now may have a copy in the child of another test.
    let output = run(&["connect", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("refused"));
}

#[test]
fn a_reset_has_code_1() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut process = start(&address);
    process.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    let (peer, _) = listener.accept().unwrap();
    // Closing a connection with unread data resets it.
    peer.peek(&mut [0]).unwrap();
    drop(peer);
    let mut message = String::new();
    let mut errors = process.stderr.take().unwrap();
    errors.read_to_string(&mut message).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(1));
    let beginning = format!("tidewaiter: {address}: connection lost: ");
    assert!(message.starts_with(&beginning), "{message}");
    assert!(message.contains("reset"), "{message}");
}

/// Method: on Linux, a listener with a full backlog does not answer; on other systems it may refuse.
#[test]
#[cfg(target_os = "linux")]
fn connecting_to_a_peer_that_does_not_answer_times_out() {
    use std::time::Duration;

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut taken = Vec::new();
    while let Ok(client) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        taken.push(client);
    }
    let output = run(&["connect", "--timeout", "300ms", &address.to_string()]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    let expected = format!("tidewaiter: {address}: no answer within 300ms\n");
    assert_eq!(message, expected);
}

#[test]
fn raw_needs_a_terminal() {
    let output = run(&["connect", "--raw", "127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("needs a terminal"));
}

/// Goal: every key reaches the other side, the escape ends the command, and the terminal is as before.
#[test]
#[cfg(unix)]
fn raw_sends_every_key_and_restores_the_terminal() {
    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::tcgetattr;

    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave: File = open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty())
        .unwrap()
        .into();
    let mut master = File::from(master);
    let modes = || tcgetattr(&slave).unwrap().local_modes;
    let before = modes();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut command = tidewaiter();
    command
        .args(["connect", "--raw", &address])
        .stdin(slave.try_clone().unwrap())
        .stdout(slave.try_clone().unwrap());
    let mut process = starting::start(&mut command).expect("the command starts");
    let (mut peer, _) = listener.accept().unwrap();
    peer.write_all(b">").unwrap();
    let mut byte = [0];
    master.read_exact(&mut byte).unwrap();
    assert_ne!(modes(), before);
    for key in [3, 4, 26, b'x'] {
        master.write_all(&[key]).unwrap();
        peer.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [key]);
    }
    master.write_all(&[0x1d]).unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(0));
    assert_eq!(modes(), before);
}

#[test]
#[cfg(unix)]
fn an_interrupt_has_code_130() {
    let server = Server::start("stay", &[]);
    let command = crate::support::tidewaiter_with_default_signals();
    let mut process = start_with(command, &server.address.to_string());
    let (mut seen, mut byte) = (Vec::new(), [0]);
    let output = process.stdout.as_mut().unwrap();
    while !seen.ends_with(READY) {
        output.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    // The command is still reading its input, which stays open.
    crate::shutdown::interrupt(process.id());
    assert_eq!(process.wait().unwrap().code(), Some(130));
}
