//! A file server: `cargo run -p tidewaiter --example file_server -- . 127.0.0.1:7000`; Ctrl-C ends it.
//! A client sends a name in a line: `echo Cargo.toml | nc 127.0.0.1 7000`.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use tidewaiter::frames::{FrameProtocol, Frames, Line, Lines};
use tidewaiter::{FileOptions, Listener, Reactor, Transport};

/// Answers the first line of each connection.
struct Server {
    directory: PathBuf,
    asked: bool,
}

impl FrameProtocol for Server {
    type Codec = Lines;

    fn frame_received(&mut self, transport: &Transport, line: Line) {
        if std::mem::replace(&mut self.asked, true) {
            return;
        }
        let name = String::from_utf8_lossy(&line).into_owned();
        let mut parts = Path::new(&name).components();
        match parts.all(|part| matches!(part, Component::Normal(_))) {
            true => send(transport.clone(), self.directory.join(name)),
            false => refuse(transport, "no such file"),
        }
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        if !self.asked {
            transport.lose_connection();
        }
    }
}

/// Sends a file from the disk to the network, and ends the connection.
fn send(transport: Transport, path: PathBuf) {
    let reactor = transport.reactor().clone();
    reactor.open_file(path, FileOptions::new(), move |_, file| match file {
        Ok(file) => {
            transport.send_file(&file, .., |transport, sent| match sent {
                Ok(_) => transport.lose_connection(),
                // The client must not take a part for the whole.
                Err(_) => transport.abort_connection(),
            });
        }
        Err(error) => refuse(&transport, &error.to_string()),
    });
}

fn refuse(transport: &Transport, why: &str) {
    transport.write(format!("{why}\n").as_bytes());
    transport.lose_connection();
}

pub(crate) fn serve(reactor: &Reactor, directory: PathBuf, at: SocketAddr) -> io::Result<Listener> {
    let listener = reactor.listen_tcp(at, move |_| {
        let (directory, asked) = (directory.clone(), false);
        Frames::new(Lines::new(), Server { directory, asked })
    })?;
    Ok(listener)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let directory = words.next().unwrap_or(".".to_owned()).into();
    let address = words.next().unwrap_or("127.0.0.1:7000".to_owned());
    let reactor = Reactor::new()?;
    let listener = serve(&reactor, directory, address.parse()?)?;
    println!("listening on {}", listener.local_addr());
    reactor.run()?;
    Ok(())
}
