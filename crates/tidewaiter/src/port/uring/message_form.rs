//! The form of a received message in a buffer.

use std::mem::MaybeUninit;

use libc::msghdr;

use super::super::messages::NAME_BYTES;
use super::super::source::Source;
use super::probe::Abilities;

/// The room in a buffer for the control data of a message.
const CONTROL_BYTES: usize = 128;

/// Where the payload begins in a buffer: behind the kernel's header, the sender's name and the control data.
pub(super) const PAYLOAD: usize = 16 + NAME_BYTES + CONTROL_BYTES;

/// The size of a buffer: the largest datagram, or run of datagrams, fits.
pub(super) const BUFFER_BYTES: usize = (PAYLOAD + 64 * 1024).next_multiple_of(64);

/// The form in which the kernel writes messages into buffers: only the lengths of the name and of the control data count.
static FORM: Form = Form(lengths());

struct Form(msghdr);

// SAFETY: nobody writes to it, and its pointers are null.
unsafe impl Sync for Form {}

#[expect(clippy::cast_possible_truncation, reason = "names are small")]
const fn lengths() -> msghdr {
    // SAFETY: a msghdr of zeros is a valid one: null pointers and lengths of zero.
    let mut form: msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    form.msg_namelen = NAME_BYTES as libc::socklen_t;
    form.msg_controllen = CONTROL_BYTES;
    form
}

pub(super) fn form() -> &'static msghdr {
    &FORM.0
}

/// Whether the kernel writes messages from this handle into its buffers: those of a UDP socket, if it receives many by one
/// request.
pub(super) fn is_for(source: &Source, abilities: Abilities) -> bool {
    let is_udp = matches!(source, Source::Datagrams(socket) if socket.is_udp());
    is_udp && abilities.multishot_receive
}
