//! Boost.Asio in the benchmarks. The C++ files in this folder contain the code that its users would write; the code
//! that all peers share is in Rust.

mod shared;

use std::error::Error;
use std::ffi::{CString, NulError};
use std::os::fd::IntoRawFd;
use std::path::PathBuf;

use bench_common::{Workload, child, net, tell};

use crate::shared::ffi;

fn main() -> Result<(), Box<dyn Error>> {
    match Workload::from_arguments() {
        Workload::Echo => ffi::asio_side_serve(net::listener()?.into_raw_fd(), 0),
        Workload::Sink => ffi::asio_side_serve(net::listener()?.into_raw_fd(), 1),
        Workload::Source => ffi::asio_side_serve(net::listener()?.into_raw_fd(), 2),
        Workload::Both => ffi::asio_side_serve(net::listener()?.into_raw_fd(), 3),
        Workload::Timers => ffi::asio_side_timers(),
        Workload::Threads => ffi::asio_side_threads(),
        Workload::Spawn { at_a_time } => shared::spawn(at_a_time, &text(child::brief())?),
        Workload::ChildStdout => {
            shared::child_stdout(&text(child::program())?, &CString::new(child::WRITER)?);
        }
        Workload::Children => {
            shared::children(&text(child::program())?, &CString::new(child::ECHOER)?);
        }
        _ => tell::unsupported(),
    }
    Ok(())
}

fn text(path: PathBuf) -> Result<CString, NulError> {
    CString::new(path.into_os_string().into_encoded_bytes())
}
