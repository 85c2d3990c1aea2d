//! The server's metrics, and requests that it refuses.

use std::io::{Read, Write};
use std::net::Shutdown;

use crate::support::{Server, connect, metrics, rest};

#[test]
fn metrics_count_connections_and_exits() {
    let server = Server::start("exit-7", &["--metrics", "127.0.0.1:0"]);
    let address = server.address_in("serving metrics");
    rest(&mut server.connect());
    server.await_line("connection ended");
    let text = metrics(address);
    for expected in [
        "HTTP/1.1 200 OK",
        "tidewaiter_connections_total 1\n",
        "tidewaiter_connections 0\n",
        "tidewaiter_child_exits_total{outcome=\"failure\"} 1\n",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}

#[test]
fn malformed_and_oversized_requests_are_answered_with_an_error() {
    let server = Server::start("echo", &["--metrics", "127.0.0.1:0"]);
    let address = server.address_in("serving metrics");
    let too_long = "GET /metrics HTTP/1.1\r\nCookie: ".to_owned() + &"x".repeat(9000);
    for (request, status) in [
        ("\0\u{ff}\r\n\r\n", "400"),
        ("GET /other HTTP/1.1\r\n\r\n", "404"),
        (&too_long, "431"),
    ] {
        let mut client = connect(address);
        client.write_all(request.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let answer = String::from_utf8(rest(&mut client)).unwrap();
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{request:?}: {answer}");
    }
}

#[test]
fn a_request_that_never_ends_is_cut_off() {
    let server = Server::start("echo", &["--metrics", "127.0.0.1:0"]);
    let address = server.address_in("serving metrics");
    let mut client = connect(address);
    client.write_all(b"GET /metrics HT").unwrap();
    let end = client.read(&mut [0]).expect_err("there is no answer");
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(metrics(address).starts_with("HTTP/1.1 200 OK"));
}
