//! A server of Redis's protocol with some of its commands: `cargo run -p tidewaiter --example resp -- 127.0.0.1:6379`, then
//! `redis-cli`; Ctrl-C ends it.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tidewaiter::Reactor;
use tidewaiter::bytes::{Bytes, BytesMut};
use tidewaiter::frames::{Decoder, FrameError, FramedRead};
use tidewaiter::io::{Listener, Stream};

/// The most words of a command, and the most bytes of a word.
const NUMBER_MAX: usize = 1 << 20;

/// Commands: an array of words, each after its length.
struct Commands;

fn malformed(problem: &'static str) -> FrameError {
    let (frame, problem) = ("command", problem.into());
    FrameError::Malformed { frame, problem }
}

/// Reads a number after `sign` on the line that begins at `at`, and moves `at` behind it; `None` if its end is missing.
fn number(buffer: &[u8], at: &mut usize, sign: char) -> Result<Option<usize>, FrameError> {
    let rest = &buffer[*at..];
    let Some(length) = rest.iter().take(32).position(|byte| *byte == b'\n') else {
        return (rest.len() <= 32)
            .then_some(None)
            .ok_or(malformed("no number"));
    };
    let line = std::str::from_utf8(&rest[..length]).unwrap_or_default();
    let number = line.trim_end().strip_prefix(sign).map(str::parse);
    *at += length + 1;
    match number {
        Some(Ok(number)) if number <= NUMBER_MAX => Ok(Some(number)),
        _ => Err(malformed("no number, or too large a one")),
    }
}

impl Decoder for Commands {
    type Item = Vec<Bytes>;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, FrameError> {
        let mut at = 0;
        let Some(count) = number(buffer, &mut at, '*')? else {
            return Ok(None);
        };
        let mut words = Vec::new();
        for _ in 0..count {
            match number(buffer, &mut at, '$')? {
                Some(length) if at + length + 2 <= buffer.len() => words.push(at..at + length),
                _ => return Ok(None),
            }
            at = words[words.len() - 1].end + 2;
        }
        let command = buffer.split_to(at).freeze();
        let words = words.into_iter().map(|word| command.slice(word));
        Ok(Some(words.collect()))
    }
}

type Values = Rc<RefCell<HashMap<Bytes, Bytes>>>;

fn bulk(value: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", value.len()).as_bytes(), value, b"\r\n"].concat()
}

/// The reply to a command.
fn reply(values: &mut HashMap<Bytes, Bytes>, words: &[Bytes]) -> Vec<u8> {
    let name = words.first().map(|name| name.to_ascii_uppercase());
    match (
        name.as_deref().unwrap_or_default(),
        &words[1.min(words.len())..],
    ) {
        (b"PING", []) => b"+PONG\r\n".to_vec(),
        (b"ECHO", [word]) => bulk(word),
        (b"GET", [key]) => values
            .get(key)
            .map_or(b"$-1\r\n".to_vec(), |value| bulk(value)),
        (b"SET", [key, value]) => {
            // Copies, because a part would keep the memory of all that was received with it.
            values.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
            b"+OK\r\n".to_vec()
        }
        _ => b"-ERR unknown command, or wrong number of words\r\n".to_vec(),
    }
}

async fn answer(stream: Stream, values: Values) -> Result<(), FrameError> {
    let (reader, mut writer) = stream.split();
    let mut commands = FramedRead::new(reader, Commands);
    while let Some(words) = commands.next().await {
        let reply = reply(&mut values.borrow_mut(), &words?);
        writer.write_bytes(reply).await?;
    }
    Ok(())
}

/// Serves connections until the reactor stops.
pub(crate) async fn serve(reactor: Reactor, mut listener: Listener) -> std::io::Result<()> {
    let values = Values::default();
    loop {
        let (stream, _peer) = listener.accept().await?;
        reactor.spawn(answer(stream, Rc::clone(&values)));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1);
    let reactor = Reactor::new()?;
    let listener = Listener::bind(&reactor, address.as_deref().unwrap_or("127.0.0.1:6379"))?;
    println!("listening on {}", listener.local_addr());
    reactor.spawn(serve(reactor.clone(), listener));
    reactor.run()?;
    Ok(())
}
