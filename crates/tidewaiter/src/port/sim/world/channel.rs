//! Bytes in transit, in one direction.

use std::collections::VecDeque;
use std::io;

use super::World;
use super::event::{Delivery, Event};
use crate::os::OwnedDescriptor;
use crate::port::table::Key;

/// One direction of a connection, or a pipe.
#[derive(Debug)]
pub(crate) struct Channel {
    bytes: VecDeque<u8>,
    capacity: usize,
    readers: usize,
    writers: usize,
    /// The children that hold one of the ends.
    children: Vec<Key>,
    /// The lengths of the messages, of which the first may have been received in part; `None` if there are only bytes.
    messages: Option<VecDeque<usize>>,
    /// The descriptors on their way, each with the number of bytes that were sent before the byte that they go with.
    passed: VecDeque<(u64, Vec<OwnedDescriptor>)>,
    /// The number of bytes that were sent and are gone.
    gone: u64,
}

impl Channel {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }

    pub(crate) fn is_readable(&self) -> bool {
        !self.bytes.is_empty() || self.writers == 0
    }

    /// The length of the first message, or of what is left of it.
    pub(crate) fn first_message(&self) -> Option<usize> {
        self.messages.as_ref()?.front().copied()
    }

    /// The number of bytes that can be received at once: none come together with descriptors of two sends.
    pub(crate) fn receivable(&self) -> usize {
        let second = self.passed.get(1).map(|&(at, _)| at - self.gone);
        let second = second.and_then(|bytes| usize::try_from(bytes).ok());
        second.map_or(self.len(), |bytes| bytes.min(self.len()))
    }

    /// Takes in the first `most` bytes of `pieces` as one message; returns how many there were.
    fn put<'b>(&mut self, pieces: impl Iterator<Item = &'b [u8]>, most: usize) -> usize {
        let mut left = most;
        for piece in pieces {
            let count = left.min(piece.len());
            self.bytes.extend(&piece[..count]);
            left -= count;
            if left == 0 {
                break;
            }
        }
        let count = most - left;
        if let Some(messages) = &mut self.messages
            && count > 0
        {
            messages.push_back(count);
        }
        count
    }

    /// Drops the bytes in transit, and the descriptors that go with them.
    fn clear(&mut self) {
        self.gone += size(self.bytes.len());
        self.bytes.clear();
        self.passed.clear();
        if let Some(messages) = &mut self.messages {
            messages.clear();
        }
    }

    /// Takes note of bytes that were received, of however many messages.
    fn bytes_went(&mut self, mut bytes: usize) {
        self.gone += size(bytes);
        let Some(messages) = &mut self.messages else {
            return;
        };
        while let Some(first) = messages.front_mut()
            && bytes > 0
        {
            let taken = bytes.min(*first);
            bytes -= taken;
            *first -= taken;
            if *first == 0 {
                messages.pop_front();
            }
        }
    }

    pub(crate) fn has_reader(&self) -> bool {
        self.readers > 0
    }

    pub(crate) fn has_writer(&self) -> bool {
        self.writers > 0
    }
}

/// The kind of a channel's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelEnd {
    Reader,
    Writer,
}

impl World {
    /// Opens a channel with one reader and one writer.
    pub(crate) fn open_channel(&mut self) -> Key {
        self.channels.insert(Channel {
            bytes: VecDeque::new(),
            capacity: self.faults.capacity.max(1),
            readers: 1,
            writers: 1,
            children: Vec::new(),
            messages: None,
            passed: VecDeque::new(),
            gone: 0,
        })
    }

    /// Makes each write to the channel a message.
    pub(super) fn keep_messages(&mut self, key: Key) {
        self.channel_mut(key).messages = Some(VecDeque::new());
    }

    /// The channel at `key`; the caller must hold one of its ends.
    pub(crate) fn channel(&self, key: Key) -> &Channel {
        self.channels.get(key).expect("a held channel is open")
    }

    fn channel_mut(&mut self, key: Key) -> &mut Channel {
        self.channels.get_mut(key).expect("a held channel is open")
    }

    /// Notes that `child` holds an end, and must get events about the channel.
    pub(super) fn watch_channel(&mut self, key: Key, child: Key) {
        self.channel_mut(key).children.push(child);
    }

    /// Adds a holder of an end.
    pub(super) fn share_channel(&mut self, key: Key, end: ChannelEnd) {
        let channel = self.channel_mut(key);
        match end {
            ChannelEnd::Reader => channel.readers += 1,
            ChannelEnd::Writer => channel.writers += 1,
        }
    }

    /// Removes a holder of an end. Without a reader the pipe is broken; without a writer it ends.
    pub(crate) fn release_channel(&mut self, key: Key, end: ChannelEnd) {
        let channel = self.channel_mut(key);
        let left = match end {
            ChannelEnd::Reader => &mut channel.readers,
            ChannelEnd::Writer => &mut channel.writers,
        };
        *left -= 1;
        if *left > 0 {
            return;
        }
        if channel.readers == 0 && channel.writers == 0 {
            self.channels.remove(key);
            return;
        }
        match end {
            ChannelEnd::Reader => {
                channel.clear();
                self.notify_children(key, Event::Room);
            }
            ChannelEnd::Writer => self.notify_children(key, Event::InputEnded),
        }
    }

    /// Moves bytes out into `space`, as many as there are and fit.
    pub(crate) fn read_channel(&mut self, key: Key, space: &mut [u8]) -> usize {
        let channel = self.channel_mut(key);
        let (front, back) = channel.bytes.as_slices();
        let from_front = space.len().min(front.len());
        let from_back = (space.len() - from_front).min(back.len());
        let count = from_front + from_back;
        space[..from_front].copy_from_slice(&front[..from_front]);
        space[from_front..count].copy_from_slice(&back[..from_back]);
        channel.bytes.drain(..count);
        channel.bytes_went(count);
        if count > 0 {
            self.notify_children(key, Event::Room);
        }
        count
    }

    /// Takes the first `most` bytes of `pieces`, or as many as there is room for.
    pub(super) fn write_channel<'b>(
        &mut self,
        key: Key,
        pieces: impl Iterator<Item = &'b [u8]>,
        most: usize,
    ) -> io::Result<usize> {
        let channel = self.channel_mut(key);
        if channel.readers == 0 {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        let count = channel.put(pieces, most.min(channel.room()));
        if count > 0 {
            self.notify_children(key, Event::Input);
        }
        Ok(count)
    }

    /// Takes the first `length` bytes of `pieces` as a message, even one that is larger than the channel.
    pub(super) fn write_message<'b>(
        &mut self,
        key: Key,
        pieces: impl Iterator<Item = &'b [u8]>,
        length: usize,
    ) -> io::Result<usize> {
        let channel = self.channel_mut(key);
        if channel.readers == 0 {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe));
        }
        Ok(channel.put(pieces, length))
    }

    /// Has descriptors go with the next byte that is sent.
    pub(super) fn pass_descriptors(&mut self, key: Key, descriptors: Vec<OwnedDescriptor>) {
        let channel = self.channel_mut(key);
        let before = channel.gone + size(channel.len());
        channel.passed.push_back((before, descriptors));
    }

    /// Takes the descriptors that came with bytes that were received.
    pub(crate) fn take_passed(&mut self, key: Key) -> Vec<OwnedDescriptor> {
        let channel = self.channel_mut(key);
        let mut taken = Vec::new();
        while let Some((at, descriptors)) = channel.passed.front_mut()
            && *at < channel.gone
        {
            taken.append(descriptors);
            channel.passed.pop_front();
        }
        taken
    }

    /// Drops the bytes in transit.
    pub(super) fn purge_channel(&mut self, key: Key) {
        // Both ends of a connection may be gone while it is being reset.
        if let Some(channel) = self.channels.get_mut(key) {
            channel.clear();
        }
    }

    fn notify_children(&mut self, key: Key, event: Event) {
        let channel = self.channels.get(key).expect("a held channel is open");
        for &child in &channel.children {
            if self.wants_event(child, key, event) {
                self.deliveries.push_back((child, Delivery::Event(event)));
            }
        }
    }
}

fn size(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("64 bits hold it")
}
