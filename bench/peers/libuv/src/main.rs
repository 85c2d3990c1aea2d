//! libuv in the benchmarks. The C files in this folder contain the code that its users would write; the code that all
//! peers share is in Rust.

mod shared;

use std::error::Error;
use std::ffi::{CString, NulError, c_int};
use std::io;
#[cfg(unix)]
use std::os::fd::IntoRawFd as IntoRaw;
#[cfg(windows)]
use std::os::windows::io::IntoRawSocket as IntoRaw;
use std::path::PathBuf;

use bench_common::{Workload, child, datagrams, net, pipes, tell};

use crate::shared::ffi;

fn main() -> Result<(), Box<dyn Error>> {
    let result = match Workload::from_arguments() {
        Workload::Echo => serve(0)?,
        Workload::Sink => serve(1)?,
        Workload::Source => serve(2)?,
        Workload::Both => serve(3)?,
        Workload::Timers => ffi::uv_side_timers(),
        Workload::Threads => ffi::uv_side_threads(),
        Workload::Spawn { at_a_time } => shared::spawn(at_a_time, &text(child::brief())?),
        // On Unix, libuv uses sockets as pipes to children, so both workloads are the same.
        Workload::ChildStdout | Workload::ChildStdoutSocket => {
            shared::child_stdout(&text(child::program())?, &CString::new(child::WRITER)?)
        }
        Workload::UnixEcho => shared::serve_unix(&text(net::unix_path())?, 0),
        Workload::UnixSink => shared::serve_unix(&text(net::unix_path())?, 1),
        Workload::UnixSource => shared::serve_unix(&text(net::unix_path())?, 2),
        Workload::UdpEcho { sockets } => {
            let sockets = datagrams::sockets(sockets)?.into_iter().map(raw);
            shared::udp_echo(&sockets.collect::<Vec<_>>())
        }
        Workload::PipeEcho => shared::pipe_echo(&CString::new(pipes::name())?),
        Workload::Pipeline
        | Workload::UdpSink
        | Workload::UdpSource
        | Workload::SendFile
        | Workload::Outputs
        | Workload::Task(_)
        | Workload::Redis
        | Workload::Proxy
        | Workload::Hyper { .. } => {
            tell::unsupported();
            return Ok(());
        }
        Workload::Children => {
            shared::children(&text(child::program())?, &CString::new(child::ECHOER)?)
        }
    };
    match result {
        0 => Ok(()),
        error => Err(format!("libuv's error {error}").into()),
    }
}

fn serve(role: c_int) -> io::Result<c_int> {
    Ok(ffi::uv_side_serve(raw(net::listener()?), role))
}

fn raw(socket: impl IntoRaw) -> ffi::RawSocket {
    #[cfg(unix)]
    let raw = socket.into_raw_fd();
    #[cfg(windows)]
    let raw = socket.into_raw_socket();
    raw
}

/// A path as a C string.
fn text(path: PathBuf) -> Result<CString, NulError> {
    CString::new(path.into_os_string().into_encoded_bytes())
}
