//! `tidewaiter serve` and its kin, as real processes on the port that `TIDEWAITER_PORT` names.

mod child;
mod command_line;
mod sessions;
mod shutdown;
mod support;
