//! The costs of tasks.

use std::error::Error;

use bench_common::tasks::{AT_A_TIME, Costs, Operation, SLEEP, TIMEOUT};
use bench_common::timers;
use tidewaiter::Reactor;
use tokio::sync::mpsc;

/// Measures the operation in a task.
pub(crate) async fn measure(reactor: &Reactor, operation: Operation) -> Result<(), Box<dyn Error>> {
    let handle = reactor.clone();
    let measured = reactor.spawn(async move {
        let costs = Costs::begin(operation);
        match operation {
            Operation::Spawn => spawn(&handle).await,
            Operation::Hop => hop(&handle).await,
            Operation::Sleep => sleeps(&handle).await,
            Operation::Timeout => timeouts(&handle),
        }
        costs.end();
    });
    Ok(measured.await?)
}

async fn spawn(reactor: &Reactor) {
    let mut tasks = Vec::with_capacity(AT_A_TIME);
    for _ in 0..Operation::Spawn.rounds() {
        tasks.extend((0..AT_A_TIME).map(|number| reactor.spawn(async move { number })));
        for task in tasks.drain(..) {
            task.await.expect("no task panics");
        }
    }
}

async fn hop(reactor: &Reactor) {
    let (there, mut arrived) = mpsc::channel(1);
    let (back, mut returned) = mpsc::channel(1);
    reactor.spawn(async move {
        while let Some(number) = arrived.recv().await {
            back.send(number).await.expect("the other task waits");
        }
    });
    for number in 0..Operation::Hop.rounds() {
        there.send(number).await.expect("the other task waits");
        assert_eq!(returned.recv().await, Some(number));
    }
}

async fn sleeps(reactor: &Reactor) {
    let mut tasks = Vec::with_capacity(AT_A_TIME);
    for _ in 0..Operation::Sleep.rounds() {
        tasks.extend((0..AT_A_TIME).map(|_| reactor.spawn(reactor.sleep(SLEEP))));
        for task in tasks.drain(..) {
            task.await.expect("no task panics");
        }
    }
}

fn timeouts(reactor: &Reactor) {
    for _ in 0..Operation::Timeout.rounds() {
        drop(timers::arm(reactor.sleep(TIMEOUT)));
    }
}
