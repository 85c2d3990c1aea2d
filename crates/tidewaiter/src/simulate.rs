//! Tests of tasks in simulated worlds.

use std::env;
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::panics;
use crate::port::sim::{Faults, Sim};
use crate::reactor::Reactor;

/// What a test returns.
type Outcome = Result<(), Box<dyn Error>>;

/// The variable that picks one seed, to repeat a failure.
const SEED: &str = "TIDEWAITER_SEED";

/// Runs an async test once for each seed, each time in a [simulated world](crate::port::sim) of its own: time is virtual,
/// sockets, files and children are in memory, and [faults](Faults) come by the seed.
///
/// The test passes if it returns `Ok` and nothing panics: neither the test itself, nor a task or a callback on its reactor. What
/// it leaves on the reactor is dropped. Waiting for something that can never happen fails at once. A failure prints
/// its seed, and the same seed fails in the same way: run the test again with the environment variable
/// `TIDEWAITER_SEED` set to it, which runs only that one.
///
/// ```
/// use std::time::Duration;
/// use tidewaiter::io::{Listener, Stream};
/// use tidewaiter::port::sim::Faults;
/// use tidewaiter::simulate;
///
/// # fn main() { // #[test]
/// simulate(0..20, &Faults::bumpy(), async |reactor, sim| {
///     let address: std::net::SocketAddr = "10.0.0.1:7000".parse()?;
///     let mut listener = Listener::bind(reactor, address)?;
///     let handle = reactor.clone();
///     reactor.spawn(async move {
///         let (mut stream, _peer) = listener.accept().await.unwrap();
///         handle.sleep(Duration::from_secs(3600)).await;
///         stream.write_all(b"patience is rewarded").await.unwrap();
///     });
///     let mut client = Stream::connect(reactor, address).await?;
///     let mut answer = Vec::new();
///     client.read_to_end(&mut answer).await?;
///     assert_eq!(answer, b"patience is rewarded");
///     assert!(sim.elapsed() >= Duration::from_secs(3600));
///     Ok(())
/// });
/// # }
/// ```
///
/// For worlds that are set up in another way, and for callbacks, make the [`Sim`] yourself: see the
/// [guide](crate::guide::testing).
///
/// # Panics
///
/// If the test fails, or if `TIDEWAITER_SEED` is not a number.
#[track_caller]
#[expect(
    clippy::needless_pass_by_value,
    reason = "a closure is passed without an ampersand"
)]
pub fn simulate(
    seeds: impl IntoIterator<Item = u64>,
    faults: &Faults,
    test: impl AsyncFn(&Reactor, &Sim) -> Result<(), Box<dyn Error>>,
) {
    let one = env::var(SEED).ok();
    let one = one.map(|seed| seed.parse().expect("TIDEWAITER_SEED is a number"));
    match one {
        Some(seed) => run(seed, faults, &test),
        None => seeds.into_iter().for_each(|seed| run(seed, faults, &test)),
    }
}

/// Runs the test with one seed.
#[track_caller]
fn run(seed: u64, faults: &Faults, test: &impl AsyncFn(&Reactor, &Sim) -> Outcome) {
    let again = format!("seed {seed} ({SEED}={seed} runs it alone)");
    // The test is over if it panics: nothing of it is used after that.
    match catch_unwind(AssertUnwindSafe(|| try_run(seed, faults, test))) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => panic!("the test failed with {again}: {error}"),
        Err(panic) => {
            panics::discard(panic);
            panic!("the test panicked with {again}");
        }
    }
}

fn try_run(seed: u64, faults: &Faults, test: &impl AsyncFn(&Reactor, &Sim) -> Outcome) -> Outcome {
    let sim = Sim::builder(seed).faults(faults.clone()).build();
    let reactor = Reactor::builder().simulation(&sim).build()?;
    reactor.block_on(test(&reactor, &sim))??;
    match reactor.metrics().panics {
        0 => Ok(()),
        count => Err(format!("{count} tasks or callbacks panicked").into()),
    }
}
