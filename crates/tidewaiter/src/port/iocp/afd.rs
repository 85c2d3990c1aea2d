//! Readiness of sockets: polls of AFD, the driver below Winsock, whose packets arrive on the port.
//!
//! Microsoft does not document these polls, but `select` itself consists of them, and libuv, mio and wepoll rest on
//! them. They need no thread, and there is no limit to their number.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{self, NonNull};
use std::rc::Rc;

use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{FILE_OPEN, NtCancelIoFileEx, NtCreateFile};
use windows_sys::Wdk::System::IO::NtDeviceIoControlFile;
use windows_sys::Win32::Foundation::{
    HANDLE, NTSTATUS, STATUS_CANCELLED, STATUS_INVALID_HANDLE, STATUS_PENDING, UNICODE_STRING,
};
use windows_sys::Win32::Networking::WinSock::{
    SIO_BASE_HANDLE, SIO_BSP_HANDLE, SIO_BSP_HANDLE_POLL, SIO_BSP_HANDLE_SELECT, SOCKET,
    SOCKET_ERROR, WSAENOTSOCK, WSAIoctl,
};
use windows_sys::Win32::Storage::FileSystem::{FILE_SHARE_READ, FILE_SHARE_WRITE, SYNCHRONIZE};
use windows_sys::Win32::System::IO::{IO_STATUS_BLOCK, IO_STATUS_BLOCK_0};

use super::queue::{Queue, poll_context};
use super::wait::check;
use crate::port::table::Key;
use crate::port::{Interest, RawDescriptor, Readiness};

/// The name of a device of AFD; what follows the third backslash is ours to choose.
const DEVICE_NAME: &[u16] = &utf16(br"\Device\Afd\Tidewaiter");

/// The number of the call that polls.
const IOCTL_AFD_POLL: u32 = 0x0001_2024;

/// The most sockets that share a device. Cancelling takes longer the more polls are under way on a device.
const SOCKETS_PER_DEVICE: usize = 32;

const RECEIVE: u32 = 1 << 0;
const SEND: u32 = 1 << 2;
/// The peer sends no more.
const DISCONNECT: u32 = 1 << 3;
/// The connection was reset.
const ABORT: u32 = 1 << 4;
/// The last handle of the socket was closed.
const LOCAL_CLOSE: u32 = 1 << 5;
const ACCEPT: u32 = 1 << 7;
const CONNECT_FAIL: u32 = 1 << 8;

/// The events of a poll for `interest`.
pub(super) const fn events_for(interest: Interest) -> u32 {
    let mut events = ABORT | LOCAL_CLOSE | CONNECT_FAIL;
    if interest.readable {
        events |= RECEIVE | DISCONNECT | ACCEPT;
    }
    if interest.writable {
        events |= SEND;
    }
    events
}

/// The readiness that `events` mean. A reset and a failed attempt to connect end every call with an error at once, so
/// they make a socket ready in both directions.
const fn readiness_of(events: u32) -> Readiness {
    let failed = events & (ABORT | CONNECT_FAIL) != 0;
    Readiness {
        readable: failed || events & (RECEIVE | DISCONNECT | ACCEPT) != 0,
        writable: failed || events & SEND != 0,
        hang_up: failed,
        error: failed,
        closed: events & LOCAL_CLOSE != 0,
    }
}

/// A handle of AFD that belongs to the port and no socket: sockets of the program cannot join the port.
#[derive(Debug)]
pub(super) struct Device(OwnedHandle);

impl Device {
    fn open(queue: &Queue) -> io::Result<Device> {
        let bytes = u16::try_from(size_of_val(DEVICE_NAME)).expect("the name is short");
        let name = UNICODE_STRING {
            Length: bytes,
            MaximumLength: bytes,
            Buffer: DEVICE_NAME.as_ptr().cast_mut(),
        };
        let attributes = OBJECT_ATTRIBUTES {
            Length: u32::try_from(size_of::<OBJECT_ATTRIBUTES>()).expect("it is small"),
            ObjectName: &raw const name,
            ..OBJECT_ATTRIBUTES::default()
        };
        let (mut handle, mut status): (HANDLE, _) = (ptr::null_mut(), IO_STATUS_BLOCK::default());
        // SAFETY: the call reads the attributes and the name, writes the handle and the status, and keeps none of
        // these addresses.
        check(unsafe {
            NtCreateFile(
                &raw mut handle,
                SYNCHRONIZE,
                &raw const attributes,
                &raw mut status,
                ptr::null(),
                0,
                FILE_SHARE_READ | FILE_SHARE_WRITE,
                FILE_OPEN,
                0,
                ptr::null(),
                0,
            )
        })?;
        // SAFETY: the call created this handle just now, and nothing else owns it.
        let device = unsafe { OwnedHandle::from_raw_handle(handle) };
        queue.associate_polls(device.as_raw_handle())?;
        Ok(Device(device))
    }

    /// Polls `socket` once; the packet names `operation`.
    pub(super) fn poll(&self, socket: SOCKET, events: u32, operation: Key) -> io::Result<LentPoll> {
        let record = NonNull::from(Box::leak(Box::new(Poll::new(socket, events))));
        let lent = LentPoll { record, events };
        let info = lent.info();
        let bytes = u32::try_from(size_of::<PollInfo>()).expect("it is small");
        // SAFETY: the device is open. The status and the list belong to the lent record, which stays allocated until
        // the packet; AFD reads and writes the list within its size. The context is a number that comes back in
        // the packet.
        let status = unsafe {
            NtDeviceIoControlFile(
                self.0.as_raw_handle(),
                ptr::null_mut(),
                None,
                poll_context(operation),
                lent.status(),
                IOCTL_AFD_POLL,
                info.cast(),
                bytes,
                info.cast(),
                bytes,
            )
        };
        match check(status) {
            Ok(()) => Ok(lent),
            Err(error) => {
                // SAFETY: the call failed outright, which posts no packet: AFD is done with the record.
                drop(unsafe { lent.reclaim() });
                Err(error)
            }
        }
    }
}

/// The devices of a port: as many as its watches need.
#[derive(Default)]
pub(super) struct Devices(Vec<Rc<Device>>);

impl Devices {
    /// A device that has room for a further socket.
    pub(super) fn share(&mut self, queue: &Queue) -> io::Result<Rc<Device>> {
        let shared = (self.0.iter()).find(|device| Rc::strong_count(device) <= SOCKETS_PER_DEVICE);
        if let Some(device) = shared {
            return Ok(Rc::clone(device));
        }
        let device = Rc::new(Device::open(queue)?);
        self.0.push(Rc::clone(&device));
        Ok(device)
    }
}

/// The list that AFD reads, and writes back with the events that occurred.
#[repr(C)]
struct PollInfo {
    timeout: i64,
    count: u32,
    exclusive: u32,
    socket: SOCKET,
    events: u32,
    status: NTSTATUS,
}

/// All memory that AFD may access for a poll.
#[repr(C)]
struct Poll {
    status: IO_STATUS_BLOCK,
    info: PollInfo,
}

impl Poll {
    fn new(socket: SOCKET, events: u32) -> Poll {
        Poll {
            status: IO_STATUS_BLOCK {
                Anonymous: IO_STATUS_BLOCK_0 {
                    Status: STATUS_PENDING,
                },
                Information: 0,
            },
            info: PollInfo {
                timeout: i64::MAX,
                count: 1,
                exclusive: 0,
                socket,
                events,
                status: 0,
            },
        }
    }
}

/// The result of a poll.
#[derive(Debug)]
pub(super) enum PollResult {
    Ready(Readiness),
    /// It was cancelled.
    Cancelled,
    Failed(io::Error),
}

/// A poll under way: AFD owns its memory. Dropping this leaks it, which is the last resort if Windows does not return it.
#[must_use = "AFD holds the record until its packet is seen"]
pub(super) struct LentPoll {
    record: NonNull<Poll>,
    /// The events that were asked for.
    pub(super) events: u32,
}

impl LentPoll {
    fn status(&self) -> *mut IO_STATUS_BLOCK {
        let record = self.record.as_ptr();
        // SAFETY: the record is leaked, so it is alive; this takes an address inside it, not a reference.
        unsafe { &raw mut (*record).status }
    }

    fn info(&self) -> *mut PollInfo {
        let record = self.record.as_ptr();
        // SAFETY: the record is leaked, so it is alive; this takes an address inside it, not a reference.
        unsafe { &raw mut (*record).info }
    }

    /// Asks AFD to cancel the poll. Its packet still arrives, if it has not yet.
    pub(super) fn cancel(&self, device: &Device) {
        let mut status = IO_STATUS_BLOCK::default();
        // SAFETY: the device is open; the address of our status only identifies the poll. A failure means that it has
        // already completed.
        unsafe { NtCancelIoFileEx(device.0.as_raw_handle(), self.status(), &raw mut status) };
    }

    /// Takes the memory back after the packet, and returns what came of the poll.
    ///
    /// # Safety
    ///
    /// The packet of this poll was taken off the port.
    pub(super) unsafe fn finished(self) -> PollResult {
        // SAFETY: a poll has one packet, and the caller has received it.
        let poll = unsafe { self.reclaim() };
        // SAFETY: AFD has written the status; a status fits every value of its bytes.
        let status = unsafe { poll.status.Anonymous.Status };
        match check(status) {
            _ if status == STATUS_CANCELLED => PollResult::Cancelled,
            _ if status == STATUS_INVALID_HANDLE => PollResult::Ready(readiness_of(LOCAL_CLOSE)),
            Err(error) => PollResult::Failed(error),
            // No socket in the list: none was ready.
            Ok(()) if poll.info.count == 0 => PollResult::Cancelled,
            Ok(()) => PollResult::Ready(readiness_of(poll.info.events)),
        }
    }

    /// Takes the record back.
    ///
    /// # Safety
    ///
    /// AFD no longer reads or writes the record.
    unsafe fn reclaim(self) -> Box<Poll> {
        // SAFETY: `Device::poll` leaked this very box, and nothing else refers to it (caller).
        unsafe { Box::from_raw(self.record.as_ptr()) }
    }
}

/// The socket of Windows's own provider behind `socket`, over which others may be layered.
pub(super) fn base_socket(socket: RawDescriptor) -> io::Result<SOCKET> {
    let Ok(socket) = SOCKET::try_from(socket) else {
        return Err(io::Error::from_raw_os_error(WSAENOTSOCK));
    };
    let refusal = match related_socket(socket, SIO_BASE_HANDLE) {
        Ok(base) => return Ok(base),
        Err(refusal) => refusal,
    };
    // No provider should intercept that call, but one does. A different answer to one of these calls is the base.
    [SIO_BSP_HANDLE_POLL, SIO_BSP_HANDLE_SELECT, SIO_BSP_HANDLE]
        .into_iter()
        .filter_map(|call| related_socket(socket, call).ok())
        .find(|base| *base != socket)
        .ok_or(refusal)
}

fn related_socket(socket: SOCKET, call: u32) -> io::Result<SOCKET> {
    let (mut related, mut bytes): (SOCKET, u32) = (0, 0);
    let room = u32::try_from(size_of::<SOCKET>()).expect("a socket is small");
    // SAFETY: Winsock refuses a number that is no socket; it writes a socket within its size, and all of it outlives
    // the call, which is synchronous without an OVERLAPPED.
    let failed = unsafe {
        WSAIoctl(
            socket,
            call,
            ptr::null(),
            0,
            (&raw mut related).cast(),
            room,
            &raw mut bytes,
            ptr::null_mut(),
            None,
        )
    };
    if failed == SOCKET_ERROR {
        return Err(io::Error::last_os_error());
    }
    Ok(related)
}

const fn utf16<const LENGTH: usize>(text: &[u8; LENGTH]) -> [u16; LENGTH] {
    let (mut wide, mut at) = ([0; LENGTH], 0);
    while at < LENGTH {
        wide[at] = text[at] as u16;
        at += 1;
    }
    wide
}

#[cfg(test)]
mod tests {
    use super::{ABORT, DISCONNECT, LOCAL_CLOSE, RECEIVE, SEND, events_for, readiness_of};
    use crate::port::{Interest, Readiness};

    #[test]
    fn an_end_of_file_is_readable_and_only_asked_for_by_readers() {
        assert_eq!(events_for(Interest::READABLE) & DISCONNECT, DISCONNECT);
        assert_eq!(events_for(Interest::WRITABLE) & DISCONNECT, 0);
        let readable = Readiness {
            readable: true,
            ..Readiness::default()
        };
        assert_eq!(readiness_of(DISCONNECT), readable);
        assert_eq!(readiness_of(RECEIVE), readable);
    }

    #[test]
    fn resets_and_closes_are_always_asked_for() {
        for interest in [Interest::NONE, Interest::READABLE, Interest::WRITABLE] {
            let always = ABORT | LOCAL_CLOSE;
            assert_eq!(events_for(interest) & always, always, "{interest:?}");
        }
        assert!(readiness_of(LOCAL_CLOSE | SEND).closed);
    }
}
