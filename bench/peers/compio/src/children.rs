//! Child processes.

use std::cell::RefCell;
use std::io;
use std::process::Stdio;
use std::rc::Rc;

use bench_common::child::{self, Count, Lines, Received};
use bench_common::net::{BUFFER_BYTES, PIECE_BYTES};
use compio::BufResult;
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::process::Command;
use futures_util::future::{join_all, try_join_all};

pub(crate) async fn spawn(at_a_time: usize) -> io::Result<()> {
    let count = Rc::default();
    let tasks = (0..at_a_time).map(|_| one_after_the_other(Rc::clone(&count)));
    try_join_all(tasks).await?;
    Ok(())
}

async fn one_after_the_other(count: Rc<RefCell<Count>>) -> io::Result<()> {
    while count.borrow_mut().takes_another() {
        Command::new(child::brief()).spawn()?.wait().await?;
        count.borrow_mut().reaped();
    }
    Ok(())
}

fn piped<T>(_: T) -> io::Error {
    io::Error::other("cannot use a pipe as a child's stream")
}

pub(crate) async fn stdout() -> io::Result<()> {
    let mut command = Command::new(child::program());
    command.arg(child::WRITER);
    command.stdin(Stdio::null()).map_err(piped)?;
    command.stdout(Stdio::piped()).map_err(piped)?;
    let mut child = command.spawn()?;
    let mut output = child.stdout.take().expect("it is a pipe");
    let mut received = Received::default();
    let mut buffer = Vec::with_capacity(PIECE_BYTES);
    loop {
        let BufResult(count, read) = output.read(buffer).await;
        let count = count?;
        if count == 0 {
            break;
        }
        received.add(count);
        buffer = read;
    }
    child.wait().await?;
    received.end();
    Ok(())
}

pub(crate) async fn echo() -> io::Result<()> {
    let lines = Rc::default();
    let tasks = (0..child::echoers()).map(|number| echo_with(number, Rc::clone(&lines)));
    let ended = join_all(tasks.map(compio::runtime::spawn)).await;
    ended
        .into_iter()
        .try_for_each(|task| task.expect("nobody panics"))
}

async fn echo_with(number: usize, lines: Rc<RefCell<Lines>>) -> io::Result<()> {
    let mut command = Command::new(child::program());
    command.arg(child::ECHOER);
    command.stdin(Stdio::piped()).map_err(piped)?;
    command.stdout(Stdio::piped()).map_err(piped)?;
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().expect("it is a pipe");
    let mut output = child.stdout.take().expect("it is a pipe");
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    lines.borrow_mut().begin(number);
    input.write_all(child::LINE.as_slice()).await.0?;
    loop {
        let BufResult(count, read) = output.read(buffer).await;
        buffer = read;
        if lines.borrow_mut().received(number, count?) {
            input.write_all(child::LINE.as_slice()).await.0?;
        }
    }
}
