//! Tests of the commands as real processes, on the completion port that `TIDEWAITER_PORT` names.

mod child;
mod command_line;
mod confining;
mod connect;
mod daemons;
mod datagrams;
mod drain;
mod inetd;
mod limits;
mod metrics;
mod places;
mod reaping;
mod sessions;
mod shutdown;
#[path = "../../../tidewaiter/tests/support/starting.rs"]
mod starting;
mod streams;
mod support;
mod terminals;
