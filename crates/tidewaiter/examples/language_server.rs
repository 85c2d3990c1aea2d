//! Lets several editors share one language server: `cargo run -p tidewaiter --example language_server -- 127.0.0.1:7000
//! rust-analyzer`. Requests get numbers of their own; what the server says unasked goes to all editors.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::rc::Rc;

use serde_json::Value;
use tidewaiter::bytes::{Buf, Bytes, BytesMut};
use tidewaiter::frames::{Decoder, FrameError, FramedRead};
use tidewaiter::io::{Child, Listener, ReadHalf, Stream};
use tidewaiter::process::{Command, Stdio};
use tidewaiter::{Broadcast, Reactor, SlowMembers, Transport};

type Outcome = Result<(), Box<dyn Error>>;

/// Messages of JSON, each after a header that says how long it is.
pub(crate) struct Messages;

fn malformed(problem: impl Into<Box<dyn Error + Send + Sync>>) -> FrameError {
    io::Error::new(io::ErrorKind::InvalidData, problem).into()
}

impl Decoder for Messages {
    type Item = Value;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Value>, FrameError> {
        let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
            let is_short = buffer.len() < 4096;
            return is_short
                .then_some(None)
                .ok_or(malformed("no end of its header"));
        };
        let mut lines = str::from_utf8(&buffer[..end]).map_err(malformed)?.lines();
        let length = lines.find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok());
        let length = length
            .filter(|it: &usize| *it < 64 << 20)
            .ok_or(malformed("bad length"))?;
        if buffer.len() < end + 4 + length {
            return Ok(None);
        }
        buffer.advance(end + 4);
        serde_json::from_slice(&buffer.split_to(length)).map_err(malformed)
    }
}

pub(crate) fn framed(message: &Value) -> Bytes {
    let text = message.to_string();
    format!("Content-Length: {}\r\n\r\n{text}", text.len()).into()
}

/// The requests that are not answered: whose each is, and its number there.
type Open = RefCell<HashMap<u64, (Transport, Value)>>;

/// Shared by the editors: the server's input, all editors, the last number, and the requests.
struct Shared(Transport, Broadcast, Cell<u64>, Open);

/// Passes on what an editor says.
async fn from_editor(stream: Stream, shared: Rc<Shared>) -> Result<(), FrameError> {
    let (Shared(server, editors, last, open), editor) = (&*shared, stream.transport().clone());
    let _member = editors.add(&editor);
    let mut messages = FramedRead::new(stream, Messages);
    while let Some(mut message) = messages.next().await.transpose()? {
        if !message["method"].is_null() && !message["id"].is_null() {
            let (number, mut open) = (last.get() + 1, open.borrow_mut());
            last.set(number);
            let own = std::mem::replace(&mut message["id"], number.into());
            open.insert(number, (editor.clone(), own));
        }
        server.write_bytes(framed(&message));
    }
    Ok(())
}

/// Passes on what the server says, until it ends.
async fn from_server(stdout: ReadHalf, shared: Rc<Shared>) -> Result<(), FrameError> {
    let (Shared(_, editors, _, open), mut messages) = (&*shared, FramedRead::new(stdout, Messages));
    while let Some(mut message) = messages.next().await.transpose()? {
        let is_answer = message["method"].is_null();
        let number = message["id"].as_u64().filter(|_| is_answer);
        if let Some((editor, own)) = number.and_then(|it| open.borrow_mut().remove(&it)) {
            message["id"] = own;
            editor.write_bytes(framed(&message));
        } else {
            editors.send(framed(&message));
        }
    }
    Ok(())
}

/// Starts the server, and connects editors with it until it ends.
pub(crate) async fn serve(reactor: Reactor, mut listener: Listener, command: Command) -> Outcome {
    let mut child = Child::spawn(&reactor, &command)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let server = stdin.as_ref().ok_or("no pipe")?.transport().clone();
    let editors = Broadcast::new(SlowMembers::Disconnect);
    let (last, open) = (Cell::default(), RefCell::default());
    let shared = Rc::new(Shared(server, editors, last, open));
    reactor.spawn(from_server(stdout.ok_or("no pipe")?, Rc::clone(&shared)));
    reactor.clone().spawn(async move {
        while let Ok((stream, _peer)) = listener.accept().await {
            reactor.spawn(from_editor(stream, Rc::clone(&shared)));
        }
    });
    Err(format!("the server ended: {}", child.wait().await?).into())
}

fn main() -> Outcome {
    let mut words = std::env::args().skip(1);
    let usage = "usage: language_server ADDRESS PROGRAM [ARGUMENT]…";
    let (address, program) = (words.next().ok_or(usage)?, words.next().ok_or(usage)?);
    let command = Command::new(program).args(words).fd(2, Stdio::Inherit);
    let reactor = Reactor::new()?;
    let listener = Listener::bind(&reactor, address)?;
    reactor.block_on(serve(reactor.clone(), listener, command))?
}
