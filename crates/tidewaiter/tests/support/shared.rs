//! Takes over the sockets that another process shares.

#![expect(
    unsafe_code,
    reason = "a shared socket is a promise of the process that shares it"
)]

use std::io::{self, Read};
use std::os::windows::io::OwnedSocket;

use tidewaiter::port::SharedSocket;

/// Reads one socket from `input`, which only our own parent writes.
pub(crate) fn receive(mut input: impl Read) -> io::Result<OwnedSocket> {
    let mut bytes = [0; SharedSocket::BYTES];
    input.read_exact(&mut bytes)?;
    // SAFETY: the parent made the bytes for this process, and they are read once.
    unsafe { SharedSocket::open(&bytes) }
}
