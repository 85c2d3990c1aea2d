//! Child processes.

use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use bench_common::child::{self, Count, Lines, Outputs, Pipeline, Received};
use bench_common::net::{BUFFER_BYTES, PIECE_BYTES};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::task::JoinSet;

pub(crate) async fn spawn(at_a_time: usize) -> io::Result<()> {
    let count = Arc::new(Mutex::new(Count::default()));
    let mut tasks = JoinSet::new();
    for _ in 0..at_a_time {
        tasks.spawn(one_after_the_other(Arc::clone(&count)));
    }
    tasks.join_all().await.into_iter().collect()
}

async fn one_after_the_other(count: Arc<Mutex<Count>>) -> io::Result<()> {
    while count.lock().expect("nobody panics").takes_another() {
        Command::new(child::brief()).spawn()?.wait().await?;
        count.lock().expect("nobody panics").reaped();
    }
    Ok(())
}

pub(crate) async fn stdout() -> io::Result<()> {
    let mut child = Command::new(child::program())
        .arg(child::WRITER)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
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
    child.wait().await?;
    received.end();
    Ok(())
}

pub(crate) async fn pipeline() -> io::Result<()> {
    let pipeline = Pipeline::begin();
    let (first_reader, first_writer) = io::pipe()?;
    let (second_reader, second_writer) = io::pipe()?;
    let start = |argument, input: Stdio, output: Stdio| {
        let mut command = Command::new(child::program());
        command.arg(argument).stdin(input).stdout(output).spawn()
    };
    let mut children = [
        start(child::WRITER, Stdio::null(), first_writer.into())?,
        start(child::ECHOER, first_reader.into(), second_writer.into())?,
        start(child::DRAIN, second_reader.into(), Stdio::null())?,
    ];
    let mut success = true;
    for child in &mut children {
        success &= child.wait().await?.success();
    }
    pipeline.end(success);
    Ok(())
}

pub(crate) async fn echo() -> io::Result<()> {
    let lines = Arc::new(Mutex::new(Lines::default()));
    let mut tasks = JoinSet::new();
    for number in 0..child::echoers() {
        tasks.spawn(echo_with(number, Arc::clone(&lines)));
    }
    tasks.join_all().await.into_iter().collect()
}

async fn echo_with(number: usize, lines: Arc<Mutex<Lines>>) -> io::Result<()> {
    let mut child = Command::new(child::program())
        .arg(child::ECHOER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
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

pub(crate) async fn outputs() -> io::Result<()> {
    let mut outputs = Outputs::begin();
    let mut tasks = JoinSet::new();
    for _ in 0..child::OUTPUTS {
        let mut command = Command::new(child::program());
        command.arg(child::BRIEF_WRITER).stdin(Stdio::null());
        tasks.spawn(async move { command.output().await });
    }
    while let Some(output) = tasks.join_next().await {
        outputs.ended(output.map_err(io::Error::other)??.stdout.len());
    }
    outputs.end();
    Ok(())
}
