//! The parts of starting a program that all kinds of Unix have in common.

#![expect(unsafe_code, reason = "the OS's side of processes")]

mod abandon;
mod descriptors;
mod end;
mod file;
mod image;
mod limits;
mod numbers;
pub(crate) mod own_terminal;
mod plan;
mod search;
mod signals;
mod terminal;

pub(crate) use abandon::abandon;
pub(super) use descriptors::{Descriptors, Placement};
pub(super) use end::{Ended, usage_of};
use image::Environment;
pub(super) use image::Image;
pub(super) use plan::{Plan, Refusal};
use search::candidates;
pub(super) use signals::{SignalsBlocked, stop_ignoring_sigchld};
pub(crate) use terminal::resize_terminal;

use super::Command;

/// Whether the child leads a process group: its own, or the one of its session.
pub(super) fn leads_group(command: &Command) -> bool {
    command.tree.own_group || command.tree.own_session || command.terminal.is_some()
}

#[cfg(test)]
mod tests;
