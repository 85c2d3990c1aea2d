//! Decides which of several addresses to connect to, and when (RFC 8305, "happy eyeballs"). Nothing here
//! connects or reads a clock: the caller does both, and passes the time in.
//!
//! The race tries the addresses in the resolver's order, but alternates between IPv6 and IPv4. Each attempt
//! starts a little after the one before, or as soon as one fails. The first attempt to succeed wins.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::os::Address;

/// The default head start of an attempt over the next one: RFC 8305, section 8.
pub(crate) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The shortest and the longest head start of an attempt: RFC 8305, section 8.
const ATTEMPT_DELAY_MIN: Duration = Duration::from_millis(10);
const ATTEMPT_DELAY_MAX: Duration = Duration::from_secs(2);

/// One attempt to connect, within its race.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AttemptId(usize);

/// The next thing that the caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Start connecting to this address, then ask again.
    Connect(Address, AttemptId),
    /// Ask again at this time, or earlier if an attempt ends.
    WaitUntil(Instant),
    /// Ask again when an attempt ends. After a success there is nothing more to ask.
    Wait,
    /// Every address failed: see [`Race::into_failure`].
    Failed,
}

/// A race between the addresses of one host.
#[derive(Debug)]
pub(crate) struct Race {
    /// The addresses not tried yet, in the order in which they will be.
    waiting: VecDeque<Address>,
    /// The attempts under way.
    running: Vec<(AttemptId, Address)>,
    failures: Vec<(Address, io::Error)>,
    delay: Duration,
    /// The next attempt starts no earlier than this. `None`: no attempt has started yet.
    next_start: Option<Instant>,
    attempts: usize,
}

impl Race {
    /// Makes a race between `addresses`, given in the resolver's order of preference. Attempts start `delay`
    /// after each other; the race limits `delay` to between 10 ms and 2 s.
    pub(crate) fn new(addresses: &[Address], delay: Duration) -> Race {
        Race {
            waiting: interleave(addresses),
            running: Vec::new(),
            failures: Vec::new(),
            delay: delay.clamp(ATTEMPT_DELAY_MIN, ATTEMPT_DELAY_MAX),
            next_start: None,
            attempts: 0,
        }
    }

    /// Returns what to do at `now`. After each [`Step::Connect`], ask again.
    pub(crate) fn next(&mut self, now: Instant) -> Step {
        if let Some(start) = self.next_start
            && now < start
            && !self.waiting.is_empty()
        {
            return Step::WaitUntil(start);
        }
        match self.waiting.pop_front() {
            Some(address) => self.start(address, now),
            None if self.running.is_empty() => Step::Failed,
            None => Step::Wait,
        }
    }

    fn start(&mut self, address: Address, now: Instant) -> Step {
        let attempt = AttemptId(self.attempts);
        self.attempts += 1;
        self.running.push((attempt, address.clone()));
        self.next_start = Some(now + self.delay);
        Step::Connect(address, attempt)
    }

    /// Notes that an attempt failed, so that the next may start at once. Ignores an attempt that was cancelled.
    pub(crate) fn failed(&mut self, attempt: AttemptId, error: io::Error, now: Instant) {
        let Some(place) = self.running.iter().position(|(id, _)| *id == attempt) else {
            return;
        };
        let (_, address) = self.running.remove(place);
        self.failures.push((address, error));
        self.next_start = Some(now);
    }

    /// Returns the most telling error, with its address: the error of the attempt that came furthest. A peer's
    /// refusal ranks before silence, and silence before an address that cannot be reached from here. Among
    /// equals, the first error counts.
    pub(crate) fn into_failure(self) -> Option<(Address, io::Error)> {
        // `min_by_key` returns the first of several minima.
        self.failures
            .into_iter()
            .min_by_key(|(_, error)| distance(error))
    }
}

/// Ranks an error by how far from success it left the attempt: 0 is nearest.
fn distance(error: &io::Error) -> u8 {
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted => 0,
        io::ErrorKind::TimedOut => 1,
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::Unsupported => 3,
        // The local system refused: permission, descriptors, memory.
        _ => 2,
    }
}

/// Alternates between the families, beginning with that of the first address; within a family the order stays.
fn interleave(addresses: &[Address]) -> VecDeque<Address> {
    let is_v6 = |address: &Address| matches!(address, Address::Ip(SocketAddr::V6(_)));
    let first_is_v6 = addresses.first().is_some_and(is_v6);
    let (mut preferred, mut other): (VecDeque<_>, VecDeque<_>) = addresses
        .iter()
        .cloned()
        .partition(|address| is_v6(address) == first_is_v6);
    let mut order = VecDeque::with_capacity(addresses.len());
    while !preferred.is_empty() || !other.is_empty() {
        order.extend(preferred.pop_front());
        order.extend(other.pop_front());
    }
    order
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{ATTEMPT_DELAY, Address, AttemptId, Race, Step};
    use proptest::prelude::any;
    use proptest::{collection, prop_assert, prop_assert_eq, proptest};
    use std::io::ErrorKind;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::{Duration, Instant};

    fn v4(port: u16) -> Address {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    fn v6(port: u16) -> Address {
        (Ipv6Addr::LOCALHOST, port).into()
    }

    fn is_v6(address: &Address) -> bool {
        address.socket_addr().is_some_and(|ip| ip.is_ipv6())
    }

    fn connect(race: &mut Race, now: Instant) -> (Address, AttemptId) {
        match race.next(now) {
            Step::Connect(address, attempt) => (address, attempt),
            step => panic!("an attempt should start, not {step:?}"),
        }
    }

    #[test]
    fn families_alternate_beginning_with_the_first_address() {
        let mut race = Race::new(&[v6(1), v6(2), v6(3), v4(4), v4(5)], ATTEMPT_DELAY);
        let mut now = Instant::now();
        let mut order = Vec::new();
        for _ in 0..5 {
            order.push(connect(&mut race, now).0);
            now += ATTEMPT_DELAY;
        }
        assert_eq!(order, [v6(1), v4(4), v6(2), v4(5), v6(3)]);
        assert_eq!(race.next(now), Step::Wait);
    }

    #[test]
    fn the_next_attempt_waits_for_the_delay_or_a_failure() {
        let mut race = Race::new(&[v4(1), v4(2), v4(3)], ATTEMPT_DELAY);
        let start = Instant::now();
        let (_, first) = connect(&mut race, start);
        assert_eq!(race.next(start), Step::WaitUntil(start + ATTEMPT_DELAY));
        assert_eq!(connect(&mut race, start + ATTEMPT_DELAY).0, v4(2));
        let soon = start + ATTEMPT_DELAY + Duration::from_millis(1);
        race.failed(first, ErrorKind::ConnectionRefused.into(), soon);
        assert_eq!(connect(&mut race, soon).0, v4(3));
    }

    #[test]
    fn the_delay_is_limited_to_its_bounds() {
        for (asked, held) in [
            (Duration::ZERO, Duration::from_millis(10)),
            (Duration::MAX, Duration::from_secs(2)),
        ] {
            let mut race = Race::new(&[v4(1), v4(2)], asked);
            let start = Instant::now();
            connect(&mut race, start);
            assert_eq!(race.next(start), Step::WaitUntil(start + held));
        }
    }

    /// Fails each address with the error beside it, and returns the failure that the race reports.
    fn lose(failures: &[(Address, ErrorKind)]) -> (Address, ErrorKind) {
        let addresses: Vec<Address> = failures
            .iter()
            .map(|(address, _)| address.clone())
            .collect();
        let mut race = Race::new(&addresses, ATTEMPT_DELAY);
        let now = Instant::now();
        for (_, kind) in failures {
            let (_, attempt) = connect(&mut race, now);
            race.failed(attempt, (*kind).into(), now);
        }
        assert_eq!(race.next(now), Step::Failed);
        let (address, error) = race.into_failure().expect("each attempt failed");
        (address, error.kind())
    }

    #[test]
    fn the_error_is_that_of_the_attempt_that_came_furthest() {
        let failure = lose(&[
            (v6(1), ErrorKind::NetworkUnreachable),
            (v4(2), ErrorKind::TimedOut),
            (v6(3), ErrorKind::ConnectionRefused),
            (v4(4), ErrorKind::ConnectionRefused),
        ]);
        assert_eq!(failure, (v6(3), ErrorKind::ConnectionRefused));
        assert_eq!(
            lose(&[(v4(1), ErrorKind::TimedOut)]),
            (v4(1), ErrorKind::TimedOut)
        );
    }

    #[test]
    fn a_race_without_addresses_fails() {
        let mut race = Race::new(&[], ATTEMPT_DELAY);
        assert_eq!(race.next(Instant::now()), Step::Failed);
        assert!(race.into_failure().is_none());
    }

    proptest! {
        /// Goal: each address is tried once, none during the head start of another, the families alternate
        /// while there are two, and a race without a winner ends.
        /// Method: a clock that jumps to the times that the race asks for, and failures at random moments.
        #[test]
        fn every_address_is_tried_once_and_in_its_time(
            families in collection::vec(any::<bool>(), 0..12),
            fails_at_once in collection::vec(any::<bool>(), 12),
        ) {
            let addresses: Vec<Address> = (0..)
                .zip(&families)
                .map(|(port, &is_v6)| if is_v6 { v6(port) } else { v4(port) })
                .collect();
            let mut race = Race::new(&addresses, ATTEMPT_DELAY);
            let mut now = Instant::now();
            let mut earliest = now;
            let mut running = Vec::new();
            let mut tried: Vec<Address> = Vec::new();
            loop {
                match race.next(now) {
                    Step::Connect(address, attempt) => {
                        prop_assert!(now >= earliest);
                        earliest = now + ATTEMPT_DELAY;
                        if fails_at_once[tried.len()] {
                            race.failed(attempt, ErrorKind::ConnectionRefused.into(), now);
                            earliest = now;
                        } else {
                            running.push(attempt);
                        }
                        tried.push(address);
                    }
                    Step::WaitUntil(time) => {
                        prop_assert_eq!(time, earliest);
                        now = time;
                    }
                    Step::Wait => {
                        race.failed(running.pop().unwrap(), ErrorKind::TimedOut.into(), now);
                    }
                    Step::Failed => break,
                }
            }
            prop_assert!(running.is_empty());
            let preferred = addresses.first().map(is_v6);
            let of_family = |addresses: &[Address], first: bool| -> Vec<Address> {
                let matches = |address: &&Address| (Some(is_v6(address)) == preferred) == first;
                addresses.iter().filter(matches).cloned().collect()
            };
            for first in [true, false] {
                prop_assert_eq!(of_family(&tried, first), of_family(&addresses, first));
            }
            let both = 2 * of_family(&addresses, true).len().min(of_family(&addresses, false).len());
            for (place, address) in tried.iter().take(both).enumerate() {
                prop_assert_eq!(Some(is_v6(address)) == preferred, place % 2 == 0);
            }
        }
    }
}
