//! Child processes.

use std::io;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use bench_common::child::{self, Count, Received};
use bench_common::net::PIECE_BYTES;
use tokio::io::AsyncReadExt;
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
    let mut child = Command::new(child::writer())
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
