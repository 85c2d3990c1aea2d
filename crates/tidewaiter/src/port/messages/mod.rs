//! Datagrams on Unix: the sockets, and the calls that move several datagrams at once.

#![expect(unsafe_code, reason = "the kernel reads and writes our memory")]

mod control;
mod family;
#[cfg(target_os = "linux")]
mod linux;
mod multicast;
mod name;
mod option;
#[cfg(not(target_os = "linux"))]
mod other;
mod receive;
mod send;
mod socket;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
use other as system;
pub(super) use receive::Tray;
pub(super) use send::{SendTray, is_reported};
pub(super) use socket::DatagramSocket;
