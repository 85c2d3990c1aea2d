//! Tests of the signals of each OS.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::sync::mpsc::Sender;

use super::{ShutdownSignal, SignalWatch};
use crate::port::waker::{Notify, Waker};

/// Notifies a channel. A real handler may not do that, but here the test raises the signal itself.
struct ChannelNotify(Sender<()>);

impl Notify for ChannelNotify {
    fn notify(&self) -> bool {
        self.0.send(()).is_ok()
    }
}

/// Watches, and sends a message for each wake-up.
fn watch(sender: &Sender<()>) -> SignalWatch {
    let waker = Waker::new(Box::new(ChannelNotify(sender.clone())));
    SignalWatch::install(waker).expect("watching")
}
