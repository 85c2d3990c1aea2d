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
/// The argument that makes a peer run as one of the children that run at the same time, and write.
pub const BRIEF_WRITER: &str = "write-briefly";
/// The number of these children, and what each of them writes.
pub const OUTPUTS: usize = 500;
const OUTPUT_BYTES: usize = 256 << 10;
/// Number of children that are not measured.
const WARM_UP: usize = CHILDREN / 16;
/// The argument that makes a peer run as a child that echoes its input.
pub const ECHOER: &str = "echo-stdin";
/// The argument that makes a peer run as a child that drops its input, and fails unless that is all of the writing child's
/// output.
pub const DRAIN: &str = "drain-stdin";
/// The name of the workload with children that echo, before their number.
pub(crate) const CHILDREN_NAME: &str = "children-";
/// The line that each child receives and sends back.
pub const LINE: &[u8; 64] = b"a line of 64 bytes, sent to a child, and sent back by it: again\n";
/// Number of lines of each child that are not measured, because a child is still starting at the first one.
const WARM_UP_LINES: usize = 5;
/// How long the children are silent at the end.
const SILENCE: Duration = Duration::from_secs(1);
/// The name of the workload that spawns from a large process.
pub(crate) const SPAWN_LARGE: &str = "spawn-large";
/// The number of children of the large process: few, because a `fork` of it takes long.
const LARGE_CHILDREN: usize = CHILDREN / 4;
/// The most memory of the large process, which takes less on a small machine.
const LARGE_BYTES_MAX: usize = 4 << 30;

/// Counts spawned and reaped children, and decides when to spawn another.
#[derive(Debug)]
pub struct Count {
    spawned: usize,
    reaped: usize,
    watch: Watch,
    large: Option<Large>,
}

/// The part of the workload in which this process has much memory. It follows the usual one.
#[derive(Debug, Default)]
struct Large {
    memory: Vec<u8>,
    /// CPU and wall-clock time per child while the process was small, in microseconds.
    small: Option<(f64, f64)>,
}

impl Default for Count {
    fn default() -> Count {
        let large = std::env::args().nth(1).as_deref() == Some(SPAWN_LARGE);
        Count {
            spawned: 0,
            reaped: 0,
            watch: Watch::new(),
            large: large.then(Large::default),
        }
    }
}

impl Count {
    /// Whether to spawn another child. Counts it if so.
    pub fn takes_another(&mut self) -> bool {
        let more = self.spawned < self.children();
        self.spawned += usize::from(more);
        more
    }

    fn children(&self) -> usize {
        match self.large {
            None => WARM_UP + CHILDREN,
            Some(_) => WARM_UP + CHILDREN + LARGE_CHILDREN,
        }
    }

    /// Counts a reaped child. Returns whether it was the last one; then it also reports the result.
    pub fn reaped(&mut self) -> bool {
        self.reaped += 1;
        if self.reaped == WARM_UP {
            tell::begin();
            self.watch = Watch::new();
        }
        let last = self.reaped == self.children();
        let (cpu, wall) = (self.watch.cpu_us(), self.watch.wall_us());
        let measured = match &self.large {
            Some(large) if large.small.is_some() => LARGE_CHILDREN,
            _ => CHILDREN,
        } as f64;
        let (cpu, wall) = (cpu / measured, wall / measured);
        match &mut self.large {
            Some(large) if last => large.tell(cpu, wall),
            Some(large) if self.reaped == WARM_UP + CHILDREN => {
                large.small = Some((cpu, wall));
                large.grow();
                self.watch = Watch::new();
            }
            None if last => tell::result(&[
                ("value", cpu),
                ("rate", 1e6 / wall),
                ("operations", CHILDREN as f64),
            ]),
            _ => {}
        }
        last
    }
}

impl Large {
    /// Touches every page of the memory.
    fn grow(&mut self) {
        let bytes = system::available_bytes().map_or(0, |available| available / 4);
        self.memory = vec![1; bytes.min(LARGE_BYTES_MAX)];
    }

    fn tell(&self, cpu: f64, wall: f64) {
        let (small_cpu, small_wall) = self.small.expect("the small part came first");
        tell::result(&[
            ("value", cpu / small_cpu),
            ("time_by_small", wall / small_wall),
            ("cpu_us", cpu),
            ("gib", self.memory.len() as f64 / f64::from(1 << 30)),
        ]);
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

/// Measures a pipeline of three children: this program as [`WRITER`], [`ECHOER`] and [`DRAIN`].
#[derive(Debug)]
pub struct Pipeline {
    watch: Watch,
}

impl Pipeline {
    /// Begins; to be called before the first child is started.
    #[must_use]
    pub fn begin() -> Pipeline {
        tell::begin();
        Pipeline {
            watch: Watch::new(),
        }
    }

    /// Reports the result, when the last child has ended.
    ///
    /// # Panics
    ///
    /// If it has failed, as it does unless it has received everything.
    pub fn end(&self, success: bool) {
        assert!(success, "all bytes come through");
        let rate = WRITTEN_BYTES as f64 / f64::from(1 << 20) / self.watch.wall_us() * 1e6;
        tell::result(&[
            ("value", rate),
            ("rate", rate),
            ("own_cpu_ms", self.watch.cpu_us() / 1e3),
        ]);
    }
}

/// Measures children that run at the same time, from the start of the first to the end of the last.
#[derive(Debug)]
pub struct Outputs {
    watch: Watch,
    threads: Option<f64>,
}

impl Outputs {
    /// Begins; to be called before the first child is started.
    #[must_use]
    pub fn begin() -> Outputs {
        tell::begin();
        Outputs {
            watch: Watch::new(),
            threads: None,
        }
    }

    /// Checks the output of a child that has ended.
    ///
    /// # Panics
    ///
    /// If it is not all there.
    pub fn ended(&mut self, bytes: usize) {
        assert_eq!(bytes, OUTPUT_BYTES, "all of a child's output is received");
        self.threads = self.threads.or_else(system::threads);
    }

    /// Reports the result, when all children have ended.
    pub fn end(&self) {
        let mut figures = vec![
            ("value", self.watch.cpu_us() / OUTPUTS as f64),
            ("rate", OUTPUTS as f64 / self.watch.wall_us() * 1e6),
            ("operations", OUTPUTS as f64),
        ];
        figures.extend(self.threads.map(|threads| ("threads", threads - 1.0)));
        tell::result(&figures);
    }
}

/// Counts the lines that children send back, and decides when to send another.
///
/// Each child has one line in flight. Children have numbers below [`echoers`]. After the last line, the children live on in
/// silence for a while. Then this reports the result and ends the process, which also ends the children.
#[derive(Debug)]
pub struct Lines {
    children: usize,
    begun: usize,
    ended: usize,
    /// The time at which each child's line was sent.
    sent: Vec<Instant>,
    /// The number of bytes of each child's line that are not back yet.
    missing: Vec<usize>,
    latencies: Vec<Duration>,
    watch: Watch,
    /// The memory of this process without children, then its growth for each child.
    bytes: f64,
}

impl Default for Lines {
    fn default() -> Lines {
        let children = echoers();
        Lines {
            children,
            begun: 0,
            ended: 0,
            sent: vec![Instant::now(); children],
            missing: vec![0; children],
            latencies: Vec::with_capacity(LINES),
            watch: Watch::new(),
            bytes: system::bytes(),
        }
    }
}

impl Lines {
    /// Notes that the caller sends the first line to a child.
    pub fn begin(&mut self, child: usize) {
        self.send(child, Instant::now());
    }

    /// Handles a number of bytes from a child. Returns whether to send it another line.
    ///
    /// # Panics
    ///
    /// If the child sends more bytes than it has received.
    pub fn received(&mut self, child: usize, bytes: usize) -> bool {
        let missing = self.missing[child].checked_sub(bytes);
        self.missing[child] = missing.expect("a child sends back only what it has received");
        if self.missing[child] > 0 {
            return false;
        }
        let now = Instant::now();
        let warm_up = WARM_UP_LINES * self.children;
        self.ended += 1;
        if self.ended > warm_up {
            self.latencies.push(now - self.sent[child]);
        } else if self.ended == warm_up {
            self.bytes = (system::bytes() - self.bytes) / self.children as f64;
            tell::begin();
            self.watch = Watch::new();
        }
        let more = self.begun < warm_up + LINES;
        if more {
            self.send(child, now);
        } else if self.ended == self.begun {
            self.tell();
        }
        more
    }

    fn send(&mut self, child: usize, now: Instant) {
        self.begun += 1;
        self.sent[child] = now;
        self.missing[child] = LINE.len();
    }

    /// Measures the silence on another thread, while the caller's loop waits; then reports the result.
    #[expect(
        clippy::disallowed_methods,
        reason = "ends the loop of any runtime, and the children, whose input ends"
    )]
    fn tell(&mut self) {
        tell::end();
        let lines = LINES as f64;
        let mut figures = vec![
            ("value", self.watch.cpu_us() / lines),
            ("rate", lines / self.watch.wall_us() * 1e6),
            ("operations", lines),
            ("p50_us", quantile_us(&mut self.latencies, 0.5)),
            ("p99_us", quantile_us(&mut self.latencies, 0.99)),
            ("p999_us", quantile_us(&mut self.latencies, 0.999)),
            ("bytes_per_child", self.bytes),
        ];
        std::thread::spawn(move || {
            // The loop first goes to sleep.
            std::thread::sleep(SILENCE / 10);
            let watch = Watch::new();
            std::thread::sleep(SILENCE);
            figures.push(("idle_us_per_s", watch.cpu_us() / SILENCE.as_secs_f64()));
            // Without this thread and the main one.
            figures.extend(system::threads().map(|threads| ("threads", threads - 2.0)));
            tell::result(&figures);
            std::process::exit(0);
        });
    }
}

/// The number of children that echo at the same time, from the command line.
///
/// # Panics
///
/// If the command line has none.
#[must_use]
pub fn echoers() -> usize {
    let name = std::env::args().nth(1).unwrap_or_default();
    let number = name.strip_prefix(CHILDREN_NAME);
    let number = number.and_then(|number| number.parse().ok());
    number.expect("the workload names the number of children")
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

/// Runs as the child that drops its input.
#[expect(
    clippy::disallowed_methods,
    reason = "a child has nothing to put in order"
)]
pub(crate) fn drain_and_exit() -> ! {
    system::move_to_second_core();
    let dropped = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
    let complete = dropped.is_ok_and(|bytes| bytes == WRITTEN_BYTES as u64);
    std::process::exit(i32::from(!complete))
}

/// Runs as the writing child.
pub(crate) fn write_and_exit() -> ! {
    write(WRITTEN_BYTES)
}

/// Runs as one of the children that write at the same time.
pub(crate) fn write_briefly_and_exit() -> ! {
    write(OUTPUT_BYTES)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a child has nothing to put in order"
)]
fn write(bytes: usize) -> ! {
    system::move_to_second_core();
    let piece = [b'x'; PIECE_BYTES];
    let mut output = std::io::stdout().lock();
    let mut pieces = 0..bytes / PIECE_BYTES;
    let written = pieces.try_for_each(|_| output.write_all(&piece));
    std::process::exit(i32::from(written.is_err()))
}
