//! Children: short ones that are spawned and reaped, one that writes, and many that echo lines.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::net::{BUFFER_BYTES, PIECE_BYTES};
use crate::system::{self, CHILDREN, LINES, WRITTEN_BYTES};
use crate::tell;
use crate::watch::{Watch, quantile_us};

/// The argument that makes a peer a child which writes.
pub const WRITER: &str = "write-to-stdout";
/// Children before the measured ones.
const WARM_UP: usize = CHILDREN / 16;
/// The argument that makes a peer a child which sends back what it reads.
pub const ECHOER: &str = "echo-stdin";
/// So many children echo at a time.
pub const ECHOERS: usize = system::ECHOERS;
/// What each child is sent, and sends back.
pub const LINE: &[u8; 64] = b"a line of 64 bytes, sent to a child, and sent back by it: again\n";
/// Lines before the measured ones: a few for each child, which is still starting with the first.
const WARM_UP_LINES: usize = 5 * ECHOERS;

/// Counts children that come and go, and says when to spawn another.
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
    /// Whether there is another child to be spawned.
    pub fn takes_another(&mut self) -> bool {
        let more = self.spawned < WARM_UP + CHILDREN;
        self.spawned += usize::from(more);
        more
    }

    /// A child is reaped. Returns whether it was the last, and tells the result then.
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

/// Counts what the writing child writes.
#[derive(Debug, Default)]
pub struct Received {
    bytes: usize,
    watch: Option<Watch>,
}

impl Received {
    /// So much came.
    pub fn add(&mut self, bytes: usize) {
        self.watch.get_or_insert_with(|| {
            tell::begin();
            Watch::new()
        });
        self.bytes += bytes;
    }

    /// The output has ended.
    ///
    /// # Panics
    ///
    /// When not all that was written has come.
    pub fn end(&self) {
        assert_eq!(self.bytes, WRITTEN_BYTES, "all of the child's output comes");
        let watch = self.watch.as_ref().expect("something came");
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

/// Counts the lines that children send back, and says when to send another.
///
/// Each child has one line under way. A child is told apart by a number below [`ECHOERS`].
#[derive(Debug)]
pub struct Lines {
    begun: usize,
    ended: usize,
    /// When the line of each child was sent.
    sent: Vec<Instant>,
    /// How much of it is still to come.
    missing: Vec<usize>,
    latencies: Vec<Duration>,
    watch: Watch,
}

/// What follows from what a child sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The rest of the line is still to come.
    Await,
    /// The child is to be sent another line.
    Send,
    /// The child has no more to do: its standard input is to be closed.
    End,
    /// The same; it was the last of all children, and the result is told.
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
    /// The first line of a child is about to be sent.
    pub fn begin(&mut self, child: usize) {
        self.send(child, Instant::now());
    }

    /// A child sent so many bytes.
    ///
    /// # Panics
    ///
    /// When they are more than it was sent.
    pub fn received(&mut self, child: usize, bytes: usize) -> Answer {
        let missing = self.missing[child].checked_sub(bytes);
        self.missing[child] = missing.expect("a child sends back what it was sent, and no more");
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

/// The shortest program, by its path: nobody has to look for it.
#[must_use]
pub fn brief() -> PathBuf {
    system::brief()
}

/// The writing child and the echoing one are this program again, with [`WRITER`] or [`ECHOER`] as its
/// argument.
///
/// # Panics
///
/// When the OS does not tell where this program is.
#[must_use]
pub fn program() -> PathBuf {
    std::env::current_exe().expect("the OS knows where a program is")
}

/// What the echoing child does, until its standard input ends.
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

/// What the writing child does.
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
