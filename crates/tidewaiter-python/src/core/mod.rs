//! The loop as any Python framework can use it: nothing here knows a framework.

pub(crate) mod alarm;
mod calls;
pub(crate) mod children;
pub(crate) mod class;
pub(crate) mod context;
pub(crate) mod endings;
pub(crate) mod event_loop;
pub(crate) mod exits;
pub(crate) mod failures;
pub(crate) mod forks;
pub(crate) mod hooks;
pub(crate) mod lock;
pub(crate) mod metrics;
pub(crate) mod peers;
pub(crate) mod program;
pub(crate) mod ready;
pub(crate) mod records;
pub(crate) mod slot;
pub(crate) mod sockets;
mod symbols;
pub(crate) mod table;
pub(crate) mod timers;
pub(crate) mod watch;
