//! Child processes.

use std::cell::RefCell;
use std::io;
use std::process::Stdio;
use std::rc::Rc;

use bench_common::child::{self, Count, Received};
use bench_common::net::PIECE_BYTES;
use compio::BufResult;
use compio::io::AsyncRead;
use compio::process::Command;
use futures_util::future::try_join_all;

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

pub(crate) async fn stdout() -> io::Result<()> {
    let mut command = Command::new(child::writer());
    command.arg(child::WRITER);
    let piped = |_| io::Error::other("a pipe is a child's output");
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
