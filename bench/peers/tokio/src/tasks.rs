//! The costs of tasks.

use std::io;

use bench_common::tasks::{AT_A_TIME, Costs, Operation, SLEEP, TIMEOUT};
use bench_common::timers;
use tokio::sync::mpsc;
use tokio::time::sleep;

/// Measures the operation in a task.
pub(crate) async fn measure(operation: Operation) -> io::Result<()> {
    tokio::spawn(async move {
        let costs = Costs::begin(operation);
        match operation {
            Operation::Spawn => spawn().await,
            Operation::Hop => hop().await,
            Operation::Sleep => sleeps().await,
            Operation::Timeout => timeouts(),
        }
        costs.end();
    })
    .await
    .map_err(io::Error::other)
}

async fn spawn() {
    let mut tasks = Vec::with_capacity(AT_A_TIME);
    for _ in 0..Operation::Spawn.rounds() {
        tasks.extend((0..AT_A_TIME).map(|number| tokio::spawn(async move { number })));
        for task in tasks.drain(..) {
            task.await.expect("no task panics");
        }
    }
}

async fn hop() {
    let (there, mut arrived) = mpsc::channel(1);
    let (back, mut returned) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(number) = arrived.recv().await {
            back.send(number).await.expect("the other task waits");
        }
    });
    for number in 0..Operation::Hop.rounds() {
        there.send(number).await.expect("the other task waits");
        assert_eq!(returned.recv().await, Some(number));
    }
}

async fn sleeps() {
    let mut tasks = Vec::with_capacity(AT_A_TIME);
    for _ in 0..Operation::Sleep.rounds() {
        tasks.extend((0..AT_A_TIME).map(|_| tokio::spawn(sleep(SLEEP))));
        for task in tasks.drain(..) {
            task.await.expect("no task panics");
        }
    }
}

fn timeouts() {
    for _ in 0..Operation::Timeout.rounds() {
        drop(timers::arm(sleep(TIMEOUT)));
    }
}
