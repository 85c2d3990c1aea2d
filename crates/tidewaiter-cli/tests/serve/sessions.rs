//! Connections and their children.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use crate::support::{Server, await_ready, connect, exchange, field, rest, tidewaiter};

/// How many at once: Wine's children are slow to start.
const MANY: usize = if cfg!(windows) { 100 } else { 1000 };

#[test]
fn bytes_go_both_ways_and_the_log_tells_how_many() {
    let server = Server::start("echo", &[]);
    let mut client = server.connect_to_child();
    assert_eq!(exchange(&mut client, b"hello"), b"hello");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"");
    let line = server.await_line("connection ended");
    assert_eq!(field(&line, "bytes_in"), "5");
    assert!(line.contains("exit=\"exit code 0\""), "{line}");
    assert_eq!(
        field(&line, "peer"),
        client.local_addr().unwrap().to_string()
    );
}

#[test]
fn the_clients_end_is_the_childs_end_of_input_and_its_answer_still_comes() {
    let server = Server::start("count", &[]);
    let mut client = server.connect_to_child();
    client.write_all(&vec![b'x'; 300_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"300000");
}

#[test]
fn a_thousand_at_once_all_echo() {
    let server = Server::start("echo", &[]);
    let mut clients: Vec<TcpStream> = (0..MANY).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(await_ready);
    for (number, client) in clients.iter_mut().enumerate() {
        let text = format!("client {number:04}");
        assert_eq!(exchange(client, text.as_bytes()), text.as_bytes());
    }
    for client in &clients {
        client.shutdown(Shutdown::Write).unwrap();
    }
    for client in &mut clients {
        assert_eq!(rest(client), b"");
    }
    for _ in 0..MANY {
        let line = server.await_line("connection ended");
        assert!(line.contains("exit=\"exit code 0\""), "{line}");
    }
}

#[test]
fn a_slow_reader_loses_nothing() {
    const BYTES: usize = 64 << 20;
    let server = Server::start("echo", &[]);
    let mut client = server.connect_to_child();
    let mut writer = client.try_clone().unwrap();
    let writing = thread::spawn(move || {
        let piece: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        for _ in 0..BYTES >> 20 {
            writer.write_all(&piece).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let (mut count, mut data) = (0_usize, vec![0; 1 << 16]);
    loop {
        let length = client.read(&mut data).unwrap();
        if length == 0 {
            break;
        }
        assert!(
            data[..length]
                .iter()
                .zip(count..)
                .all(|(&byte, at)| usize::from(byte) == at % 256)
        );
        count += length;
    }
    writing.join().unwrap();
    assert_eq!(count, BYTES);
}

#[test]
fn a_further_client_waits_for_a_place() {
    let server = Server::start("echo", &["--max-clients", "1"]);
    let first = server.connect_to_child();
    let mut second = server.connect();
    second.write_all(b"early").unwrap();
    server.await_line("accepting pauses");
    first.shutdown(Shutdown::Both).unwrap();
    drop(first);
    await_ready(&mut second);
    let mut answer = [0; 5];
    second.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"early");
}

#[test]
fn an_idle_connection_and_its_child_are_ended() {
    let server = Server::start("stay", &["--idle-timeout", "300ms"]);
    let mut client = server.connect_to_child();
    assert_eq!(rest(&mut client), b"");
    let line = server.await_line("connection ended");
    assert!(line.contains("reason=\"idle timeout\""), "{line}");
}

#[test]
fn the_child_learns_who_called() {
    let server = Server::start("environment", &[]);
    let mut client = server.connect_to_child();
    let text = String::from_utf8(rest(&mut client)).unwrap();
    let (own, there) = (client.local_addr().unwrap().port(), server.address.port());
    for expected in [
        "REMOTE_ADDR=127.0.0.1\n".to_owned(),
        format!("REMOTE_PORT={own}\n"),
        "PROTO=TCP\n".to_owned(),
        format!("TCPREMOTEPORT={own}\n"),
        "TCPLOCALIP=127.0.0.1\n".to_owned(),
        format!("TCPLOCALPORT={there}\n"),
    ] {
        assert!(text.contains(&expected), "{expected} is not in {text}");
    }
}

#[test]
fn standard_error_is_logged_line_by_line() {
    let server = Server::start("complain", &[]);
    let mut client = server.connect_to_child();
    assert_eq!(rest(&mut client), b"");
    server.await_line("stderr=\"first complaint\"");
    server.await_line("stderr=\"second \u{fffd} one\"");
    server.await_line("stderr=unfinished");
}

#[test]
fn standard_error_can_go_to_the_client() {
    let server = Server::start("complain", &["--merge-stderr"]);
    let mut client = server.connect_to_child();
    assert_eq!(
        rest(&mut client),
        b"first complaint\nsecond \xff one\nunfinished"
    );
}

#[test]
fn a_program_that_is_not_there_costs_its_connection_alone() {
    let mut command = tidewaiter();
    command.args(["serve", "127.0.0.1:0", "--", "no-such-program-anywhere"]);
    let server = Server::run(command);
    for _ in 0..2 {
        assert_eq!(rest(&mut server.connect()), b"");
        let line = server.await_line("cannot start");
        assert!(line.contains("no-such-program-anywhere"), "{line}");
        server.await_line("reason=\"spawn failed\"");
    }
}

#[test]
fn metrics_tell_what_happened() {
    let server = Server::start("exit-7", &["--metrics", "127.0.0.1:0"]);
    let metrics = server.address_in("serving metrics");
    rest(&mut server.connect());
    server.await_line("connection ended");
    for garbage in ["\0\0\r\n\r\n", "GET /other HTTP/1.1\r\n\r\n"] {
        let mut client = connect(metrics);
        client.write_all(garbage.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(rest(&mut client).starts_with(b"HTTP/1.1 4"));
    }
    let mut client = connect(metrics);
    client
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
        .unwrap();
    let text = String::from_utf8(rest(&mut client)).unwrap();
    for expected in [
        "HTTP/1.1 200 OK",
        "tidewaiter_connections_total 1\n",
        "tidewaiter_connections 0\n",
        "tidewaiter_child_exits_total{outcome=\"failure\"} 1\n",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}
