//! A receive that is kept under way, and the bytes that it delivered.

use tidewaiter::port::{Failure, Handle, Operation, Outcome};

use super::harness::Harness;

/// Receives from a handle until its end, or until stopped.
pub(crate) struct Reader {
    operation: Operation,
    bytes: Vec<u8>,
    end: Option<Result<(), Failure>>,
}

impl Reader {
    #[track_caller]
    pub(crate) fn new(harness: &mut Harness, handle: Handle) -> Reader {
        Reader {
            operation: harness.receive(handle),
            bytes: Vec::new(),
            end: None,
        }
    }

    /// Takes in the completions delivered so far. Returns whether there were any.
    pub(crate) fn absorb(&mut self, harness: &mut Harness) -> bool {
        let mut any = false;
        while let Some(completion) = harness.arrived(self.operation) {
            any = true;
            match completion.result {
                Ok(Outcome::Received(buffer)) => self.bytes.extend_from_slice(&buffer),
                Ok(Outcome::EndOfFile) => self.end = Some(Ok(())),
                Err(failure) => self.end = Some(Err(failure)),
                Ok(other) => panic!("no answer to a receive: {other:?}"),
            }
        }
        any
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Waits for `count` bytes and takes them.
    #[track_caller]
    pub(crate) fn take(&mut self, harness: &mut Harness, count: usize) -> Vec<u8> {
        harness.until("bytes to arrive", |harness| {
            self.absorb(harness);
            assert!(
                self.bytes.len() >= count || self.end.is_none(),
                "{} of {count} bytes, then {:?}",
                self.bytes.len(),
                self.end
            );
            self.bytes.len() >= count
        });
        self.bytes.drain(..count).collect()
    }

    /// Waits for `mark`, and drops it and all bytes before it.
    #[track_caller]
    pub(crate) fn skip_past(&mut self, harness: &mut Harness, mark: &[u8]) {
        let mut end = mark.is_empty().then_some(0);
        harness.until("a mark", |harness| {
            self.absorb(harness);
            let found = self.bytes.windows(mark.len().max(1));
            end = end.or_else(|| Some(mark.len() + found.clone().position(|part| part == mark)?));
            assert!(end.is_some() || self.end.is_none(), "{:?}", self.end);
            end.is_some()
        });
        self.bytes.drain(..end.expect("`until` ended"));
    }

    /// Waits for the end. Returns the bytes before it, and whether it was an orderly end.
    #[track_caller]
    pub(crate) fn read_to_end(mut self, harness: &mut Harness) -> (Vec<u8>, Result<(), Failure>) {
        harness.until("the end of a stream", |harness| {
            self.absorb(harness);
            self.end.is_some()
        });
        (self.bytes, self.end.expect("`until` ended"))
    }

    /// Cancels the receive. Returns the bytes that arrived and were not taken.
    #[track_caller]
    pub(crate) fn stop(self, harness: &mut Harness) -> Vec<u8> {
        harness.port.cancel(self.operation);
        let (bytes, end) = self.read_to_end(harness);
        assert!(matches!(end, Err(Failure::Cancelled)), "{end:?}");
        bytes
    }
}

/// Receives exactly `count` bytes.
#[track_caller]
pub(crate) fn receive_exactly(harness: &mut Harness, handle: Handle, count: usize) -> Vec<u8> {
    let mut reader = Reader::new(harness, handle);
    let bytes = reader.take(harness, count);
    assert_eq!(reader.stop(harness), b"", "no more than was sent");
    bytes
}
