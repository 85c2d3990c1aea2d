//! Ready-made programs, each with a habit that makes child processes difficult.

use std::time::Duration;

use super::world::event::Event;
use super::world::program::{Output, Process, Program, killed_by};
use crate::process::Signal;

/// The signal for writing to a pipe without a reader.
const BROKEN_PIPE: Signal = Signal::Number(13);

/// The size of each write.
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
///
/// ```
/// use std::time::Duration;
/// use tidewaiter::port::sim::{Sim, programs};
///
/// let sim = Sim::new(7);
/// sim.program("sleep", || programs::Sleep(Duration::from_secs(3600)));
/// ```
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

/// Writes a number of bytes to an output, as fast as they are taken, then exits with 0. The byte at
/// position `n` is `n % 251`. If the output has no reader left, SIGPIPE ends it.
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

    /// The byte at position `n` of the flood.
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
                // The output is full: continue when there is room.
                return;
            }
        }
        process.exit(0);
    }
}

/// Closes its standard output and standard error at once, reads its standard input, and exits with
/// 0 at the end of file.
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

/// Ignores every signal except [`Signal::Kill`]; otherwise like [`Idle`].
#[derive(Clone, Copy, Debug)]
pub struct Stubborn;

impl Program for Stubborn {
    fn event(&mut self, _event: Event, _process: &mut Process<'_>) {}

    fn signal(&mut self, _signal: Signal, _process: &mut Process<'_>) {}
}

/// Exits with 0 at once, but leaves behind a process that holds the pipes open for this long.
#[derive(Clone, Copy, Debug)]
pub struct LeaveBehind(pub Duration);

impl Program for LeaveBehind {
    fn event(&mut self, _event: Event, process: &mut Process<'_>) {
        process.fork(Sleep(self.0));
        process.exit(0);
    }
}
