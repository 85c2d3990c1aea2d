//! The server behind a reverse proxy: a child of the proxy, which answers each request with the same body.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::child::program;
use crate::net::PIECE_BYTES;
use crate::system;

/// The argument that makes a peer run as the server.
pub(crate) const ORIGIN: &str = "http-origin";
/// The length of the body.
const BODY_BYTES: usize = 100 << 20;
/// The end of the head of a request.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// The running server. It ends with this process, which holds the only writing end of its standard input.
#[derive(Debug)]
pub struct Origin {
    pub address: SocketAddr,
    _child: Child,
}

impl Origin {
    /// Starts the server.
    ///
    /// # Errors
    ///
    /// Errors of the OS.
    pub fn start() -> io::Result<Origin> {
        let mut child = Command::new(program())
            .arg(ORIGIN)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().map(BufReader::new);
        output.map_or(Ok(0), |mut output| output.read_line(&mut line))?;
        let port: u16 = line.trim().parse().map_err(io::Error::other)?;
        Ok(Origin {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            _child: child,
        })
    }
}

/// Whether `bytes` contain the whole head of a request.
#[must_use]
pub fn has_head(bytes: &[u8]) -> bool {
    bytes.windows(HEAD_END.len()).any(|part| part == HEAD_END)
}

/// Runs as the server, until standard input ends.
#[expect(
    clippy::disallowed_methods,
    reason = "a child has nothing to put in order"
)]
pub(crate) fn serve_and_exit() -> ! {
    system::move_to_second_core();
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback has a free port");
    let port = listener.local_addr().expect("it listens").port();
    println!("{port}");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    let ended = io::copy(&mut io::stdin().lock(), &mut io::sink());
    std::process::exit(i32::from(ended.is_err()))
}

/// Answers requests without bodies until the client closes the connection.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    // Written at once, because the load program expects it in one piece.
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    let piece = vec![b'x'; PIECE_BYTES];
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..count]);
        if !has_head(&request) {
            continue;
        }
        request.clear();
        stream.write_all(head.as_bytes())?;
        for _ in 0..BODY_BYTES / PIECE_BYTES {
            stream.write_all(&piece)?;
        }
    }
}
