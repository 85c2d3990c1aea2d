//! Echoes on named pipes of Windows. The clients are one process: it sends a message into each pipe, awaits all echoes, and
//! repeats that.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::watch::Watch;
use crate::{system, tell};

/// The name of the workload, before the number of pipes.
pub(crate) const ECHO_NAME: &str = "pipe-echo-";
/// The argument that makes a peer run as the clients.
pub(crate) const CLIENT: &str = "pipe-client";
/// Size of a message.
pub const MESSAGE_BYTES: usize = 64;
/// Number of messages that are measured, and of those before.
const MESSAGES: usize = 10_000;
const WARM_UP: usize = MESSAGES / 10;

/// The name of the pipe, which all its instances share.
#[must_use]
pub fn name() -> String {
    format!(r"\\.\pipe\bench-{}", std::process::id())
}

/// Starts the clients, when the first instance of the pipe exists.
///
/// # Panics
///
/// If the OS does not start them.
#[expect(
    clippy::zombie_processes,
    reason = "the clients outlive this process, by a little"
)]
pub fn start_clients() {
    let program = std::env::current_exe().expect("the OS knows the path of this program");
    let workload = std::env::args().nth(1).unwrap_or_default();
    let pipes = workload.strip_prefix(ECHO_NAME).unwrap_or("1");
    let clients = Command::new(program)
        .args([CLIENT, &name(), pipes])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    clients.expect("this program can be started once more");
}

/// Counts the messages that a server echoes.
#[derive(Debug, Default)]
pub struct Echoes {
    bytes: usize,
    watch: Option<Watch>,
}

impl Echoes {
    /// Counts received bytes. After the last message, this reports the result and ends the process.
    #[expect(
        clippy::disallowed_methods,
        reason = "ends the loop of any runtime, and the clients, whose pipes end"
    )]
    pub fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.watch.is_none() && self.bytes >= WARM_UP * MESSAGE_BYTES {
            tell::begin();
            self.watch = Some(Watch::new());
        }
        if self.bytes < (WARM_UP + MESSAGES) * MESSAGE_BYTES {
            return;
        }
        let watch = self.watch.expect("it was set before");
        let messages = MESSAGES as f64;
        tell::result(&[
            ("value", watch.cpu_us() / messages),
            ("rate", messages / watch.wall_us() * 1e6),
            ("operations", messages),
        ]);
        std::process::exit(0);
    }
}

/// Runs as the clients, until the server ends the pipes.
#[expect(
    clippy::disallowed_methods,
    reason = "a child has nothing to put in order"
)]
pub(crate) fn exchange_and_exit() -> ! {
    system::move_to_second_core();
    let [name, pipes] = [2, 3].map(|at| std::env::args().nth(at).unwrap_or_default());
    let pipes = pipes.parse().unwrap_or(1);
    let mut pipes: Vec<File> = (0..pipes).map(|_| open(&name)).collect();
    let mut message = [b'x'; MESSAGE_BYTES];
    let mut exchange = || -> std::io::Result<()> {
        for pipe in &mut pipes {
            pipe.write_all(&message)?;
        }
        for pipe in &mut pipes {
            pipe.read_exact(&mut message)?;
        }
        Ok(())
    };
    while exchange().is_ok() {}
    std::process::exit(0)
}

/// Opens an instance of the pipe, as soon as one is free.
#[expect(
    clippy::disallowed_methods,
    reason = "the standard library cannot wait for an instance, and this is before the measured time"
)]
fn open(name: &str) -> File {
    loop {
        match OpenOptions::new().read(true).write(true).open(name) {
            Ok(pipe) => return pipe,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}
