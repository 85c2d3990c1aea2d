//! The control data of a message: what the kernel says about it, and what it is told.

use std::ptr;

use libc::{c_int, c_void, cmsghdr, msghdr};

use crate::port::PacketInfo;

/// Room for all that the kernel says about one message.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(in super::super) struct Control([u8; 128]);

impl Control {
    pub(super) const SIZE: usize = size_of::<Control>();

    pub(super) const fn empty() -> Control {
        Control([0; 128])
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut c_void {
        self.0.as_mut_ptr().cast()
    }
}

/// The kernel's notes on a message.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    /// The size of each datagram that the kernel has joined; 0 for a single one.
    pub(super) segment: usize,
    pub(super) info: PacketInfo,
}

/// Calls `each` with the level, kind and data of each piece of control data.
///
/// # Safety
///
/// The kernel has filled the header, and its control data is still there.
pub(super) unsafe fn each_control(header: &msghdr, mut each: impl FnMut(c_int, c_int, &[u8])) {
    // SAFETY: the header's control data is readable, as the caller promises.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: the kernel wrote a piece of control data here, maybe at an address that is not aligned.
        let piece = unsafe { ptr::read_unaligned(next) };
        // SAFETY: the data of a piece follows its header.
        let data = unsafe { libc::CMSG_DATA(next) };
        // SAFETY: as above; this computes an offset.
        let head = unsafe { libc::CMSG_LEN(0) } as usize;
        let len = (piece.cmsg_len as usize).saturating_sub(head);
        // SAFETY: the kernel wrote `len` bytes of data there.
        let data = unsafe { std::slice::from_raw_parts(data, len) };
        each(piece.cmsg_level, piece.cmsg_type, data);
        // SAFETY: `next` is a piece of the header's control data.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
}

/// Reads a number of the kernel's from the beginning of `data`.
pub(super) fn number(data: &[u8]) -> Option<c_int> {
    Some(c_int::from_ne_bytes(data.first_chunk().copied()?))
}

/// The size of a value that is written.
const VALUE: u32 = 2;

/// Writes one piece of control data, which holds `value`, and returns the length of all.
pub(super) fn write_one(control: &mut Control, level: c_int, kind: c_int, value: u16) -> usize {
    let mut head: cmsghdr =
        // SAFETY: zeros are a valid value of this structure, which is plain numbers.
        unsafe { std::mem::zeroed() };
    // SAFETY: computes a number.
    head.cmsg_len = unsafe { libc::CMSG_LEN(VALUE) } as _;
    head.cmsg_level = level;
    head.cmsg_type = kind;
    let start = control.as_mut_ptr().cast::<cmsghdr>();
    // SAFETY: there is room for the header at the start of the control data, which is aligned for it.
    unsafe { start.write(head) };
    // SAFETY: the data follows the header, within the control data.
    let data = unsafe { libc::CMSG_DATA(start) };
    // SAFETY: there is room for two bytes.
    unsafe { data.cast::<u16>().write_unaligned(value) };
    // SAFETY: computes a number.
    unsafe { libc::CMSG_SPACE(VALUE) as usize }
}
