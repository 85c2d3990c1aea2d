//! All bytes sent arrive: every byte, in order, once.

use bytes::Bytes;
use tidewaiter::port::{Chunks, Failure, Handle, Operation, Outcome};

use crate::MUCH;
use crate::support::harness::Harness;
use crate::support::random::Random;

/// The length of the pattern that is sent over and over: a prime, so that it never aligns with any buffer.
const PATTERN_LEN: usize = 65_521;

fn pattern(seed: u64) -> Bytes {
    let mut random = Random::new(seed);
    (0..PATTERN_LEN)
        .map(|_| u8::try_from(random.below(256)).expect("a byte"))
        .collect()
}

/// Up to `size` bytes of the repeated pattern, from `offset` on.
fn piece(pattern: &Bytes, offset: usize, size: usize) -> Bytes {
    let start = offset % PATTERN_LEN;
    pattern.slice(start..PATTERN_LEN.min(start + size))
}

#[track_caller]
fn assert_continues(pattern: &Bytes, mut offset: usize, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let expected = piece(pattern, offset, bytes.len());
        let (part, rest) = bytes.split_at(expected.len());
        assert!(part == expected, "wrong bytes from {offset} on");
        offset += part.len();
        bytes = rest;
    }
}

/// One direction of a connection.
struct Flow {
    from: Handle,
    to: Handle,
    pattern: Bytes,
    total: usize,
    /// The number of bytes that the OS took.
    sent: usize,
    received: usize,
    /// The bytes to send next; begins at `sent`.
    queue: Chunks,
    sending: Option<Operation>,
    receiving: Option<Operation>,
    cancels: usize,
}

impl Flow {
    fn new(from: Handle, to: Handle, seed: u64, total: usize) -> Flow {
        Flow {
            from,
            to,
            pattern: pattern(seed),
            total,
            sent: 0,
            received: 0,
            queue: Chunks::new(),
            sending: None,
            receiving: None,
            cancels: 0,
        }
    }

    fn is_done(&self) -> bool {
        self.received == self.total
    }

    /// Submits a send or a receive where none is under way, and checks the bytes that were delivered.
    fn step(&mut self, harness: &mut Harness, random: &mut Random) {
        self.finish_receiving(harness);
        self.finish_sending(harness);
        if self.sending.is_none() && self.sent < self.total {
            self.fill(random);
            let chunks = std::mem::take(&mut self.queue);
            self.sending = Some(harness.send(self.from, chunks));
        }
        if self.is_done() {
            return;
        }
        match self.receiving {
            None => self.receiving = Some(harness.receive(self.to)),
            Some(receiving) if random.below(8) == 0 => {
                harness.port.cancel(receiving);
                self.cancels += 1;
            }
            Some(_) => {}
        }
    }

    /// Adds up to a dozen pieces of random size, shared or copied.
    fn fill(&mut self, random: &mut Random) {
        for _ in 0..=random.below(12) {
            let offset = self.sent + self.queue.len();
            let size = random.below(40_000).min(self.total - offset);
            let piece = piece(&self.pattern, offset, size);
            if random.below(4) == 0 {
                self.queue.extend_from_slice(&piece);
            } else {
                self.queue.push(piece);
            }
        }
        if self.queue.is_empty() {
            self.queue.push(piece(&self.pattern, self.sent, 1));
        }
    }

    fn finish_sending(&mut self, harness: &mut Harness) {
        let Some(completion) = self.sending.and_then(|sending| harness.arrived(sending)) else {
            return;
        };
        let Ok(Outcome::Sent { bytes }) = completion.result else {
            panic!("it cannot be sent: {completion:?}");
        };
        self.sent += bytes;
        let mut offset = self.sent;
        for slice in completion.unsent.slices() {
            assert_continues(&self.pattern, offset, slice);
            offset += slice.len();
        }
        self.queue = completion.unsent;
        self.sending = None;
    }

    fn finish_receiving(&mut self, harness: &mut Harness) {
        while let Some(receiving) = self.receiving {
            let Some(completion) = harness.arrived(receiving) else {
                return;
            };
            match completion.result {
                Ok(Outcome::Received(buffer)) => {
                    assert_continues(&self.pattern, self.received, &buffer);
                    self.received += buffer.len();
                }
                Err(Failure::Cancelled) => self.receiving = None,
                other => panic!("nothing ends this stream: {other:?}"),
            }
        }
    }
}

/// Sends `total` bytes both ways on each of `count` connections, all at once.
fn exchange(count: usize, total: usize, seed: u64) {
    let mut harness = Harness::new();
    let mut random = Random::new(seed);
    let mut flows = Vec::new();
    for (number, (client, server)) in (0u64..).zip(harness.pairs(count)) {
        flows.push(Flow::new(client, server, seed + 2 * number, total));
        flows.push(Flow::new(server, client, seed + 2 * number + 1, total));
    }
    harness.until("every byte", |harness| {
        for flow in &mut flows {
            flow.step(harness, &mut random);
        }
        flows.iter().all(Flow::is_done)
    });
    for flow in &flows {
        assert_eq!(flow.received, total, "no more than was sent");
        assert!(
            total < 1 << 20 || flow.cancels > 0,
            "receives were cancelled"
        );
    }
    harness.finish();
}

#[test]
fn much_data_in_random_pieces_both_ways_arrives_in_order_despite_cancels() {
    exchange(1, MUCH, 3);
}

#[test]
fn many_connections_at_once_keep_their_bytes_apart() {
    exchange(50, 100_000, 5);
}

#[test]
fn a_partial_send_returns_the_unsent_bytes() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    let pattern = pattern(7);
    let mut sent = 0;
    // Nobody receives, so the OS sooner or later takes only a part, or nothing.
    let stuck = loop {
        let mut chunks = Chunks::new();
        while chunks.len() < 1 << 20 {
            chunks.push(piece(&pattern, sent + chunks.len(), 50_000));
        }
        let sending = harness.send(client, chunks);
        while harness.is_live(sending)
            && harness.turn(Some(std::time::Duration::from_millis(200))) > 0
        {}
        if harness.is_live(sending) {
            break sending;
        }
        let (bytes, rest) = harness.sent(sending);
        sent += bytes;
        let mut offset = sent;
        for slice in rest.slices() {
            assert_continues(&pattern, offset, slice);
            offset += slice.len();
        }
    };
    let receiving = harness.receive(server);
    let (mut received, mut all_sent) = (0, None);
    harness.until("all that was sent", |harness| {
        while let Some(completion) = harness.arrived(receiving) {
            let Ok(Outcome::Received(buffer)) = completion.result else {
                panic!("bytes should have arrived: {completion:?}");
            };
            assert_continues(&pattern, received, &buffer);
            received += buffer.len();
        }
        if let Some(completion) = harness.arrived(stuck) {
            let Ok(Outcome::Sent { bytes, .. }) = completion.result else {
                panic!("it cannot be sent: {completion:?}");
            };
            all_sent = Some(sent + bytes);
        }
        all_sent == Some(received)
    });
    harness.finish();
}

#[test]
fn a_send_of_very_many_small_pieces_keeps_their_order() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    let pattern = pattern(9);
    let mut chunks = Chunks::new();
    while chunks.len() < 20_000 {
        let offset = chunks.len();
        chunks.push(piece(&pattern, offset, 3));
    }
    let total = chunks.len();
    let mut reader = crate::support::reader::Reader::new(&mut harness, server);
    while !chunks.is_empty() {
        let sending = harness.send(client, chunks);
        chunks = harness.sent(sending).1;
    }
    assert_continues(&pattern, 0, &reader.take(&mut harness, total));
    harness.finish();
}
