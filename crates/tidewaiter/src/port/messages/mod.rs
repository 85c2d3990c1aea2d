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
mod reported;
mod send;
mod socket;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(target_os = "linux")]
pub(super) use linux::{NAME_BYTES, record};
#[cfg(not(target_os = "linux"))]
use other as system;
pub(super) use receive::Tray;
#[cfg(target_os = "linux")]
pub(super) use receive::too_large;
pub(super) use reported::is_reported;
#[cfg(target_os = "linux")]
pub(super) use send::Outgoing;
pub(super) use send::SendTray;
pub(super) use socket::DatagramSocket;
