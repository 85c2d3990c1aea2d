//! quinn-udp in the benchmarks: batches and segmentation offload, over tokio as quinn uses it.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use bench_common::datagrams::{BATCH, COALESCED_BYTES, DATAGRAM_BYTES, Received, Window, sockets};
use bench_common::{Workload, tell};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

fn main() -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match Workload::from_arguments() {
            Workload::UdpEcho { sockets: count } => {
                let mut tasks = JoinSet::new();
                for socket in sockets(count)? {
                    tasks.spawn(echo(Socket::new(socket)?));
                }
                tasks.join_all().await.into_iter().collect()
            }
            Workload::UdpSink => sink(the_only()?).await,
            Workload::UdpSource => source(the_only()?).await,
            _ => {
                tell::unsupported();
                Ok(())
            }
        }
    })
}

fn the_only() -> io::Result<Socket> {
    let socket = sockets(1)?.pop().expect("there is one");
    Socket::new(socket)
}

/// Sends back each datagram.
async fn echo(socket: Socket) -> io::Result<()> {
    let mut received = Batch::new();
    loop {
        for (meta, bytes) in socket.receive(&mut received).await? {
            let segment = (meta.stride < bytes.len()).then_some(meta.stride);
            socket.send(meta.addr, bytes, segment).await?;
        }
    }
}

/// Drops datagrams, and acknowledges each batch.
async fn sink(socket: Socket) -> io::Result<()> {
    let mut received = Batch::new();
    let mut count = Received::default();
    loop {
        for (meta, bytes) in socket.receive(&mut received).await? {
            let datagrams = bytes.chunks(meta.stride.max(1));
            for acknowledgement in datagrams.filter_map(|datagram| count.add(datagram)) {
                socket.send(meta.addr, &acknowledgement, None).await?;
            }
        }
    }
}

/// Sends batches, as fast as they are acknowledged.
async fn source(socket: Socket) -> io::Result<()> {
    let mut received = Batch::new();
    let batch = vec![b'x'; BATCH * DATAGRAM_BYTES];
    let mut window = Window::default();
    loop {
        for (meta, bytes) in socket.receive(&mut received).await? {
            window.acknowledge(bytes);
            while window.takes_a_batch() {
                let segment = Some(DATAGRAM_BYTES);
                socket.send(meta.addr, &batch, segment).await?;
            }
        }
    }
}

struct Socket {
    socket: UdpSocket,
    state: UdpSocketState,
}

/// The memory of one receiving call.
struct Batch {
    bytes: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
}

impl Batch {
    fn new() -> Batch {
        Batch {
            bytes: vec![0; BATCH_SIZE * COALESCED_BYTES],
            meta: [RecvMeta::default(); BATCH_SIZE],
        }
    }
}

impl Socket {
    fn new(socket: std::net::UdpSocket) -> io::Result<Socket> {
        let socket = UdpSocket::from_std(socket)?;
        let state = UdpSocketState::new((&socket).into())?;
        Ok(Socket { socket, state })
    }

    /// Receives; yields the bytes of each buffer, which may hold several datagrams of one sender.
    async fn receive<'a>(
        &self,
        batch: &'a mut Batch,
    ) -> io::Result<impl Iterator<Item = (RecvMeta, &'a [u8])> + use<'a>> {
        let Batch { bytes, meta } = batch;
        let mut rest = bytes.as_mut_slice();
        let mut places: [IoSliceMut<'_>; BATCH_SIZE] = std::array::from_fn(|_| {
            let (place, others) = std::mem::take(&mut rest).split_at_mut(COALESCED_BYTES);
            rest = others;
            IoSliceMut::new(place)
        });
        let receive = || self.state.recv((&self.socket).into(), &mut places, meta);
        let count = self.socket.async_io(Interest::READABLE, receive).await?;
        let places = bytes.chunks(COALESCED_BYTES).zip(&*meta).take(count);
        Ok(places.map(|(place, meta)| (*meta, &place[..meta.len])))
    }

    async fn send(
        &self,
        destination: SocketAddr,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> io::Result<()> {
        let transmit = Transmit {
            destination,
            ecn: None,
            contents,
            segment_size,
            src_ip: None,
        };
        let send = || self.state.try_send((&self.socket).into(), &transmit);
        self.socket.async_io(Interest::WRITABLE, send).await
    }
}
