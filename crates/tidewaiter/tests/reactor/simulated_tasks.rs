//! Tests of tasks in simulations, and what they report when they fail.

use std::cell::Cell;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tidewaiter::io::{Listener, Stream};
use tidewaiter::port::sim::{Faults, Sim};
use tidewaiter::{Reactor, simulate};

const HOUR: Duration = Duration::from_secs(3600);

/// The message of the panic with which `simulate` fails.
fn failure(test: impl AsyncFn(&Reactor, &Sim) -> Result<(), Box<dyn std::error::Error>>) -> String {
    let failed = catch_unwind(AssertUnwindSafe(|| {
        simulate([3, 7, 9], &Faults::default(), test);
    }));
    *failed.unwrap_err().downcast().expect("it is formatted")
}

#[test]
fn a_test_runs_once_for_each_seed_in_virtual_time() {
    let count = Cell::new(0);
    simulate(0..5, &Faults::bumpy(), async |reactor, sim| {
        count.set(count.get() + 1);
        let before = reactor.now();
        reactor.sleep(HOUR).await;
        assert!(reactor.now() - before >= HOUR && sim.elapsed() >= HOUR);
        Ok(())
    });
    assert_eq!(count.get(), 5);
}

#[test]
fn the_same_seed_brings_the_same_events() {
    let record = |seed| {
        let sizes = Cell::new(Vec::new());
        simulate([seed], &Faults::bumpy(), async |reactor, sim| {
            let address: std::net::SocketAddr = "127.0.0.1:7000".parse()?;
            let mut listener = Listener::bind(reactor, address)?;
            let mut client = Stream::connect(reactor, address).await?;
            let (mut server, _) = listener.accept().await?;
            client.write_all(&[7; 50_000]).await?;
            client.shutdown().await?;
            let (mut buffer, mut seen) = (vec![0; 50_000], Vec::new());
            while let count @ 1.. = server.read(&mut buffer).await? {
                seen.push((count, sim.elapsed()));
            }
            sizes.set(seen);
            Ok(())
        });
        sizes.take()
    };
    assert_eq!(record(5), record(5));
    assert_ne!(record(5), record(6));
}

#[test]
fn a_failure_names_the_seed() {
    let panicked = failure(async |_, _| panic!("a deliberate panic"));
    assert_eq!(
        panicked,
        "the test panicked with seed 3 (TIDEWAITER_SEED=3 runs it alone)"
    );
    let refused = failure(async |reactor, _| {
        Stream::connect(reactor, ("127.0.0.1", 1)).await?;
        Ok(())
    });
    assert!(
        refused.starts_with("the test failed with seed 3 ("),
        "{refused}"
    );
    assert!(refused.contains("127.0.0.1:1"), "{refused}");
}

#[test]
fn a_panic_in_a_task_fails_the_test() {
    let failed = failure(async |reactor, _| {
        let panics = reactor.spawn(async { panic!("a deliberate panic") });
        assert!(panics.await.is_err());
        Ok(())
    });
    assert!(failed.contains("1 tasks or callbacks panicked"), "{failed}");
}

#[test]
fn a_wait_without_end_fails_at_once() {
    let failed = failure(async |_, _| {
        pending::<()>().await;
        Ok(())
    });
    assert!(failed.contains("nothing can complete"), "{failed}");
}
