//! Named pipes whose clients are other programs, or programs' ordinary files.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Stdio};

use tidewaiter::PipeName;
use tidewaiter::port::{Handle, ListenOptions, Outcome, PipeMode, Request};

use super::named_pipes::{listen, name, received};
use crate::support::harness::Harness;
use crate::support::real_child::plain_child;
use crate::support::roles::Role;
use crate::support::starting::start;

/// Opens the pipe as an ordinary program does.
fn open(name: &PipeName) -> File {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.as_str());
    opened.expect("an instance is free")
}

/// Accepts a client.
fn accept(harness: &mut Harness, listener: Handle) -> Handle {
    let accepting = harness.submit(listener, Request::AcceptOne);
    match harness.last(accepting) {
        Ok(Outcome::Accepted { socket, .. }) => harness.adopt(socket),
        other => panic!("a client should have come: {other:?}"),
    }
}

/// Goal: a client that comes, writes and goes before anybody accepts is a client: nothing that it wrote is lost.
#[test]
fn a_client_that_wrote_and_went_is_accepted() {
    let mut harness = Harness::new();
    let name = name();
    let listener = listen(&mut harness, name.clone());
    open(&name)
        .write_all(b"fire and forget")
        .expect("there is room");
    let server = accept(&mut harness, listener);
    let receiving = harness.receive(server);
    assert_eq!(received(&mut harness, receiving), b"fire and forget");
    assert!(matches!(harness.last(receiving), Ok(Outcome::EndOfFile)));
    harness.finish();
}

/// Goal: a client that came and went without a word is not reported, and harms nobody.
#[test]
fn a_client_that_vanished_is_not_reported() {
    let mut harness = Harness::new();
    let name = name();
    let listener = listen(&mut harness, name.clone());
    drop(open(&name));
    let accepting = harness.submit(listener, Request::AcceptOne);
    let mut second = open(&name);
    second.write_all(b"second").expect("there is room");
    let Ok(Outcome::Accepted { socket, .. }) = harness.last(accepting) else {
        panic!("a client should have come");
    };
    let server = harness.adopt(socket);
    let receiving = harness.receive(server);
    assert_eq!(received(&mut harness, receiving), b"second");
    harness.finish();
}

#[test]
fn an_ordinary_program_talks_to_a_server() {
    let mut harness = Harness::new();
    let name = name();
    let listener = listen(&mut harness, name.clone());
    let mut client = open(&name);
    client.write_all(b"question").expect("there is room");
    let server = accept(&mut harness, listener);
    let receiving = harness.receive(server);
    assert_eq!(received(&mut harness, receiving), b"question");
    let sending = harness.send(server, &b"answer"[..]);
    assert!(matches!(harness.last(sending), Ok(Outcome::Sent { .. })));
    harness.close_now(server);
    let mut answer = String::new();
    // Its end is an error to an ordinary file, after the bytes.
    let _ = client.read_to_string(&mut answer);
    assert_eq!(answer, "answer", "sent before the close");
    harness.finish();
}

/// Goal: a message without a byte is a message.
#[test]
fn an_empty_message_is_received() {
    let mut harness = Harness::new();
    let name = name();
    let mut options = ListenOptions::new(name.clone());
    options.pipe.mode = PipeMode::MESSAGES;
    let listener = listen(&mut harness, options);
    let mut client = open(&name);
    let server = accept(&mut harness, listener);
    harness.receive_bytes = 0..=usize::MAX;
    let receiving = harness.receive(server);
    for message in [&b"a"[..], b"", b"bc", b""] {
        assert_eq!(client.write(message).expect("there is room"), message.len());
        assert_eq!(received(&mut harness, receiving), message);
    }
    harness.finish();
}

/// Starts a child that reads nothing.
fn start_deaf(input: Stdio) -> Child {
    let mut command = plain_child(Role::Deaf);
    command
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    start(&mut command).expect("it can be run again")
}

/// Goal: a client that is killed is noticed.
#[test]
fn the_end_of_a_killed_client_is_an_end_of_file() {
    let mut harness = Harness::new();
    let name = name();
    let listener = listen(&mut harness, name.clone());
    let pipe = open(&name);
    let server = accept(&mut harness, listener);
    let mut child = start_deaf(pipe.into());
    let receiving = harness.receive(server);
    child.kill().expect("it runs");
    child.wait().expect("it is our child");
    assert!(matches!(harness.last(receiving), Ok(Outcome::EndOfFile)));
    harness.finish();
}

/// Goal: a child that other code starts, which inherits whatever is inheritable, keeps neither a connection nor the name.
#[test]
fn children_inherit_no_end_of_a_pipe() {
    let mut harness = Harness::new();
    let name = name();
    let listener = listen(&mut harness, name.clone());
    let client = harness.port.open_stream(&name.clone().into(), None);
    let client = client.expect("it is not opened yet");
    harness.track(client);
    let connecting = harness.submit(client, Request::connect(name.clone()));
    let server = accept(&mut harness, listener);
    assert!(matches!(harness.last(connecting), Ok(Outcome::Connected)));
    let mut child = start_deaf(Stdio::null());
    harness.close_now(server);
    let receiving = harness.receive(client);
    assert!(matches!(harness.last(receiving), Ok(Outcome::EndOfFile)));
    harness.close_now(client);
    harness.close_now(listener);
    let again = listen(&mut harness, name);
    harness.close_now(again);
    child.kill().expect("it runs");
    child.wait().expect("it is our child");
    harness.finish();
}
