//! Large amounts of data, and readers that do not keep up.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::child::{FLOOD_LINE, FLOOD_LINES, MUCH, REFUSAL};
use crate::support::{Server, exchange, field, rest};

/// Limit of the server's memory while it transfers far more than this.
#[cfg(target_os = "linux")]
const MEMORY_BYTES_MAX: usize = 32 << 20;

#[test]
fn a_client_that_pauses_reading_fills_no_memory_and_loses_nothing() {
    const BYTES: usize = 64 << 20;
    /// A writer that needs longer for a piece is blocked.
    const BLOCKED: Duration = Duration::from_secs(1);
    let server = Server::start("echo", &[]);
    let mut client = server.connect_to_child();
    let mut writer = client.try_clone().unwrap();
    let (progress, taken) = mpsc::channel();
    let writing = thread::spawn(move || {
        let piece: Vec<u8> = (0..=255).cycle().take(1 << 20).collect();
        for _ in 0..BYTES >> 20 {
            writer.write_all(&piece).unwrap();
            // Nobody awaits the pieces that are taken after the writer was blocked.
            let _ = progress.send(());
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    while taken.recv_timeout(BLOCKED).is_ok() {}
    assert!(!writing.is_finished());
    let (mut count, mut data) = (0_usize, vec![0; 1 << 16]);
    loop {
        let length = client.read(&mut data).unwrap();
        if length == 0 {
            break;
        }
        let mut expected = count..;
        let right = |&byte: &u8| Some(usize::from(byte)) == expected.next().map(|at| at % 256);
        assert!(data[..length].iter().all(right));
        count += length;
    }
    writing.join().unwrap();
    assert_eq!(count, BYTES);
    #[cfg(target_os = "linux")]
    assert!(server.peak_memory() < MEMORY_BYTES_MAX);
}

/// Goal: the exit of the child does not break the connection: a client that first sends everything, and then reads,
/// gets the answer of a child that exited long ago.
#[test]
fn a_client_can_send_all_and_gets_the_answer_of_a_child_that_stopped_reading() {
    let server = Server::start("refuse", &[]);
    for _ in 0..5 {
        let mut client = server.connect_to_child();
        client
            .write_all(&vec![b'x'; 4 << 20])
            .expect("all is taken");
        let answer = rest(&mut client);
        assert_eq!(answer.len(), REFUSAL);
        assert!(answer.iter().all(|&byte| byte == b'n'));
    }
}

/// Goal: as above, while the child still runs after it has closed its input.
#[test]
#[cfg(unix)]
fn a_child_can_answer_after_it_has_closed_its_input_and_further_data_is_dropped() {
    let script = "read line; exec 0<&-; head -c 8000000 /dev/zero";
    let mut command = crate::support::tidewaiter();
    command.args(["serve", "-v", "127.0.0.1:0", "--", "sh", "-c", script]);
    let server = Server::run(command);
    let mut client = server.connect();
    client.write_all(b"line\n").unwrap();
    client
        .write_all(&vec![b'x'; 4 << 20])
        .expect("all is taken");
    assert_eq!(rest(&mut client).len(), 8_000_000);
}

/// Goal: a client that keeps sending while it reads gets all the output of a child that has exited. The tests of the
/// command on the simulated port have the same for clients that take minutes.
#[test]
fn a_client_that_keeps_sending_gets_the_rest_of_the_output() {
    let server = Server::start("tell-much", &[]);
    let mut client = server.connect_to_child();
    let mut taken = 0;
    while taken < MUCH {
        let mut piece = vec![0; 100_000.min(MUCH - taken)];
        client.read_exact(&mut piece).expect("there is more");
        taken += piece.len();
        client.write_all(b"ping").expect("the server reads");
    }
    assert_eq!(rest(&mut client), b"");
}

#[test]
fn a_flood_on_standard_error_is_logged_in_bounded_lines() {
    let server = Server::start("flood", &[]);
    let mut client = server.connect_to_child();
    assert_eq!(rest(&mut client), b"flooded");
    let (mut logged, mut dropped) = (0, 0);
    for line in server.lines_up_to("connection ended") {
        assert!(line.len() < FLOOD_LINE + 256, "{} bytes", line.len());
        logged += usize::from(line.contains("child says"));
        if line.contains("lines were dropped") {
            dropped += field(&line, "dropped").parse::<usize>().unwrap();
        }
    }
    assert!(logged > 0);
    assert!(logged + dropped >= FLOOD_LINES, "{logged} + {dropped}");
    #[cfg(target_os = "linux")]
    assert!(server.peak_memory() < MEMORY_BYTES_MAX);
}

#[test]
fn a_log_that_nobody_reads_does_not_block_the_server() {
    let mut server = Server::start_unread("127.0.0.1:0", "flood", &[]);
    let mut client = server.connect_to_child();
    assert_eq!(rest(&mut client), b"flooded");
    server.read_log();
    let line = server.await_line("lines were dropped");
    assert_ne!(field(&line, "dropped"), "0");
}

#[test]
fn a_closed_log_does_not_end_the_server() {
    let mut server = Server::start_unread("127.0.0.1:0", "echo", &[]);
    server.close_log();
    for _ in 0..3 {
        let mut client = server.connect_to_child();
        assert_eq!(exchange(&mut client, b"hello"), b"hello");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut client), b"");
    }
}

/// Method: a shell closes its output, because the standard library cannot.
#[test]
#[cfg(unix)]
fn a_child_that_closes_its_output_lives_on_and_still_gets_its_input() {
    let script = "echo hello; exec >&-; test \"$(cat)\" = 'the rest' && echo 'got it' >&2";
    let mut command = crate::support::tidewaiter();
    command.args(["serve", "-v", "127.0.0.1:0", "--", "sh", "-c", script]);
    let server = Server::run(command);
    let mut client = server.connect();
    assert_eq!(rest(&mut client), b"hello\n");
    client.write_all(b"the rest").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    server.await_line("stderr=\"got it\"");
    let line = server.await_line("connection ended");
    assert!(line.contains("exit=\"exit code 0\""), "{line}");
}
