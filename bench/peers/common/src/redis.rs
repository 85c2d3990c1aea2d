//! A server with some of Redis' commands, except for its input and output.

use std::collections::HashMap;
use std::io::{self, Write};

/// The most words of a command, and the most bytes of a word.
const WORDS_MAX: usize = 64;
const BYTES_MAX: usize = 1 << 20;

/// All keys with their values.
#[derive(Debug, Default)]
pub struct Store {
    values: HashMap<Box<[u8]>, Vec<u8>>,
}

impl Store {
    /// Answers all commands that `input` has in full. Returns how many of its bytes these were.
    ///
    /// # Errors
    ///
    /// The input is not a list of commands.
    pub fn answer(&mut self, input: &[u8], output: &mut Vec<u8>) -> io::Result<usize> {
        let mut words = Vec::with_capacity(4);
        let mut rest = input;
        while let Some(left) = command(rest, &mut words)? {
            self.run(&words, output)?;
            rest = left;
            words.clear();
        }
        Ok(input.len() - rest.len())
    }

    fn run(&mut self, words: &[&[u8]], output: &mut Vec<u8>) -> io::Result<()> {
        let (&name, arguments) = words.split_first().ok_or_else(malformed)?;
        match arguments {
            [] if name.eq_ignore_ascii_case(b"ping") => output.extend_from_slice(b"+PONG\r\n"),
            [key] if name.eq_ignore_ascii_case(b"get") => match self.values.get(*key) {
                Some(value) => bulk(value, output)?,
                None => output.extend_from_slice(b"$-1\r\n"),
            },
            [key, value] if name.eq_ignore_ascii_case(b"set") => {
                let place = self.place(key);
                place.clear();
                place.extend_from_slice(value);
                output.extend_from_slice(b"+OK\r\n");
            }
            [key] if name.eq_ignore_ascii_case(b"incr") => match self.increment(key) {
                Some(number) => write!(output, ":{number}\r\n")?,
                None => output.extend_from_slice(b"-ERR value is not an integer\r\n"),
            },
            _ => output.extend_from_slice(b"-ERR unknown command\r\n"),
        }
        Ok(())
    }

    fn place(&mut self, key: &[u8]) -> &mut Vec<u8> {
        if !self.values.contains_key(key) {
            self.values.insert(key.into(), Vec::new());
        }
        self.values.get_mut(key).expect("it is there")
    }

    fn increment(&mut self, key: &[u8]) -> Option<i64> {
        let value = self.place(key);
        let number = match value.as_slice() {
            [] => 1,
            digits => std::str::from_utf8(digits).ok()?.parse::<i64>().ok()? + 1,
        };
        *value = number.to_string().into_bytes();
        Some(number)
    }
}

/// Splits the first command off, into its words. Returns the rest, or `None` if the command is not all there yet.
fn command<'a>(input: &'a [u8], words: &mut Vec<&'a [u8]>) -> io::Result<Option<&'a [u8]>> {
    let Some((count, mut rest)) = number(input, b'*', WORDS_MAX)? else {
        return Ok(None);
    };
    for _ in 0..count {
        let Some((length, left)) = number(rest, b'$', BYTES_MAX)? else {
            return Ok(None);
        };
        let Some((word, left)) = left.split_at_checked(length) else {
            return Ok(None);
        };
        let Some((end, left)) = left.split_at_checked(2) else {
            return Ok(None);
        };
        if end != b"\r\n" {
            return Err(malformed());
        }
        words.push(word);
        rest = left;
    }
    Ok(Some(rest))
}

/// Splits a number off, which follows `kind` and is at most `max`.
fn number(input: &[u8], kind: u8, max: usize) -> io::Result<Option<(usize, &[u8])>> {
    let Some((&first, digits)) = input.split_first() else {
        return Ok(None);
    };
    if first != kind {
        return Err(malformed());
    }
    let mut value = 0;
    for (at, &digit) in digits.iter().enumerate() {
        match digit {
            b'0'..=b'9' if value <= max => value = value * 10 + usize::from(digit - b'0'),
            b'\r' if value <= max => return Ok(digits.get(at + 2..).map(|rest| (value, rest))),
            _ => return Err(malformed()),
        }
    }
    Ok(None)
}

fn bulk(value: &[u8], output: &mut Vec<u8>) -> io::Result<()> {
    write!(output, "${}\r\n", value.len())?;
    output.extend_from_slice(value);
    output.extend_from_slice(b"\r\n");
    Ok(())
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the input is no command of Redis",
    )
}
