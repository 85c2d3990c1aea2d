//! Timers, by the timeout of `epoll_wait`; calls from another thread, by an eventfd.

use std::io;
use std::sync::Arc;

use bench_common::floor;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::fd::OwnedFd;
use rustix::io::{Errno, read, write};

pub(crate) fn timers() -> io::Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut events = Vec::with_capacity(1);
    floor::timers(|time| {
        let time = Timespec::try_from(time).expect("it is some seconds");
        wait(&epoll, &mut events, Some(&time))
    })
}

pub(crate) fn threads() -> io::Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let called = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
    epoll::add(&epoll, &called, EventData::new_u64(0), EventFlags::IN)?;
    let calling = Arc::clone(&called);
    let wake = move || {
        write(&calling, &1_u64.to_ne_bytes()).expect("the counter does not overflow");
    };
    let mut events = Vec::with_capacity(1);
    floor::threads(wake, || {
        wait(&epoll, &mut events, None)?;
        read(&called, &mut [0; 8])?;
        Ok(())
    })
}

fn wait(epoll: &OwnedFd, events: &mut Vec<Event>, time: Option<&Timespec>) -> io::Result<()> {
    events.clear();
    match epoll::wait(epoll, rustix::buffer::spare_capacity(events), time) {
        Err(Errno::INTR) => Ok(()),
        other => {
            other?;
            Ok(())
        }
    }
}
