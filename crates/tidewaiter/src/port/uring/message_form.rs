//! The form of a received message in a buffer.

use std::mem::MaybeUninit;

use super::super::messages::NAME_BYTES;
use super::super::source::Source;
use super::pinned::Pinned;
use super::probe::Abilities;

/// The room in a buffer for the control data of a message.
const CONTROL_BYTES: usize = 128;

/// Where the payload begins in a buffer: behind the kernel's header, the sender's name and the control data.
pub(super) const PAYLOAD: usize = 16 + NAME_BYTES + CONTROL_BYTES;

/// The size of a buffer: the largest datagram, or run of datagrams, fits.
pub(super) const BUFFER_BYTES: usize = (PAYLOAD + 64 * 1024).next_multiple_of(64);

/// The form in which the kernel is to write messages of a UDP socket into its buffers; `None` for other sockets, and if it
/// does not receive many by one request.
pub(super) fn form(source: &Source, abilities: Abilities) -> Option<Pinned<libc::msghdr>> {
    let is_udp = matches!(source, Source::Datagrams(socket) if socket.is_udp());
    if !is_udp || !abilities.multishot_receive {
        return None;
    }
    // SAFETY: a msghdr of zeros is a valid one: null pointers and lengths of zero.
    let mut form: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    form.msg_namelen = NAME_BYTES.try_into().expect("names are small");
    form.msg_controllen = CONTROL_BYTES;
    Some(Pinned::new(form))
}
