//! Streams and listeners that futures use.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::bytes::Bytes;
use tidewaiter::io::{Listener, Stream};
use tidewaiter::{ConnectError, Reactor, yield_now};

pub(super) use super::io_support::{breathe, check, pair, poll_once};
use super::support::{any_port, assert_empty, byte_at, deserted_port, pattern, reactor, run};

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn bytes_pass_in_both_directions_until_each_is_ended() {
    let reactor = reactor();
    check(&reactor, async {
        let (mut client, mut server) = pair(&reactor).await;
        client.write_all(b"hello ").await.unwrap();
        client.write_bytes("world").await.unwrap();
        client.shutdown().await.unwrap();
        let late = client.write_all(b"x").await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::BrokenPipe);
        let mut all = Vec::new();
        assert_eq!(server.read_to_end(&mut all).await.unwrap(), 11);
        assert_eq!(all, b"hello world");
        assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0, "still the end");
        server.write_all(b"answer").await.unwrap();
        server.flush().await.unwrap();
        let mut answer = [0; 6];
        assert_eq!(client.read(&mut []).await.unwrap(), 0);
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"answer");
        assert_eq!(client.peer_addr(), server.transport().local_addr().ok());
        drop(server);
        assert_eq!(client.fill_buf().await.unwrap(), b"");
        let short = client.read_exact(&mut answer).await.unwrap_err();
        assert_eq!(short.kind(), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn halves_belong_to_two_tasks_and_end_one_by_one() {
    let reactor = reactor();
    check(&reactor, async {
        let (client, server) = pair(&reactor).await;
        let (mut reads, mut writes) = server.split();
        let echo = reactor.spawn(async move {
            let mut buffer = [0; 100];
            loop {
                match reads.read(&mut buffer).await.unwrap() {
                    0 => return,
                    count => writes.write_all(&buffer[..count]).await.unwrap(),
                }
            }
        });
        let (mut reads, mut writes) = client.split();
        writes.write_all(b"there and back").await.unwrap();
        drop(writes); // the peer reads to the end
        let mut all = Vec::new();
        reads.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"there and back");
        echo.await.unwrap();
    });
}

#[test]
fn a_writer_waits_for_a_slow_reader_and_nothing_is_lost() {
    const TOTAL: usize = 4 << 20;
    let reactor = reactor();
    check(&reactor, async {
        let (mut client, mut server) = pair(&reactor).await;
        let writing = reactor.spawn(async move {
            let (mut sent, mut most) = (0, 0);
            while sent < TOTAL {
                let piece: Vec<u8> = (sent..sent + 10_000).map(byte_at).collect();
                let piece = &piece[..piece.len().min(TOTAL - sent)];
                client.write_all(piece).await.unwrap();
                sent += piece.len();
                most = most.max(client.transport().queued());
            }
            client.shutdown().await.unwrap();
            (most, client)
        });
        // Nobody reads: the writer fills what the system and both sides hold, and waits then.
        for _ in 0..100 {
            yield_now().await;
        }
        let (mut read, mut buffer) = (0, vec![0; 33_333]);
        loop {
            let count = server.read(&mut buffer).await.unwrap();
            let expected = (read..read + count).map(byte_at);
            assert!(buffer[..count].iter().copied().eq(expected), "at {read}");
            read += count;
            if count == 0 {
                break;
            }
        }
        assert_eq!(read, TOTAL);
        let (most, _) = writing.await.unwrap();
        assert!(most < 256 * 1024 + 2 * 10_000, "{most} bytes were queued");
    });
}

#[test]
fn a_pause_of_the_application_outlasts_that_of_a_stream_which_holds_much() {
    const TOTAL: usize = 4 << 20;
    /// A stream holds 64 KiB, and the rest of the piece with which it reaches them.
    const HELD_MAX: usize = (64 + 68) * 1024;
    let reactor = reactor();
    check(&reactor, async {
        let (mut client, mut server) = pair(&reactor).await;
        let all = pattern(TOTAL);
        let writing = reactor.spawn({
            let all = all.clone();
            async move {
                client.write_all(&all).await.unwrap();
                client
            }
        });
        // The stream pauses once it holds 64 KiB.
        while reactor.metrics().bytes_received < 64 * 1024 {
            breathe(&reactor).await;
        }
        server.transport().pause_producing();
        let mut read = vec![0; TOTAL];
        let mut count = 0;
        for _ in 0..20 {
            while let Some(more) = poll_once(server.read(&mut read[count..])).await {
                count += more.unwrap();
            }
            breathe(&reactor).await;
        }
        assert!((64 * 1024..=HELD_MAX).contains(&count), "{count}");
        server.transport().resume_producing();
        server.read_exact(&mut read[count..]).await.unwrap();
        assert!(read == all);
        writing.await.unwrap();
    });
}

#[test]
fn a_stream_queues_as_much_as_a_surge_brings_unless_told_otherwise() {
    const PIECE: usize = 64 * 1024;
    let reactor = reactor();
    check(&reactor, async {
        for (marks, high) in [(None, 256 * 1024), (Some((0, PIECE)), PIECE)] {
            let (mut client, mut server) = pair(&reactor).await;
            if let Some((low, high)) = marks {
                client.transport().set_water_marks(low, high);
            }
            // Nobody reads meanwhile. The system may take some of it at once.
            let piece = pattern(PIECE);
            let mut written = 0;
            while poll_once(client.write_all(&piece)).await.is_some() {
                written += PIECE;
            }
            let queued = client.transport().queued();
            assert!(queued > high && queued <= high + PIECE, "{queued}");
            drop(client);
            let mut all = Vec::new();
            server.read_to_end(&mut all).await.unwrap();
            assert!(all == piece.repeat(written / PIECE));
        }
    });
}

#[test]
fn chunks_are_taken_without_copying_and_a_buffer_is_written_piece_by_piece() {
    const TOTAL: usize = 1 << 20;
    let reactor = reactor();
    check(&reactor, async {
        let (mut client, mut server) = pair(&reactor).await;
        let all = pattern(TOTAL);
        let writing = reactor.spawn({
            let mut bytes = Bytes::from(all.clone());
            async move {
                client.write_all_buf(&mut bytes).await.unwrap();
                let mut slice = &b"and a few more"[..];
                client.write_all_buf(&mut slice).await.unwrap();
                (client, bytes.len(), slice.len())
            }
        });
        let mut received = vec![0; 3];
        server.read_exact(&mut received).await.unwrap();
        let mut chunks = Vec::new();
        while received.len() < TOTAL + 14 {
            let chunk = server.read_chunk().await.unwrap();
            received.extend_from_slice(&chunk);
            // Some of them are kept for a while.
            if chunks.len() < 20 {
                chunks.push((received.len(), chunk));
            }
        }
        assert!(received[..TOTAL] == all && received[TOTAL..] == *b"and a few more");
        for (end, chunk) in chunks {
            assert!(received[..end].ends_with(&Bytes::from(chunk)));
        }
        let (client, left, left_of_slice) = writing.await.unwrap();
        assert_eq!((left, left_of_slice), (0, 0));
        drop(client);
        assert!(server.read_chunk().await.unwrap().is_empty(), "the end");
    });
}

#[test]
fn chunks_that_are_sent_back_arrive_as_they_were() {
    const TOTAL: usize = 3 << 20;
    let reactor = reactor();
    check(&reactor, async {
        let (client, mut server) = pair(&reactor).await;
        let echoing = reactor.spawn(async move {
            let mut begin = [0; 2];
            server.read_exact(&mut begin).await.unwrap();
            server.write_all(&begin).await.unwrap();
            loop {
                let chunk = server.read_chunk().await.unwrap();
                if chunk.is_empty() {
                    return server.shutdown().await.unwrap();
                }
                server.write_chunk(chunk).await.unwrap();
            }
        });
        let all = pattern(TOTAL);
        let (mut reader, mut writer) = client.split();
        let writing = reactor.spawn({
            let mut bytes = Bytes::from(all.clone());
            async move {
                writer
                    .write_all_buf(&mut bytes.split_to(100))
                    .await
                    .unwrap();
                yield_now().await;
                writer.write_all_buf(&mut bytes).await.unwrap();
            }
        });
        let mut echoed = Vec::new();
        reader.read_to_end(&mut echoed).await.unwrap();
        assert!(echoed == all);
        writing.await.unwrap();
        echoing.await.unwrap();
    });
}

#[test]
fn a_reset_is_an_error_after_what_arrived_before() {
    let reactor = reactor();
    check(&reactor, async {
        let (mut client, mut server) = pair(&reactor).await;
        server.write_all(b"last words").await.unwrap();
        let mut words = [0; 10];
        client.read_exact(&mut words).await.unwrap();
        server.transport().abort_connection();
        let error = client.read(&mut words).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = client.write_all(b"x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = server.read(&mut words).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
        assert_eq!(error.to_string(), "aborted");
    });
}

#[test]
fn connecting_tells_why_it_failed_and_is_given_up_when_dropped() {
    let reactor = reactor();
    let closed = deserted_port();
    check(&reactor, async {
        let refused = Stream::connect(&reactor, closed).await;
        assert!(
            matches!(refused, Err(ConnectError::Refused { .. })),
            "{refused:?}"
        );
        assert!(poll_once(Stream::connect(&reactor, closed)).await.is_none());
    });
    let late = reactor.spawn({
        let reactor = reactor.clone();
        async move { Stream::connect(&reactor, closed).await }
    });
    assert!(late.is_finished(), "the reactor has stopped");
}

#[test]
fn a_listener_gives_connections_in_order_and_ends_with_the_reactor() {
    let reactor = reactor();
    let listener = Rc::new(std::cell::RefCell::new(None));
    let inner = Rc::clone(&listener);
    let ended = reactor.spawn({
        let reactor = reactor.clone();
        async move {
            let mut listener = Listener::bind(&reactor, any_port()).unwrap();
            inner.replace(Some(listener.local_addr()));
            let mut held = Vec::new();
            // More than wait at a time.
            for _ in 0..100 {
                held.push(listener.accept().await.unwrap().0);
            }
            assert!(
                poll_once(listener.accept()).await.is_none(),
                "dropped in vain"
            );
            held.clear();
            listener.accept().await.unwrap_err().kind()
        }
    });
    reactor
        .block_on(async {
            yield_now().await;
            let address = listener.take().unwrap();
            let mut clients = Vec::new();
            for _ in 0..100 {
                clients.push(Stream::connect(&reactor, address.clone()).await.unwrap());
            }
            for client in &mut clients {
                assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
            }
        })
        .unwrap();
    reactor.call_later(ms(1), Reactor::stop);
    run(&reactor);
    assert_empty(&reactor.metrics());
    assert!(ended.is_finished());
}

#[test]
fn the_traits_of_futures_io_read_and_write() {
    use futures_io::{AsyncBufRead, AsyncRead, AsyncWrite};
    use std::pin::Pin;

    let reactor = reactor();
    check(&reactor, async {
        let (mut client, mut server) = pair(&reactor).await;
        let mut writes = Pin::new(&mut client);
        let count = poll_fn(|context| writes.as_mut().poll_write(context, b"abc")).await;
        assert_eq!(count.unwrap(), 3);
        poll_fn(|context| writes.as_mut().poll_flush(context))
            .await
            .unwrap();
        poll_fn(|context| writes.as_mut().poll_close(context))
            .await
            .unwrap();
        let mut reads = Pin::new(&mut server);
        let mut first = [0];
        let count = poll_fn(|context| reads.as_mut().poll_read(context, &mut first)).await;
        assert_eq!((count.unwrap(), first), (1, *b"a"));
        poll_fn(|context| {
            reads
                .as_mut()
                .poll_fill_buf(context)
                .map_ok(|rest| assert_eq!(rest, b"bc"))
        })
        .await
        .unwrap();
        reads.as_mut().consume(2);
        let end = poll_fn(|context| reads.as_mut().poll_read(context, &mut first)).await;
        assert_eq!(end.unwrap(), 0);
    });
}
