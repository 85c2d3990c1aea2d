//! Runs the programs that it reads, each a line with its words, several at once, and tells how each ended.
//! `printf 'echo one\nsleep 100\nfalse\n' | cargo run -p tidewaiter --example job_runner -- 4 10`: four at once, for ten
//! seconds at most. Ctrl-C ends all of them, with all that they started.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::error::Error;
use std::fmt;
use std::time::Duration;

use tidewaiter::frames::{FrameError, FramedRead, Lines};
use tidewaiter::io::{self, Child, ReadHalf};
use tidewaiter::process::Command;
use tidewaiter::{CommandError, CommandOptions, CommandOutput, JoinSet, Reactor};

/// A job of which more is written is ended.
const OUTPUT_MAX: usize = 1 << 20;

/// How a job ended.
pub(crate) struct Ended {
    command: String,
    result: Result<CommandOutput, CommandError>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stdout);
                write!(
                    f,
                    "{}: {}: {}",
                    self.command,
                    output.status,
                    text.trim_end()
                )
            }
            Err(error) => write!(f, "{}: {error}", self.command),
        }
    }
}

/// Runs a program with its words. All that it started ends with it.
async fn run(reactor: Reactor, command: String, limit: Duration) -> Ended {
    let mut words = command.split_whitespace();
    let program = Command::new(words.next().unwrap_or_default()).args(words);
    let options = CommandOptions::new(program)
        .time_limit(limit)
        .output_limit(OUTPUT_MAX);
    let result = Child::output(&reactor, options).await;
    Ended { command, result }
}

/// Runs all commands, at most `at_once` at a time, and tells the end of each.
pub(crate) async fn run_all(
    reactor: &Reactor,
    commands: ReadHalf,
    at_once: usize,
    limit: Duration,
    mut tell: impl FnMut(Ended),
) -> Result<(), FrameError> {
    let mut commands = FramedRead::new(commands, Lines::new());
    let mut running = JoinSet::new(reactor);
    while let Some(command) = commands.next().await {
        if running.len() >= at_once
            && let Some(Ok(ended)) = running.join_next().await
        {
            tell(ended);
        }
        let command = command?.to_str()?.to_owned();
        running.spawn(run(reactor.clone(), command, limit));
    }
    while let Some(ended) = running.join_next().await {
        tell(ended.map_err(std::io::Error::from)?);
    }
    Ok(())
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let word = |n, usual| {
        std::env::args()
            .nth(n)
            .map_or(Ok(usual), |word| word.parse())
    };
    let (at_once, seconds) = (word(1, 4)?, word(2, 60)?);
    let limit = Duration::from_secs(seconds.try_into()?);
    let reactor = Reactor::new()?;
    let commands = io::stdin(&reactor)?;
    let all = run_all(&reactor, commands, at_once, limit, |ended| {
        println!("{ended}");
    });
    reactor.block_on(all)??;
    Ok(())
}
