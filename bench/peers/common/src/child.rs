//! Workloads with children: short ones that are spawned and reaped, one that writes, and many that echo lines.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::net::{BUFFER_BYTES, PIECE_BYTES};
use crate::system::{self, CHILDREN, LINES, WRITTEN_BYTES};
use crate::tell;
use crate::watch::{Watch, quantile_us};

/// The argument that makes a peer run as the writing child.
pub const WRITER: &str = "write-to-stdout";
/// Number of children that are not measured.
const WARM_UP: usize = CHILDREN / 16;
/// The argument that makes a peer run as a child that echoes its input.
pub const ECHOER: &str = "echo-stdin";
/// Number of children that echo at the same time.
pub const ECHOERS: usize = system::ECHOERS;
/// The line that each child receives and sends back.
pub const LINE: &[u8; 64] = b"a line of 64 bytes, sent to a child, and sent back by it: again\n";
/// Number of lines that are not measured: a few for each child, because a child is still starting at the first one.
const WARM_UP_LINES: usize = 5 * ECHOERS;

/// Counts spawned and reaped children, and decides when to spawn another.
#[derive(Debug)]
pub struct Count {
    spawned: usize,
    reaped: usize,
    watch: Watch,
}

impl Default for Count {
    fn default() -> Count {
        Count {
            spawned: 0,
            reaped: 0,
            watch: Watch::new(),
        }
    }
}

impl Count {
    /// Whether to spawn another child. Counts it if so.
    pub fn takes_another(&mut self) -> bool {
        let more = self.spawned < WARM_UP + CHILDREN;
        self.spawned += usize::from(more);
        more
    }

    /// Counts a reaped child. Returns whether it was the last one; then it also reports the result.
    pub fn reaped(&mut self) -> bool {
        self.reaped += 1;
        if self.reaped == WARM_UP {
            tell::begin();
            self.watch = Watch::new();
        }
        let last = self.reaped == WARM_UP + CHILDREN;
        if last {
            let children = CHILDREN as f64;
            tell::result(&[
                ("value", self.watch.cpu_us() / children),
                ("rate", children / self.watch.wall_us() * 1e6),
                ("operations", children),
            ]);
        }
        last
    }
}

/// Counts the output of the writing child.
#[derive(Debug, Default)]
pub struct Received {
    bytes: usize,
    watch: Option<Watch>,
}

impl Received {
    /// Counts received bytes.
    pub fn add(&mut self, bytes: usize) {
        self.watch.get_or_insert_with(|| {
            tell::begin();
            Watch::new()
        });
        self.bytes += bytes;
    }

    /// Reports the result, when the output has ended.
    ///
    /// # Panics
    ///
    /// If not all of the child's output was received.
    pub fn end(&self) {
        assert_eq!(
            self.bytes, WRITTEN_BYTES,
            "all of the child's output is received"
        );
        let watch = self.watch.as_ref().expect("data was received");
        let gib = self.bytes as f64 / f64::from(1 << 30);
        let rate = gib * 1024.0 / watch.wall_us() * 1e6;
        tell::result(&[
            ("value", rate),
            ("rate", rate),
            ("operations", gib * 1024.0),
            ("cpu_s_per_gib", watch.cpu_us() / 1e6 / gib),
        ]);
    }
}

/// Counts the lines that children send back, and decides when to send another.
///
/// Each child has one line in flight. Children have numbers below [`ECHOERS`].
#[derive(Debug)]
pub struct Lines {
    begun: usize,
    ended: usize,
    /// The time at which each child's line was sent.
    sent: Vec<Instant>,
    /// The number of bytes of each child's line that are not back yet.
    missing: Vec<usize>,
    latencies: Vec<Duration>,
    watch: Watch,
}

/// The reaction to data from a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Wait for the rest of the line.
    Await,
    /// Send another line to the child.
    Send,
    /// Close the child's standard input.
    End,
    /// Stop: this was the last line of all children, and the result is reported.
    Over,
}

impl Default for Lines {
    fn default() -> Lines {
        Lines {
            begun: 0,
            ended: 0,
            sent: vec![Instant::now(); ECHOERS],
            missing: vec![0; ECHOERS],
            latencies: Vec::with_capacity(LINES),
            watch: Watch::new(),
        }
    }
}

impl Lines {
    /// Notes that the caller sends the first line to a child.
    pub fn begin(&mut self, child: usize) {
        self.send(child, Instant::now());
    }

    /// Handles a number of bytes from a child.
    ///
    /// # Panics
    ///
    /// If the child sends more bytes than it has received.
    pub fn received(&mut self, child: usize, bytes: usize) -> Answer {
        let missing = self.missing[child].checked_sub(bytes);
        self.missing[child] = missing.expect("a child sends back only what it has received");
        if self.missing[child] > 0 {
            return Answer::Await;
        }
        let now = Instant::now();
        self.ended += 1;
        if self.ended > WARM_UP_LINES {
            self.latencies.push(now - self.sent[child]);
        } else if self.ended == WARM_UP_LINES {
            tell::begin();
            self.watch = Watch::new();
        }
        if self.begun < WARM_UP_LINES + LINES {
            self.send(child, now);
            Answer::Send
        } else if self.ended < self.begun {
            Answer::End
        } else {
            self.tell();
            Answer::Over
        }
    }

    fn send(&mut self, child: usize, now: Instant) {
        self.begun += 1;
        self.sent[child] = now;
        self.missing[child] = LINE.len();
    }

    fn tell(&mut self) {
        let lines = LINES as f64;
        let cpu_us = self.watch.cpu_us() / lines;
        let rate = lines / self.watch.wall_us() * 1e6;
        tell::result(&[
            ("value", cpu_us),
            ("rate", rate),
            ("operations", lines),
            ("p50_us", quantile_us(&mut self.latencies, 0.5)),
            ("p99_us", quantile_us(&mut self.latencies, 0.99)),
            ("p999_us", quantile_us(&mut self.latencies, 0.999)),
        ]);
    }
}

/// The full path of a program that exits at once.
#[must_use]
pub fn brief() -> PathBuf {
    system::brief()
}

/// The path of this program. With [`WRITER`] or [`ECHOER`] as its argument, it runs as such a child.
///
/// # Panics
///
/// If the OS does not report the path of this program.
#[must_use]
pub fn program() -> PathBuf {
    std::env::current_exe().expect("the OS knows the path of this program")
}

/// Runs as the echoing child, until standard input ends.
#[expect(
    clippy::disallowed_methods,
    reason = "a child has nothing to put in order"
)]
pub(crate) fn echo_and_exit() -> ! {
    system::move_to_second_core();
    let mut buffer = [0; BUFFER_BYTES];
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut echo = || -> std::io::Result<usize> {
        let bytes = input.read(&mut buffer)?;
        output.write_all(&buffer[..bytes])?;
        output.flush()?;
        Ok(bytes)
    };
    loop {
        match echo() {
            Ok(0) => std::process::exit(0),
            Ok(_) => {}
            Err(_) => std::process::exit(1),
        }
    }
}

/// Runs as the writing child.
#[expect(
    clippy::disallowed_methods,
    reason = "a child has nothing to put in order"
)]
pub(crate) fn write_and_exit() -> ! {
    system::move_to_second_core();
    let piece = [b'x'; PIECE_BYTES];
    let mut output = std::io::stdout().lock();
    let mut pieces = 0..WRITTEN_BYTES / PIECE_BYTES;
    let written = pieces.try_for_each(|_| output.write_all(&piece));
    std::process::exit(i32::from(written.is_err()))
}
