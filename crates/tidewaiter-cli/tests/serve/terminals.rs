//! Children on terminals.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::support::{Server, rest};

/// Reads until `mark` was received.
fn read_to(client: &mut TcpStream, mark: &[u8]) {
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(mark) {
        client.read_exact(&mut byte).expect("the child goes on");
        seen.push(byte[0]);
    }
}

/// Goal: a program that opens its terminal by name finds its client there, on every system.
#[test]
fn a_child_hears_what_the_client_types() {
    let server = Server::start("converse", &["--pty"]);
    let mut client = server.connect();
    read_to(&mut client, b"ready");
    client.write_all(b"hello\r").unwrap();
    read_to(&mut client, b"heard <hello>");
    client.write_all(b"exit\r").unwrap();
    rest(&mut client);
    drop(client);
    let line = server.await_line("connection ended");
    assert!(line.contains("exit=\"exit code 3\""), "{line}");
}

/// Goal: the end of the client's data is the end of the input, on every system.
#[test]
fn a_child_reads_the_end_of_its_input_when_the_client_ends() {
    for sent in [&b""[..], b"hello\r"] {
        let server = Server::start("converse", &["--pty"]);
        let mut client = server.connect();
        read_to(&mut client, b"ready");
        client.write_all(sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        rest(&mut client);
        let line = server.await_line("connection ended");
        assert!(line.contains("exit=\"exit code 4\""), "{line}");
    }
}

#[cfg(unix)]
mod on_unix {
    use std::io::Write;
    use std::net::Shutdown;
    use std::time::Duration;

    use super::read_to;
    use crate::shutdown::terminate;
    use crate::support::{Server, field, rest, tidewaiter};

    /// Serves a shell's script.
    fn serve(options: &[&str], script: &str) -> Server {
        let mut command = tidewaiter();
        let served = ["127.0.0.1:0", "--", "sh", "-c", script];
        command.args(["serve", "-v"]).args(options).args(served);
        Server::run(command)
    }

    #[test]
    fn the_standard_streams_are_a_terminal_of_the_size_that_was_asked_for() {
        const SCRIPT: &str = "for n in 0 1 2; do test -t $n && echo terminal $n; done; stty size";
        for (option, size) in [("--pty", "24 80"), ("--pty=132x43", "43 132")] {
            let server = serve(&[option], SCRIPT);
            let text = String::from_utf8(rest(&mut server.connect())).unwrap();
            let expected = format!("terminal 0\r\nterminal 1\r\nterminal 2\r\n{size}\r\n");
            assert_eq!(text, expected);
            let line = server.await_line("connection ended");
            assert!(line.contains("exit=\"exit code 0\""), "{line}");
            assert_eq!(field(&line, "bytes_out"), text.len().to_string());
        }
    }

    #[test]
    fn standard_error_is_part_of_the_terminal() {
        for options in [&["--pty"][..], &["--pty", "--merge-stderr"]] {
            let server = serve(options, "echo error >&2");
            assert_eq!(rest(&mut server.connect()), b"error\r\n");
        }
    }

    /// Goal: the end of the client's data is the end of the input, also within a line.
    #[test]
    fn the_end_of_what_the_client_sends_is_typed_as_the_end_of_the_input() {
        for (sent, echoed) in [("", ""), ("a line\n", "a line\r\n"), ("no line", "no line")] {
            let server = serve(&["--pty"], "stty -echo; echo ready; cat; echo end");
            let mut client = server.connect();
            read_to(&mut client, b"ready\r\n");
            client.write_all(sent.as_bytes()).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let text = String::from_utf8(rest(&mut client)).unwrap();
            assert_eq!(text, format!("{echoed}end\r\n"));
            let line = server.await_line("connection ended");
            assert!(line.contains("exit=\"exit code 0\""), "{line}");
        }
    }

    /// Goal: as with a pipe, everything that still reads finds the end of the input.
    #[test]
    fn each_reader_finds_the_end_of_the_input() {
        let server = serve(&["--pty"], "stty -echo; cat; cat; read line || echo end");
        let mut client = server.connect();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(rest(&mut client).ends_with(b"end\r\n"));
    }

    /// A shell that is interrupted just before it reads goes on to read: the child waits in a loop.
    #[test]
    fn control_c_interrupts_the_child() {
        const SCRIPT: &str =
            "trap 'echo interrupted; exit 3' INT; echo ready; while :; do sleep 0.1; done";
        let server = serve(&["--pty"], SCRIPT);
        let mut client = server.connect();
        read_to(&mut client, b"ready\r\n");
        client.write_all(b"\x03").unwrap();
        read_to(&mut client, b"interrupted\r\n");
        rest(&mut client);
        drop(client);
        let line = server.await_line("connection ended");
        assert!(line.contains("exit=\"exit code 3\""), "{line}");
    }

    /// A child that ends only by a hang-up.
    const UNTIL_HUNG_UP: &str =
        "trap '' TERM INT; trap 'exit 5' HUP; echo ready; while :; do sleep 0.1; done";

    /// Goal: the child of a client that is gone hears of it at once, however long the grace.
    #[test]
    fn a_terminal_hangs_up_when_the_connection_is_lost() {
        let server = serve(&["--pty", "--grace", "1h"], UNTIL_HUNG_UP);
        let mut client = server.connect();
        read_to(&mut client, b"ready\r\n");
        rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO))
            .expect("the option can be set");
        drop(client);
        let line = server.await_line("connection ended");
        assert!(line.contains("exit=\"exit code 5\""), "{line}");
        assert!(line.contains("reason=\"client reset\""), "{line}");
    }

    /// Goal: shells at a terminal, which ignore requests to end, end in order at shutdown.
    #[test]
    fn a_terminal_hangs_up_at_shutdown() {
        let server = serve(&["--pty", "--grace", "100ms"], UNTIL_HUNG_UP);
        let mut client = server.connect();
        read_to(&mut client, b"ready\r\n");
        terminate(&server);
        rest(&mut client);
        drop(client);
        let line = server.await_line("connection ended");
        assert!(line.contains("exit=\"exit code 5\""), "{line}");
        assert_eq!(server.wait().code(), Some(3));
    }

    /// Goal: more output than all buffers hold arrives whole.
    #[test]
    fn a_client_gets_all_of_a_terminals_output() {
        let server = serve(&["--pty"], "head -c 3000000 /dev/zero");
        assert_eq!(rest(&mut server.connect()).len(), 3_000_000);
    }
}
