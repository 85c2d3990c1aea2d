//! A chat of tasks: everyone gets the lines of all others. `cargo run -p tidewaiter --example async_chat -- 127.0.0.1:7000`,
//! then `nc 127.0.0.1 7000` several times; Ctrl-C ends it.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tidewaiter::io::{Listener, ReadHalf, Stream};
use tidewaiter::{Reactor, Transport, TransportId};

/// A longer line ends its connection.
const LINE_MAX: usize = 4096;
/// A member that is further behind is disconnected.
const BEHIND_MAX: usize = 1 << 20;

/// The connections of all members.
type Members = Rc<RefCell<HashMap<TransportId, Transport>>>;

/// Reads one line; `None` at the end.
async fn line(from: &mut ReadHalf) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        let bytes = from.fill_buf().await?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let count = end.map_or(bytes.len(), |end| end + 1);
        line.extend_from_slice(&bytes[..count]);
        from.consume(count);
        if line.len() > LINE_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "too long a line",
            ));
        }
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

/// Passes the lines of one member on to the others.
async fn pass_on(stream: Stream, members: Members) -> io::Result<()> {
    let (mut reads, writes) = stream.split();
    let own = writes.transport().id();
    members.borrow_mut().insert(own, writes.transport().clone());
    let ended = loop {
        match line(&mut reads).await {
            Ok(Some(line)) => tell(&members, own, &line),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    members.borrow_mut().remove(&own);
    ended
}

fn tell(members: &Members, own: TransportId, line: &[u8]) {
    for (id, member) in members.borrow().iter() {
        if member.queued() > BEHIND_MAX {
            member.abort_connection();
        } else if *id != own {
            member.write(line);
        }
    }
}

/// Accepts members until the reactor stops.
pub(crate) async fn serve(reactor: Reactor, mut listener: Listener) -> io::Result<()> {
    let members = Members::default();
    loop {
        let (stream, _) = listener.accept().await?;
        reactor.spawn(pass_on(stream, Rc::clone(&members)));
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address: SocketAddr = address.as_deref().unwrap_or("127.0.0.1:7000").parse()?;
    let reactor = Reactor::new()?;
    let listener = Listener::bind(&reactor, address)?;
    println!("listening on {}", listener.local_addr());
    reactor.spawn(serve(reactor.clone(), listener));
    reactor.run()?;
    Ok(())
}
