//! Faults on request, and at random.

use std::io::ErrorKind;
use std::time::Duration;

use super::{Bench, error_kind};
use crate::os::Address;
use crate::port::sim::{Call, Faults, Sim, programs};
use crate::port::{Outcome, Request, RequestKind, Token};
use crate::process::{Command, SpawnStep};

fn bench_with(change: impl FnOnce(&mut Faults)) -> Bench {
    let mut faults = Faults::default();
    change(&mut faults);
    Bench::new(Sim::builder(5).faults(faults).build())
}

#[test]
fn ordered_failures_hit_the_next_call_and_only_that() {
    let mut bench = Bench::new(Sim::new(1));
    bench.sim.program("true", || programs::Exit(0));
    let (client, server) = bench.pair();
    bench.sim.fail_next(Call::Send, ErrorKind::TimedOut);
    bench.send(client, b"x");
    assert_eq!(
        error_kind(bench.next(RequestKind::Send)),
        ErrorKind::TimedOut
    );
    bench.send(client, b"x");
    assert!(bench.next(RequestKind::Send).is_ok());
    bench
        .sim
        .fail_next(Call::Receive, ErrorKind::HostUnreachable);
    bench.submit(server, Request::Receive);
    assert_eq!(
        error_kind(bench.next(RequestKind::Receive)),
        ErrorKind::HostUnreachable
    );
    bench.submit(server, Request::Receive);
    assert!(bench.next(RequestKind::Receive).is_ok());
    bench
        .sim
        .fail_next(Call::Spawn, ErrorKind::PermissionDenied);
    let error = bench
        .port
        .spawn(&Command::new("true"))
        .expect_err("ordered");
    assert_eq!(error.step, SpawnStep::Execute);
    assert_eq!(error.source.kind(), ErrorKind::PermissionDenied);
    bench
        .port
        .spawn(&Command::new("true"))
        .expect("only the first");
}

#[test]
fn a_failed_accept_leaves_the_connection_in_the_backlog() {
    let mut bench = Bench::new(Sim::new(1));
    let (listener, address) = bench.listen();
    bench.sim.fail_next(Call::Accept, ErrorKind::QuotaExceeded);
    bench.submit(listener, Request::Accept);
    bench.connect(address);
    assert_eq!(
        error_kind(bench.next(RequestKind::Accept)),
        ErrorKind::QuotaExceeded
    );
    bench.submit(listener, Request::Accept);
    assert!(matches!(
        bench.next(RequestKind::Accept),
        Ok(Outcome::Accepted { .. })
    ));
}

#[test]
fn a_connection_can_be_reset_by_its_address() {
    let mut bench = Bench::new(Sim::new(1));
    let (client, server) = bench.pair();
    bench.submit(server, Request::Receive);
    let address = bench.port.local_addr(client).expect("it is open");
    assert_eq!(bench.sim.reset(address.clone()), 1);
    assert_eq!(bench.sim.reset(address), 0, "it is reset already");
    assert_eq!(
        error_kind(bench.next(RequestKind::Receive)),
        ErrorKind::ConnectionReset
    );
    bench.send(client, b"x");
    assert_eq!(
        error_kind(bench.next(RequestKind::Send)),
        ErrorKind::ConnectionReset
    );
}

#[test]
fn short_receives_and_sends_lose_nothing() {
    let mut bench = bench_with(|faults| {
        faults.short_receives = 1.0;
        faults.short_sends = 1.0;
    });
    let (client, server) = bench.pair();
    let all: Vec<u8> = (0..100).collect();
    let mut rest = crate::port::Chunks::from(&all[..]);
    let mut sends = 0;
    while !rest.is_empty() {
        bench.submit(client, Request::Send(rest));
        rest = bench.sent().1;
        sends += 1;
    }
    assert!(sends > 1, "all went in one send");
    bench.port.shutdown_write(client).expect("it is connected");
    assert_eq!(bench.receive_all(server).expect("it ends"), all);
}

#[test]
fn certain_faults_happen() {
    let mut bench = bench_with(|faults| faults.refusals = 1.0);
    let (_, address) = bench.listen();
    bench.connect(address);
    let result = bench.next(RequestKind::Connect);
    assert_eq!(error_kind(result), ErrorKind::ConnectionRefused);

    let mut bench = bench_with(|faults| faults.silences = 1.0);
    let (_, address) = bench.listen();
    bench.connect(address);
    let mut batch = Vec::new();
    let waited = bench.port.wait(Some(Duration::from_secs(60)), &mut batch);
    waited.expect("it times out");
    assert!(batch.is_empty());

    let mut bench = bench_with(|faults| faults.accept_failures = 1.0);
    let (listener, address) = bench.listen();
    bench.submit(listener, Request::Accept);
    bench.connect(address);
    let result = bench.next(RequestKind::Accept);
    assert_eq!(error_kind(result), ErrorKind::QuotaExceeded);

    let mut bench = bench_with(|faults| faults.spawn_failures = 1.0);
    bench.sim.program("true", || programs::Exit(0));
    let error = bench
        .port
        .spawn(&Command::new("true"))
        .expect_err("no room");
    assert_eq!(error.source.kind(), ErrorKind::QuotaExceeded);

    let mut bench = bench_with(|_| {});
    let (client, _) = bench.pair();
    bench.sim.set_faults(Faults {
        resets: 1.0,
        ..Faults::default()
    });
    bench.send(client, b"x");
    assert_eq!(
        error_kind(bench.next(RequestKind::Send)),
        ErrorKind::ConnectionReset
    );
}

#[test]
fn reordering_changes_the_order_between_operations() {
    let order = |reorder| {
        let mut bench = bench_with(|faults| faults.reorder = reorder);
        let refused = Address::from(([127, 0, 0, 1], 9));
        for token in 0..10 {
            let client = bench.port.open_stream(&refused, None).expect("a free port");
            let request = Request::connect(refused.clone());
            bench
                .port
                .submit(client, request, Token(token))
                .expect("it is open");
        }
        let mut batch = Vec::new();
        bench.port.wait(None, &mut batch).expect("all fail");
        batch
            .iter()
            .map(|completion| completion.token.0)
            .collect::<Vec<_>>()
    };
    let sorted: Vec<u64> = (0..10).collect();
    assert_eq!(order(false), sorted);
    let mut shuffled = order(true);
    assert_ne!(shuffled, sorted);
    shuffled.sort_unstable();
    assert_eq!(shuffled, sorted);
}
