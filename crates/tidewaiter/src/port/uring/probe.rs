//! Probes whether this machine allows io_uring, and what its kernel can do.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use io_uring::{Probe, opcode, squeue, types};

use super::super::file::{FileCall, FileCalls};
use super::buffers::{BufferRing, GROUP};
use super::refusal::refused;
use super::ring::{Cqe, IMMEDIATE, Ring, TaskWork, Wait};

/// Optional features of this kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abilities {
    /// One request receives many times (6.0).
    pub(super) multishot_receive: bool,
    /// One request reads a pipe many times (6.7).
    pub(super) multishot_read: bool,
    /// A process is awaited by pid (6.7).
    pub(super) wait_by_number: bool,
    /// A send that is not to wait completes at once, and tells that it has sent a part (6.1).
    pub(super) immediate_sends: bool,
    /// The calls on files.
    pub(super) file_calls: FileCalls,
}

/// The operations that the port cannot do without.
const NEEDED: [(&str, u8); 10] = [
    ("ACCEPT", opcode::AcceptMulti::CODE),
    ("CONNECT", opcode::Connect::CODE),
    ("RECV", opcode::Recv::CODE),
    ("READ", opcode::Read::CODE),
    ("SEND", opcode::Send::CODE),
    ("SENDMSG", opcode::SendMsg::CODE),
    ("WRITE", opcode::Write::CODE),
    ("WRITEV", opcode::Writev::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
];

/// The longest time that an operation with nothing to wait for may take before the ring counts as
/// broken.
const PATIENCE: Duration = Duration::from_secs(5);

/// Checks that the ring takes entries, and that the kernel knows the operations we need.
///
/// Setting up a ring proves little: a seccomp filter may still refuse to enter it.
pub(super) fn check_operations(ring: &mut Ring) -> io::Result<Probe> {
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| refused("io_uring_register(PROBE)", &error))?;
    // SAFETY: a NOP has no addresses.
    unsafe { ring.push(opcode::Nop::new().build()) };
    let nop = complete(ring)?;
    if nop.result != 0 {
        let error = io::Error::from_raw_os_error(-nop.result);
        return Err(refused("IORING_OP_NOP", &error));
    }
    match NEEDED.iter().find(|(_, code)| !probe.is_supported(*code)) {
        None => Ok(probe),
        Some((name, _)) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("this kernel's io_uring does not know IORING_OP_{name}"),
        )),
    }
}

/// Detects the optional features, by trying those that the kernel's probe does not cover.
pub(super) fn abilities(
    ring: &mut Ring,
    probe: &Probe,
    buffers: &BufferRing,
) -> io::Result<Abilities> {
    Ok(Abilities {
        multishot_receive: receives_many(ring, buffers)?,
        multishot_read: probe.is_supported(opcode::ReadMulti::CODE),
        wait_by_number: probe.is_supported(opcode::WaitId::CODE),
        immediate_sends: ring.task_work() == TaskWork::Deferred && sends_parts(ring)?,
        file_calls: file_calls(probe),
    })
}

/// The calls on files that this kernel performs: setting the length since 6.9, the others long before.
fn file_calls(probe: &Probe) -> FileCalls {
    let mut calls = FileCalls::of(&[FileCall::Read, FileCall::Write, FileCall::Send]);
    for (call, code) in [
        (FileCall::Open, opcode::OpenAt::CODE),
        (FileCall::Sync, opcode::Fsync::CODE),
        (FileCall::Metadata, opcode::Statx::CODE),
        (FileCall::SetLen, opcode::Ftruncate::CODE),
    ] {
        if probe.is_supported(code) {
            calls.insert(call);
        }
    }
    calls
}

/// Lists the ring's features for [`PortInfo`](super::PortInfo).
pub(super) fn features(ring: &Ring, abilities: Abilities) -> Vec<String> {
    let optional = [
        (abilities.multishot_receive, "multishot receive"),
        (abilities.multishot_read, "multishot read"),
        (abilities.wait_by_number, "waitid"),
        (abilities.immediate_sends, "immediate sends"),
        (ring.no_iowait(), "no iowait"),
    ];
    let always = [ring.task_work().name(), "buffer ring", "multishot accept"];
    let optional = optional
        .into_iter()
        .filter_map(|(have, name)| have.then_some(name));
    always
        .into_iter()
        .chain(optional)
        .map(str::to_owned)
        .collect()
}

/// Receives one byte and the end of file through one request.
fn receives_many(ring: &mut Ring, buffers: &BufferRing) -> io::Result<bool> {
    let (ours, mut theirs) = UnixStream::pair()?;
    theirs.write_all(b"?")?;
    drop(theirs);
    let receive: squeue::Entry = opcode::RecvMulti::new(types::Fd(ours.as_raw_fd()), GROUP).build();
    // SAFETY: the entry has no addresses; the buffers it selects belong to the registered buffer ring.
    unsafe { ring.push(receive) };
    let mut received = false;
    loop {
        let cqe = complete(ring)?;
        if let Some(id) = cqe.buffer() {
            buffers.untaken(id);
        }
        received |= cqe.result == 1;
        if !cqe.more() {
            return Ok(received);
        }
    }
}

/// Sends more than a socket takes, and checks that the kernel tells at once how much it has sent, and that this is not all.
fn sends_parts(ring: &mut Ring) -> io::Result<bool> {
    // The kernel would touch it late if it did not keep to the flags.
    static MUCH: [u8; 64 * 1024] = [0; 64 * 1024];
    const SENT: u64 = 1;
    const NOT_ALL: u64 = 2;
    let (ours, mut theirs) = UnixStream::pair()?;
    socket2::SockRef::from(&ours).set_send_buffer_size(MUCH.len() / 8)?;
    let send = opcode::Send::new(types::Fd(ours.as_raw_fd()), MUCH.as_ptr(), 64 * 1024);
    let send = send.flags(IMMEDIATE).build().user_data(SENT);
    // SAFETY: the bytes are static.
    unsafe { ring.push_immediate(send, NOT_ALL) };
    let mut told = Vec::new();
    // More than once if the queues are tiny.
    while ring.wants_entering() {
        ring.enter(Wait::No)
            .map_err(|error| refused("io_uring_enter", &error))?;
        let cqes = std::iter::from_fn(|| ring.next());
        told.extend(cqes.map(|cqe| (cqe.user_data, cqe.result)));
    }
    theirs.set_nonblocking(true)?;
    let mut received = Vec::new();
    // Fails once everything is read.
    let _ = theirs.read_to_end(&mut received);
    let count = i32::try_from(received.len()).expect("it is at most what was sent");
    let is_part = (1..MUCH.len()).contains(&received.len());
    Ok(is_part && told == [(SENT, count), (NOT_ALL, -libc::ECANCELED)])
}

/// Waits for the completion of the entry pushed last.
fn complete(ring: &mut Ring) -> io::Result<Cqe> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(cqe) = ring.next() {
            return Ok(cqe);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        ring.enter(Wait::UpTo(left))
            .map_err(|error| refused("io_uring_enter", &error))?;
        if left.is_zero() && !ring.has_completions() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "io_uring_enter: an operation that has nothing to wait for did not complete",
            ));
        }
    }
}
