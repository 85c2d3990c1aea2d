//! The parts of a queue of bytes that are sent apart from each other, and the descriptors that go with them.

use std::collections::VecDeque;

use crate::os::OwnedDescriptor;

/// The most descriptors that go with one message: Linux's limit.
pub(crate) const DESCRIPTORS_MAX: usize = 253;

/// The messages of a queue, which together have all its bytes.
#[derive(Debug, Default)]
pub(super) struct Messages(VecDeque<Message>);

#[derive(Debug, Default)]
struct Message {
    len: usize,
    /// They go with the first byte. Dropping them closes them.
    descriptors: Vec<OwnedDescriptor>,
}

impl Messages {
    /// One message without descriptors, or none if it would be empty.
    pub(super) fn plain(len: usize) -> Messages {
        let mut messages = Messages::default();
        if len > 0 {
            messages.grow(len);
        }
        messages
    }

    /// Begins another message. It takes the place of the last one if that is empty.
    pub(super) fn begin(&mut self, descriptors: Vec<OwnedDescriptor>) {
        if self.0.back().is_some_and(|last| last.len == 0) {
            self.0.pop_back();
        }
        self.0.push_back(Message {
            len: 0,
            descriptors,
        });
    }

    /// Makes the last byte a message with these descriptors. Gives them back if there is no byte, or if it has descriptors.
    pub(super) fn attach(
        &mut self,
        descriptors: Vec<OwnedDescriptor>,
    ) -> Result<(), Vec<OwnedDescriptor>> {
        match self.0.back_mut() {
            Some(last) if last.len > 1 => {
                last.len -= 1;
                self.0.push_back(Message {
                    len: 1,
                    descriptors,
                });
                Ok(())
            }
            Some(last) if last.len == 1 && last.descriptors.is_empty() => {
                last.descriptors = descriptors;
                Ok(())
            }
            _ => Err(descriptors),
        }
    }

    /// Adds bytes to the last message.
    pub(super) fn grow(&mut self, len: usize) {
        if self.0.is_empty() {
            self.0.push_back(Message::default());
        }
        if let Some(last) = self.0.back_mut() {
            last.len += len;
        }
    }

    /// The length and the descriptors of the first message.
    pub(super) fn first(&self) -> Option<(usize, &[OwnedDescriptor])> {
        let first = self.0.front()?;
        Some((first.len, &first.descriptors))
    }

    /// Takes the descriptors of the first message.
    pub(super) fn take_descriptors(&mut self) -> Vec<OwnedDescriptor> {
        let first = self.0.front_mut();
        first.map_or_else(Vec::new, |first| std::mem::take(&mut first.descriptors))
    }

    /// Removes the first `count` bytes, with the descriptors that go with one of them.
    pub(super) fn take_off(&mut self, count: usize) {
        drop(self.split_front(count));
    }

    /// Moves the first `count` bytes, with the descriptors that go with one of them, to messages of their own.
    pub(super) fn split_front(&mut self, mut count: usize) -> Messages {
        let mut front = Messages::default();
        while count > 0
            && let Some(first) = self.0.front_mut()
        {
            let len = count.min(first.len);
            count -= len;
            first.len -= len;
            front.0.push_back(Message {
                len,
                descriptors: std::mem::take(&mut first.descriptors),
            });
            if first.len == 0 {
                self.0.pop_front();
            }
        }
        front
    }

    /// Moves the messages of `others` to the front.
    pub(super) fn put_back(&mut self, others: Messages) {
        for message in others.0.into_iter().rev() {
            self.0.push_front(message);
        }
    }
}
