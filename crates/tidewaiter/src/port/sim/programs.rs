//! Ready-made programs, each of which behaves as some troublesome child process does.

use std::time::Duration;

use super::program::{Event, Output, Process, Program, killed_by};
use crate::process::Signal;

/// The signal for writing to what nobody reads.
const BROKEN_PIPE: Signal = Signal::Number(13);

/// How much is written at once.
const PIECE_BYTES: usize = 4096;

/// Copies standard input to standard output, and exits with 0 at the end of file. If standard output has no
/// reader left, SIGPIPE ends it.
#[derive(Clone, Copy, Debug)]
pub struct Cat;

impl Program for Cat {
    fn event(&mut self, _event: Event, process: &mut Process<'_>) {
        loop {
            let room = process.room(Output::Stdout).min(PIECE_BYTES);
            let bytes = process.read(room);
            if bytes.is_empty() {
                break;
            }
            if process.write(Output::Stdout, &bytes).is_err() {
                return process.end(killed_by(BROKEN_PIPE));
            }
        }
        if process.input_ended() {
            process.exit(0);
        }
    }
}

/// Exits at once with this code: `true` is `Exit(0)`, `false` is `Exit(1)`.
#[derive(Clone, Copy, Debug)]
pub struct Exit(pub u32);

impl Program for Exit {
    fn event(&mut self, _event: Event, process: &mut Process<'_>) {
        process.exit(self.0);
    }
}

/// Sleeps for a time of the simulated clock, then exits with 0. Reads and writes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Sleep(pub Duration);

impl Program for Sleep {
    fn event(&mut self, event: Event, process: &mut Process<'_>) {
        match event {
            Event::Started => process.set_timer(self.0),
            Event::Timer => process.exit(0),
            _ => {}
        }
    }
}

/// Writes a number of bytes to an output, as fast as they are taken, then exits with 0. The byte at place
/// `n` is `n % 251`. If the output has no reader left, SIGPIPE ends it.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    output: Output,
    written: usize,
    bytes: usize,
}

impl Flood {
    /// Makes a program that writes `bytes` bytes to `output`.
    #[must_use]
    pub fn new(output: Output, bytes: usize) -> Flood {
        Flood {
            output,
            written: 0,
            bytes,
        }
    }

    /// The byte at place `n` of the flood.
    #[must_use]
    pub fn byte_at(n: usize) -> u8 {
        (n % 251).to_le_bytes()[0]
    }
}

impl Program for Flood {
    fn event(&mut self, _event: Event, process: &mut Process<'_>) {
        while self.written < self.bytes {
            let end = self.bytes.min(self.written + PIECE_BYTES);
            let piece: Vec<u8> = (self.written..end).map(Flood::byte_at).collect();
            match process.write(self.output, &piece) {
                Ok(count) => self.written += count,
                Err(_) => return process.end(killed_by(BROKEN_PIPE)),
            }
            if self.written < end {
                // Full: it goes on when there is room.
                return;
            }
        }
        process.exit(0);
    }
}

/// Closes its standard output and standard error at once, reads its standard input, and exits with 0 at the
/// end of file.
#[derive(Clone, Copy, Debug)]
pub struct Mute;

impl Program for Mute {
    fn event(&mut self, event: Event, process: &mut Process<'_>) {
        if event == Event::Started {
            process.close_output(Output::Stdout);
            process.close_output(Output::Stderr);
        }
        process.read(usize::MAX);
        if process.input_ended() {
            process.exit(0);
        }
    }
}

/// Reads and writes nothing, and lives until a signal ends it.
#[derive(Clone, Copy, Debug)]
pub struct Idle;

impl Program for Idle {
    fn event(&mut self, _event: Event, _process: &mut Process<'_>) {}
}

/// As [`Idle`], but ignores every signal except [`Signal::Kill`].
#[derive(Clone, Copy, Debug)]
pub struct Stubborn;

impl Program for Stubborn {
    fn event(&mut self, _event: Event, _process: &mut Process<'_>) {}

    fn signal(&mut self, _signal: Signal, _process: &mut Process<'_>) {}
}

/// Exits with 0 at once, but leaves a process behind that holds the pipes open for this long.
#[derive(Clone, Copy, Debug)]
pub struct LeaveBehind(pub Duration);

impl Program for LeaveBehind {
    fn event(&mut self, _event: Event, process: &mut Process<'_>) {
        process.fork(Sleep(self.0));
        process.exit(0);
    }
}
