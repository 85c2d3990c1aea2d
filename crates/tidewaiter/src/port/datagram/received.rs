//! Datagrams that have arrived.

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::ops::{Deref, Range};
use std::rc::Rc;

use super::super::memory::Buffer;
use crate::os::Address;

/// Messages of at most this many bytes are copied out of their memory.
const COPIED_MAX: usize = 2048;

/// How many empty batches are kept for reuse.
const SPARE_MAX: usize = 32;

/// Datagrams that arrived on one socket: at least one, in their order.
///
/// Large ones lie in the port's receive buffers, which dropping this gives back: copy bytes that you keep for long.
///
/// ```
/// use tidewaiter::port::{Datagram, Datagrams};
/// use tidewaiter::{DatagramProtocol, DatagramTransport};
///
/// struct Counter(usize);
///
/// impl DatagramProtocol for Counter {
///     /// Takes all that arrived together, instead of one after the other.
///     fn datagrams_received(&mut self, _: &DatagramTransport, all: Datagrams) -> Option<Datagrams> {
///         self.0 += all.iter().map(|datagram| datagram.len()).sum::<usize>();
///         None
///     }
///
///     fn datagram_received(&mut self, _: &DatagramTransport, _: &Datagram<'_>) {}
/// }
/// ```
pub struct Datagrams {
    /// Boxed, because completions are moved often; there until the drop.
    batch: Option<Box<Batch>>,
    spare: Rc<SpareBatches>,
}

/// The datagrams of one call.
#[derive(Default)]
struct Batch {
    messages: Vec<Received>,
    /// The payloads of small messages, one after the other.
    copied: Vec<u8>,
}

/// One message of the OS: a datagram, or a run of datagrams from one sender that the OS joined.
pub(crate) struct Message {
    /// The memory that the message lies in.
    pub(crate) memory: Buffer,
    /// Where the payload begins in it. It reaches to the end.
    pub(crate) start: usize,
    /// The size of each datagram of a run, but for the last one, which may be smaller; 0 for a single datagram.
    pub(crate) segment: usize,
    pub(crate) sender: Option<Address>,
    pub(crate) info: Option<PacketInfo>,
}

/// A message in a batch.
struct Received {
    /// The memory that the payload lies in; `None` if it was copied.
    memory: Option<Buffer>,
    /// Where the payload lies in its memory, or among the copied bytes.
    range: Range<usize>,
    /// As [`Message::segment`].
    segment: usize,
    sender: Option<Address>,
    info: Option<PacketInfo>,
}

impl Received {
    /// The size by which the payload is cut into datagrams; never 0.
    fn step(&self) -> usize {
        match self.segment {
            0 => self.range.len().max(1),
            segment => segment,
        }
    }

    fn count(&self) -> usize {
        match self.segment {
            0 => 1,
            segment => self.range.len().div_ceil(segment).max(1),
        }
    }
}

impl Batch {
    fn payload<'a>(&'a self, message: &'a Received) -> &'a [u8] {
        let memory = message.memory.as_deref().unwrap_or(&self.copied);
        &memory[message.range.clone()]
    }
}

/// Empty batches, kept for their allocations.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "the boxes are what is kept")]
pub(crate) struct SpareBatches(RefCell<Vec<Box<Batch>>>);

impl Datagrams {
    /// Makes an empty list, with the allocation of one that is gone if there is any.
    pub(crate) fn new(spare: &Rc<SpareBatches>) -> Datagrams {
        Datagrams {
            batch: Some(spare.0.borrow_mut().pop().unwrap_or_default()),
            spare: Rc::clone(spare),
        }
    }

    fn batch(&self) -> &Batch {
        self.batch.as_ref().expect("it is there until the drop")
    }

    fn batch_mut(&mut self) -> &mut Batch {
        self.batch.as_mut().expect("it is there until the drop")
    }

    /// Whether messages of so many bytes are copied.
    pub(crate) fn copies(bytes: usize) -> bool {
        bytes <= COPIED_MAX
    }

    /// Appends a message. A small one is copied, and its memory given back.
    pub(crate) fn push(&mut self, message: Message) {
        let payload = &message.memory[message.start..];
        if Datagrams::copies(payload.len()) {
            return self.push_copy(payload, message.segment, message.sender, message.info);
        }
        self.batch_mut().messages.push(Received {
            range: message.start..message.memory.len(),
            memory: Some(message.memory),
            segment: message.segment,
            sender: message.sender,
            info: message.info,
        });
    }

    /// Appends a copy of a message, whose memory can then be used again at once. For small ones, this takes less time than
    /// to lend the memory, and a program that keeps them does not keep a buffer for each.
    pub(crate) fn push_copy(
        &mut self,
        payload: &[u8],
        segment: usize,
        sender: Option<Address>,
        info: Option<PacketInfo>,
    ) {
        let batch = self.batch_mut();
        let start = batch.copied.len();
        batch.copied.extend_from_slice(payload);
        batch.messages.push(Received {
            memory: None,
            range: start..start + payload.len(),
            segment,
            sender,
            info,
        });
    }

    /// The number of messages that hold the datagrams.
    pub(crate) fn messages(&self) -> usize {
        self.batch().messages.len()
    }

    /// The number of datagrams.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch().messages.iter().map(Received::count).sum()
    }

    /// The number of bytes in them.
    pub(crate) fn bytes(&self) -> usize {
        let messages = self.batch().messages.iter();
        messages.map(|message| message.range.len()).sum()
    }

    /// Whether there are none: never for those of a completion.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batch().messages.is_empty()
    }

    /// The datagrams, in the order of their arrival.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        let mut messages = self.batch().messages.iter();
        let mut run: Option<(&Received, &[u8])> = None;
        std::iter::from_fn(move || {
            let (message, rest) = match run.take() {
                Some(run) => run,
                None => {
                    let message = messages.next()?;
                    (message, self.batch().payload(message))
                }
            };
            let (bytes, behind) = rest.split_at(message.step().min(rest.len()));
            if !behind.is_empty() {
                run = Some((message, behind));
            }
            Some(Datagram { bytes, message })
        })
    }
}

/// The datagrams one by one, each with the memory that it lies in.
impl IntoIterator for Datagrams {
    type Item = OwnedDatagram;
    type IntoIter = OwnedDatagrams;

    fn into_iter(self) -> OwnedDatagrams {
        OwnedDatagrams {
            datagrams: Rc::new(self),
            message: 0,
            start: 0,
        }
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        if let Some(mut batch) = self.batch.take() {
            batch.messages.clear();
            batch.copied.clear();
            let mut spare = self.spare.0.borrow_mut();
            if spare.len() < SPARE_MAX {
                spare.push(batch);
            }
        }
    }
}

impl fmt::Debug for Datagrams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A datagram that has arrived: its bytes, maybe none, and what is known about it. It is never cut short.
#[derive(Clone, Copy)]
pub struct Datagram<'a> {
    bytes: &'a [u8],
    message: &'a Received,
}

impl<'a> Datagram<'a> {
    /// The datagram's bytes; there may be none.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The address that the datagram came from, to which an answer goes; `None` for the socket of a sender without a
    /// name.
    #[must_use]
    pub fn sender(&self) -> Option<&'a Address> {
        self.message.sender.as_ref()
    }

    /// The packet's other contents, if [`packet_info`](super::DatagramOptions::packet_info) asked for it.
    #[must_use]
    pub fn packet_info(&self) -> Option<&'a PacketInfo> {
        self.message.info.as_ref()
    }
}

impl Deref for Datagram<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

impl fmt::Debug for Datagram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Datagram");
        out.field("bytes", &self.bytes.len());
        out.field("sender", &self.sender());
        out.finish_non_exhaustive()
    }
}

/// A datagram that has arrived, with the memory that it lies in, which it shares with those that arrived with it.
///
/// ```
/// use tidewaiter::io::UdpSocket;
/// use tidewaiter::port::OwnedDatagram;
///
/// async fn next(socket: &UdpSocket) -> std::io::Result<OwnedDatagram> {
///     let datagram = socket.recv_datagram().await?;
///     println!("{} bytes from {:?}", datagram.len(), datagram.sender());
///     Ok(datagram)
/// }
/// ```
#[derive(Clone)]
pub struct OwnedDatagram {
    datagrams: Rc<Datagrams>,
    message: usize,
    /// Where it lies in the message.
    range: Range<usize>,
}

impl OwnedDatagram {
    /// The address that the datagram came from: see [`Datagram::sender`].
    #[must_use]
    pub fn sender(&self) -> Option<&Address> {
        self.message().sender.as_ref()
    }

    /// The packet's other contents: see [`Datagram::packet_info`].
    #[must_use]
    pub fn packet_info(&self) -> Option<&PacketInfo> {
        self.message().info.as_ref()
    }

    fn message(&self) -> &Received {
        &self.datagrams.batch().messages[self.message]
    }
}

/// The datagram's bytes; there may be none.
impl Deref for OwnedDatagram {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let payload = self.datagrams.batch().payload(self.message());
        &payload[self.range.clone()]
    }
}

impl fmt::Debug for OwnedDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, message) = (&**self, self.message());
        Datagram { bytes, message }.fmt(f)
    }
}

/// The datagrams that arrived together, one by one.
///
/// ```
/// use tidewaiter::port::{Datagrams, OwnedDatagrams};
///
/// /// Counts the datagrams that came from a port.
/// fn of_port(all: Datagrams, port: u16) -> usize {
///     let each: OwnedDatagrams = all.into_iter();
///     each.filter(|one| one.sender().and_then(|sender| sender.port()) == Some(port))
///         .count()
/// }
/// ```
#[derive(Debug)]
pub struct OwnedDatagrams {
    datagrams: Rc<Datagrams>,
    /// The message of the next one, and where it begins there.
    message: usize,
    start: usize,
}

impl Iterator for OwnedDatagrams {
    type Item = OwnedDatagram;

    fn next(&mut self) -> Option<OwnedDatagram> {
        let message = self.datagrams.batch().messages.get(self.message)?;
        let end = (self.start + message.step()).min(message.range.len());
        let next = OwnedDatagram {
            datagrams: Rc::clone(&self.datagrams),
            message: self.message,
            range: self.start..end,
        };
        self.start = end;
        if end == message.range.len() {
            self.message += 1;
            self.start = 0;
        }
        Some(next)
    }
}

/// A packet's contents besides its bytes, as far as the OS tells.
///
/// ```
/// use tidewaiter::port::{Datagram, Ecn, PacketInfo};
///
/// /// Whether the network was congested, with `DatagramOptions::packet_info` set.
/// fn was_congested(datagram: &Datagram<'_>) -> bool {
///     let ecn = |info: &PacketInfo| info.ecn == Some(Ecn::Congested);
///     datagram.packet_info().is_some_and(ecn)
/// }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PacketInfo {
    /// The address that the packet was sent to: one of this machine's, a multicast group or a broadcast address.
    pub destination: Option<IpAddr>,
    /// The index of the network interface on which the packet arrived.
    pub interface: Option<u32>,
    /// The packet's mark of congestion.
    pub ecn: Option<Ecn>,
}

/// Explicit congestion notification: what the network and the sender say about congestion (RFC 3168).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// The sender does not take part.
    NotCapable,
    /// The sender takes part: ECT(1).
    Capable1,
    /// The sender takes part: ECT(0).
    Capable0,
    /// The packet passed a router that was congested.
    Congested,
}

impl Ecn {
    /// Reads the mark from an IPv4 header's type of service, or an IPv6 header's traffic class.
    pub(crate) fn of_traffic_class(class: u8) -> Ecn {
        match class & 0b11 {
            0b00 => Ecn::NotCapable,
            0b01 => Ecn::Capable1,
            0b10 => Ecn::Capable0,
            _ => Ecn::Congested,
        }
    }
}
