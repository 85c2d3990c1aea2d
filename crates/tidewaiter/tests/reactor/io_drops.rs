//! Futures that are dropped at each of their awaits: nothing is lost.

use tidewaiter::Reactor;
use tidewaiter::bytes::Bytes;
use tidewaiter::io::{Listener, ReadHalf, Stream, WriteHalf};

use super::io_support::{breathe, check, pair, poll_times};
use super::support::{any_port, byte_at, pattern, reactor};

/// A future is polled up to so many times before it is dropped.
const POLLS_MAX: usize = 4;

/// Many times what a stream queues.
const MUCH: usize = 1 << 20;

/// Writes the pattern by futures that are dropped after `polls` polls, each at most `piece` bytes.
async fn write_pattern(reactor: Reactor, mut writer: WriteHalf, polls: usize, piece: usize) {
    let mut sent = 0;
    while sent < MUCH {
        let end = (sent + piece).min(MUCH);
        let bytes: Vec<u8> = (sent..end).map(byte_at).collect();
        let written = match sent % 3 {
            // Dropped before they are ready, these have written nothing.
            0 => poll_times(polls, writer.write_all(&bytes)).await,
            1 => poll_times(polls, writer.write_bytes(bytes)).await,
            // This one says what is left.
            _ => {
                let mut left = Bytes::from(bytes);
                if let Some(written) = poll_times(polls, writer.write_all_buf(&mut left)).await {
                    written.unwrap();
                    assert!(left.is_empty());
                }
                sent = end - left.len();
                breathe(&reactor).await;
                continue;
            }
        };
        match written {
            Some(written) => {
                written.unwrap();
                sent = end;
            }
            None => breathe(&reactor).await,
        }
        if let Some(flushed) = poll_times(polls.min(2), writer.flush()).await {
            flushed.unwrap();
        }
    }
    while poll_times(polls, writer.shutdown()).await.is_none() {
        breathe(&reactor).await;
    }
}

/// Reads the pattern by futures that are dropped after `polls` polls.
async fn read_pattern(reactor: Reactor, mut reader: ReadHalf, polls: usize) {
    let (mut received, mut buffer, mut turn) = (Vec::new(), vec![0; 70_001], 0_usize);
    loop {
        turn += 1;
        let before = received.len();
        let ended = match turn % 4 {
            0 => match poll_times(polls, reader.read(&mut buffer)).await {
                Some(count) => {
                    received.extend_from_slice(&buffer[..count.unwrap()]);
                    received.len() == before
                }
                None => false,
            },
            1 => match poll_times(polls, reader.read_chunk()).await {
                Some(chunk) => {
                    received.extend_from_slice(&chunk.unwrap());
                    received.len() == before
                }
                None => false,
            },
            2 => match poll_times(polls, reader.fill_buf()).await {
                Some(shown) => {
                    let some = &shown.unwrap();
                    let some = &some[..some.len().min(999)];
                    received.extend_from_slice(some);
                    let count = some.len();
                    reader.consume(count);
                    count == 0
                }
                None => false,
            },
            // What was added before the drop stays.
            _ => poll_times(polls, reader.read_to_end(&mut received))
                .await
                .is_some(),
        };
        if ended {
            break;
        }
        if received.len() == before {
            breathe(&reactor).await;
        }
    }
    assert!(received == pattern(MUCH), "{} bytes", received.len());
}

#[test]
fn a_stream_loses_nothing_at_whichever_await_its_futures_are_dropped() {
    for polls in 1..=POLLS_MAX {
        let reactor = reactor();
        check(&reactor, async {
            let (client, server) = pair(&reactor).await;
            let (_unused, writer) = client.split();
            let (reader, _unused) = server.split();
            let writing = reactor.spawn(write_pattern(reactor.clone(), writer, polls, 100_000));
            let reading = reactor.spawn(read_pattern(reactor.clone(), reader, polls));
            writing.await.unwrap();
            reading.await.unwrap();
        });
    }
}

#[test]
fn a_listener_loses_no_connection_whenever_its_futures_are_dropped() {
    const CLIENTS: usize = 20;
    for polls in 1..=POLLS_MAX {
        let reactor = reactor();
        check(&reactor, async {
            let mut listener = Listener::bind(&reactor, any_port()).unwrap();
            let address = listener.local_addr();
            let serving = reactor.spawn({
                let reactor = reactor.clone();
                async move {
                    let mut count = 0;
                    while count < CLIENTS {
                        match poll_times(polls, listener.accept()).await {
                            Some(accepted) => {
                                let (mut stream, _) = accepted.unwrap();
                                stream.write_all(b"x").await.unwrap();
                                count += 1;
                            }
                            None => breathe(&reactor).await,
                        }
                    }
                }
            });
            let mut connected = 0;
            while connected < CLIENTS {
                let connecting = Stream::connect(&reactor, address.clone());
                // A future that is dropped early gives up. The server may have accepted the connection even so.
                match poll_times(polls + 1, connecting).await {
                    Some(stream) => {
                        assert_eq!(stream.unwrap().read(&mut [0]).await.unwrap(), 1);
                        connected += 1;
                    }
                    None => connected += 1,
                }
            }
            serving.abort();
            let _ = serving.await;
        });
    }
}
