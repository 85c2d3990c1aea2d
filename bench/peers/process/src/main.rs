//! `tidewaiter-process` in the benchmarks: children in a program that uses tokio.

use std::io;
use std::sync::{Arc, Mutex};

use bench_common::child::{self, Count, Lines, Outputs, Received};
use bench_common::net::{BUFFER_BYTES, PIECE_BYTES};
use bench_common::{Workload, tell};
use tidewaiter_process::{Child, Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

fn main() -> io::Result<()> {
    let workload = Workload::from_arguments();
    let runtime = Builder::new_current_thread().build()?;
    runtime.block_on(async {
        match workload {
            Workload::Spawn { at_a_time } => spawn(at_a_time).await,
            Workload::ChildStdout => stdout().await,
            Workload::Children => echo().await,
            Workload::Outputs => outputs().await,
            _ => {
                tell::unsupported();
                Ok(())
            }
        }
    })
}

async fn spawn(at_a_time: usize) -> io::Result<()> {
    let count = Arc::new(Mutex::new(Count::default()));
    let mut tasks = JoinSet::new();
    for _ in 0..at_a_time {
        tasks.spawn(one_after_the_other(Arc::clone(&count)));
    }
    tasks.join_all().await.into_iter().collect()
}

async fn one_after_the_other(count: Arc<Mutex<Count>>) -> io::Result<()> {
    let command = Command::new(child::brief());
    while count.lock().expect("nobody panics").takes_another() {
        Child::spawn(&command)?.wait().await;
        count.lock().expect("nobody panics").reaped();
    }
    Ok(())
}

async fn stdout() -> io::Result<()> {
    let command = Command::new(child::program())
        .arg(child::WRITER)
        .stdin(Stdio::Null)
        .stdout(Stdio::Pipe);
    let mut child = Child::spawn(&command)?;
    let mut output = child.stdout.take().expect("it is a pipe");
    let mut received = Received::default();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let count = output.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        received.add(count);
    }
    child.wait().await;
    received.end();
    Ok(())
}

async fn echo() -> io::Result<()> {
    let lines = Arc::new(Mutex::new(Lines::default()));
    let mut tasks = JoinSet::new();
    for number in 0..child::echoers() {
        tasks.spawn(echo_with(number, Arc::clone(&lines)));
    }
    tasks.join_all().await.into_iter().collect()
}

async fn echo_with(number: usize, lines: Arc<Mutex<Lines>>) -> io::Result<()> {
    let command = Command::new(child::program())
        .arg(child::ECHOER)
        .stdin(Stdio::Pipe)
        .stdout(Stdio::Pipe);
    let mut child = Child::spawn(&command)?;
    let mut input = child.stdin.take().expect("it is a pipe");
    let mut output = child.stdout.take().expect("it is a pipe");
    let mut buffer = vec![0; BUFFER_BYTES];
    lines.lock().expect("nobody panics").begin(number);
    input.write_all(child::LINE).await?;
    loop {
        let count = output.read(&mut buffer).await?;
        if lines.lock().expect("nobody panics").received(number, count) {
            input.write_all(child::LINE).await?;
        }
    }
}

async fn outputs() -> io::Result<()> {
    let mut outputs = Outputs::begin();
    let mut tasks = JoinSet::new();
    let command = Command::new(child::program()).arg(child::BRIEF_WRITER);
    for _ in 0..child::OUTPUTS {
        let command = command.clone().stdin(Stdio::Null);
        tasks.spawn(async move { Ok::<_, io::Error>(Child::spawn(&command)?.output().await) });
    }
    while let Some(output) = tasks.join_next().await {
        outputs.ended(output.map_err(io::Error::other)??.stdout.len());
    }
    outputs.end();
    Ok(())
}
