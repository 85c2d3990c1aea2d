//! Code that all peers of the benchmarks share, so that they differ only in their runtimes: the command line, the
//! sockets, the sizes of the workloads, and messages to the program that started them.

pub mod child;
pub mod datagrams;
pub mod file;
pub mod floor;
pub mod net;
pub mod origin;
pub mod pipes;
pub mod redis;
mod system;
pub mod tasks;
pub mod tell;
pub mod threads;
pub mod timers;
pub mod watch;

/// The task of a peer, from its command line: `PROGRAM WORKLOAD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Listen, and send back everything that is received.
    Echo,
    /// Listen, and drop everything that is received.
    Sink,
    /// Listen, and send without end.
    Source,
    /// Listen, drop everything that is received, and send without end.
    Both,
    /// The same as `Echo`, on a UNIX socket.
    UnixEcho,
    /// The same as `Sink`, on a UNIX socket.
    UnixSink,
    /// The same as `Source`, on a UNIX socket.
    UnixSource,
    /// Send back each datagram, on as many sockets.
    UdpEcho { sockets: u32 },
    /// Drop datagrams, and acknowledge each batch.
    UdpSink,
    /// Send batches of datagrams, as fast as they are acknowledged.
    UdpSource,
    /// Answer each request of HTTP with a file.
    SendFile,
    /// Send back everything that is received on named pipes of Windows.
    PipeEcho,
    /// Arm timers, cancel most of them, and let the rest fire.
    Timers,
    /// Run calls in the loop that another thread sends.
    Threads,
    /// Spawn and reap children, `at_a_time` of them in parallel.
    Spawn { at_a_time: usize },
    /// Read the standard output of a child: from a pipe, if the runtime offers a choice.
    ChildStdout,
    /// Read the standard output of a child from a socket.
    ChildStdoutSocket,
    /// Run three children whose bytes go from one to the next, and not through us.
    Pipeline,
    /// Send lines to many children, which send them back.
    Children,
    /// Read all output of children that run at the same time, and await their ends.
    Outputs,
    /// Run tasks.
    Task(tasks::Operation),
    /// Listen, and answer commands of Redis.
    Redis,
    /// Listen, and pass HTTP on to a server and back.
    Proxy,
    /// Listen, and answer each request of HTTP with a body, by hyper.
    Hyper { body_bytes: usize },
}

impl Workload {
    /// Parses the command line. In a child, plays the child's role and exits instead.
    ///
    /// # Panics
    ///
    /// If the command line names no workload.
    #[must_use]
    pub fn from_arguments() -> Workload {
        let name = std::env::args().nth(1).unwrap_or_default();
        match name.as_str() {
            "echo" => Workload::Echo,
            "sink" => Workload::Sink,
            "source" => Workload::Source,
            "both" => Workload::Both,
            "unix-echo" => Workload::UnixEcho,
            "unix-sink" => Workload::UnixSink,
            "unix-source" => Workload::UnixSource,
            "udp-sink" => Workload::UdpSink,
            "udp-source" => Workload::UdpSource,
            "send-file" => Workload::SendFile,
            "timers" => Workload::Timers,
            "threads" => Workload::Threads,
            "spawn-1" | child::SPAWN_LARGE => Workload::Spawn { at_a_time: 1 },
            "spawn-8" => Workload::Spawn { at_a_time: 8 },
            "spawn-32" => Workload::Spawn { at_a_time: 32 },
            "child-stdout" => Workload::ChildStdout,
            "child-stdout-socket" => Workload::ChildStdoutSocket,
            "child-pipeline" => Workload::Pipeline,
            "child-outputs" => Workload::Outputs,
            "redis" => Workload::Redis,
            "proxy" => Workload::Proxy,
            "hyper-hello" => Workload::Hyper { body_bytes: 13 },
            "hyper-1m" => Workload::Hyper {
                body_bytes: 1 << 20,
            },
            children if children.starts_with(child::CHILDREN_NAME) => Workload::Children,
            pipes if pipes.starts_with(pipes::ECHO_NAME) => Workload::PipeEcho,
            udp if udp.starts_with(datagrams::ECHO_NAME) => Workload::UdpEcho {
                sockets: datagrams::sockets_of(udp),
            },
            child::ECHOER => child::echo_and_exit(),
            child::DRAIN => child::drain_and_exit(),
            child::WRITER => child::write_and_exit(),
            child::BRIEF_WRITER => child::write_briefly_and_exit(),
            origin::ORIGIN => origin::serve_and_exit(),
            pipes::CLIENT => pipes::exchange_and_exit(),
            other => match tasks::Operation::named(other) {
                Some(operation) => Workload::Task(operation),
                None => panic!("unknown workload `{other}`"),
            },
        }
    }
}
