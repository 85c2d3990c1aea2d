//! Readiness from epoll, edge-triggered: a handle is registered once, for both directions, and
//! every change of its readiness is reported once. Waiting is the only system call of a turn that
//! finds nothing to do.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::Socket;

use super::{EVENTS_MAX, Ended, Readiness};
use crate::os::Address;
use crate::port::control;
use crate::port::event::Event;
use crate::port::table::Key;
use crate::port::waker::Notify;

/// The data of the waker's events; no key is zero.
const WAKE: u64 = 0;

/// The longest single wait. Old kernels take milliseconds as an `int`, and waking up once a day
/// costs nothing.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

pub(in super::super) struct Selector {
    epoll: OwnedFd,
    event: Event,
    events: Vec<epoll::Event>,
    /// Whether the kernel has `epoll_pwait2`, which takes nanoseconds.
    fine: bool,
}

impl Selector {
    /// Returns a selector, and the means to end its waits.
    pub(in super::super) fn open() -> io::Result<(Selector, Box<dyn Notify>)> {
        let event = Event::new()?;
        Ok((Selector::with(event.clone())?, Box::new(event)))
    }

    /// Returns a selector whose waits `event` ends.
    pub(in super::super) fn with(event: Event) -> io::Result<Selector> {
        let mut selector = Selector {
            epoll: set_with(&event)?,
            event,
            events: Vec::with_capacity(EVENTS_MAX),
            fine: true,
        };
        selector.fine = selector.wait_fine(Duration::ZERO).is_ok();
        Ok(selector)
    }

    /// Replaces the epoll set by a new, empty one that no other process shares. The same means as
    /// before ends its waits.
    pub(in super::super) fn renew(&mut self) -> io::Result<()> {
        self.event.renew()?;
        self.epoll = set_with(&self.event)?;
        Ok(())
    }

    /// Lists the selector's features for [`PortInfo`](crate::port::PortInfo).
    pub(in super::super) fn features(&self) -> Vec<String> {
        let mut features = vec!["epoll".to_owned(), "edge-triggered".to_owned()];
        if self.fine {
            features.push("epoll_pwait2".to_owned());
        }
        features
    }

    /// Reports the readiness of `source` under `key` from now on: its current state, and each
    /// change.
    ///
    /// Returns false for files, which are always ready: the kernel does not watch them.
    pub(in super::super) fn add(&self, source: BorrowedFd<'_>, key: Key) -> io::Result<bool> {
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(key.to_u64());
        match epoll::add(&self.epoll, source, data, flags) {
            Ok(()) => Ok(true),
            Err(Errno::PERM) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Reports under `key` that `source` is readable, for as long as it is.
    pub(in super::super) fn add_level(&self, source: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        let data = epoll::EventData::new_u64(key.to_u64());
        Ok(epoll::add(
            &self.epoll,
            source,
            data,
            epoll::EventFlags::IN,
        )?)
    }

    /// Stops reporting `source`. Closing it is not enough: a child that is just starting may still
    /// hold a copy, which would keep the registration alive.
    pub(in super::super) fn remove(&self, source: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, source)?)
    }

    /// Waits for changes, for at most `timeout`, rounded up. Passes each change to `report`.
    pub(in super::super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        mut report: impl FnMut(Readiness),
    ) -> io::Result<Ended> {
        let timeout = timeout.map(|timeout| timeout.min(WAIT_MAX));
        let waited = match timeout {
            Some(timeout) if self.fine && timeout.subsec_nanos() % 1_000_000 != 0 => {
                self.wait_fine(timeout)
            }
            _ => self.wait_coarse(timeout),
        };
        match waited {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok(Ended::Interrupted);
            }
            Err(error) => return Err(error),
        }
        let mut ended = Ended::Plainly;
        for event in &self.events {
            match { event.data }.u64() {
                WAKE => ended = Ended::Woken,
                key => report(readiness(Key::from_u64(key), event.flags)),
            }
        }
        Ok(ended)
    }

    /// Waits in whole milliseconds (rustix rounds them up).
    fn wait_coarse(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(timespec);
        self.events.clear();
        epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            timeout.as_ref(),
        )?;
        Ok(())
    }

    #[expect(
        unsafe_code,
        reason = "rustix calls `epoll_pwait2` for long timeouts only"
    )]
    fn wait_fine(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = timespec(timeout);
        self.events.clear();
        // SAFETY: the kernel writes at most `EVENTS_MAX` events, for which the vector has room
        // (rustix's event is `struct epoll_event`), and reads a timespec of the 64-bit layout;
        // without a signal mask it ignores the last two arguments.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_MAX,
                &raw const timeout,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the kernel has written the first `count` events, and `count` is at most `EVENTS_MAX`.
        unsafe { self.events.set_len(count) };
        Ok(())
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

fn readiness(key: Key, flags: epoll::EventFlags) -> Readiness {
    let failed = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
    let ended = failed || flags.contains(epoll::EventFlags::RDHUP);
    Readiness {
        key,
        readable: ended || flags.contains(epoll::EventFlags::IN),
        writable: failed || flags.contains(epoll::EventFlags::OUT),
        ended,
        hung_up: failed,
    }
}

/// Returns an epoll set that contains only the event.
fn set_with(event: &Event) -> io::Result<OwnedFd> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    // Every write to an eventfd is an edge of its own, so nobody needs to read its counter.
    let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
    epoll::add(&epoll, event, epoll::EventData::new_u64(WAKE), flags)?;
    Ok(epoll)
}

/// Accepts a listener's next connection, non-blocking and not inherited by children.
pub(in super::super) fn accept(listener: &Socket) -> io::Result<(Socket, Address)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = acceptfrom_with(listener.as_fd(), flags)?;
    let socket = Socket::from(socket);
    let ip = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    let peer = match ip {
        Some(ip) => ip.into(),
        // A listener that was adopted from elsewhere may have other addresses.
        None => control::peer_addr(&socket)?,
    };
    Ok((socket, peer))
}

#[cfg(test)]
mod tests {
    use rustix::fs::{Mode, OFlags, open};
    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process};

    use crate::port::poll::PollPort;
    use crate::port::{Driver, PortOptions};
    use crate::process::{Command, Spawn, SpawnStep, StartedChild};

    /// Goal: a child with a pipe that cannot be registered is killed and reaped, and the port is as before.
    #[test]
    fn a_child_that_cannot_be_registered_is_killed_and_reaped() {
        let options = PortOptions::default();
        let mut port = PollPort::open(&options, "tested".to_owned()).expect("a readiness port");
        let command = Command::new("sleep").args(["1000"]);
        let started = StartedChild::start(&command).expect("it starts");
        let pid = Pid::from_raw(started.pid().cast_signed()).expect("a number");
        // Such a descriptor only names a file: nothing else can be done with it.
        let unusable = open("/", OFlags::PATH, Mode::empty()).expect("it is there");
        let started = started.with_unusable_pipe(unusable);
        let refused = port.spawn(Spawn::Started(started)).expect_err("a refusal");
        assert_eq!(refused.step, SpawnStep::Adopt);
        assert_eq!(refused.program, "sleep");
        assert_eq!(test_kill_process(pid), Err(Errno::SRCH), "it was reaped");
        assert_eq!(port.status().open_handles, 0);
    }
}
