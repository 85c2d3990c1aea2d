//! Writes by the traits of `futures-io`, which lend their bytes: some may be written, and the rest is offered again.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;

use futures_io::AsyncWrite;
use tidewaiter::io::Stream;
use tidewaiter::yield_now;

use super::io_support::{check, pair, poll_once};
use super::support::{pattern, reactor};

/// The most that a stream may queue for bytes that are lent: what it holds before writers wait, and one copy on top of that.
const QUEUED_MAX: usize = 2 * 256 * 1024;

/// Writes some of the pieces.
async fn write_some(stream: &mut Stream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
    poll_fn(|context| Pin::new(&mut *stream).poll_write_vectored(context, pieces)).await
}

/// Writes all bytes, each time in as many pieces of this size as there may be.
async fn write_all(stream: &mut Stream, mut bytes: &[u8], size: usize, pieces_max: usize) {
    while !bytes.is_empty() {
        let pieces: Vec<_> = bytes
            .chunks(size)
            .take(pieces_max)
            .map(IoSlice::new)
            .collect();
        let count = write_some(stream, &pieces).await.unwrap();
        assert!(count > 0);
        bytes = &bytes[count..];
    }
}

#[test]
fn lent_pieces_arrive_in_order_whatever_their_number_and_size() {
    let reactor = reactor();
    check(&reactor, async {
        let (mut client, mut server) = pair(&reactor).await;
        let all = pattern(12 << 20);
        let sent = all.clone();
        let writing = reactor.spawn(async move {
            let (few, rest) = sent.split_at(1000);
            let (many, rest) = rest.split_at(3 << 20);
            let (large, rest) = rest.split_at(5 << 20);
            write_all(&mut client, few, 7, 3).await;
            write_all(&mut client, many, 3000, 200).await;
            write_all(&mut client, large, 1 << 20, 2).await;
            // A few bytes that are queued go before many that are lent.
            let (head, rest) = rest.split_at(100);
            client.write_all(head).await.unwrap();
            let count = poll_fn(|context| Pin::new(&mut client).poll_write(context, rest)).await;
            write_all(&mut client, &rest[count.unwrap()..], 100_000, 64).await;
            client.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        writing.await.unwrap();
        assert!(received == all);
    });
}

#[test]
fn lent_bytes_wait_for_a_peer_that_does_not_read_and_few_are_queued() {
    let reactor = reactor();
    check(&reactor, async {
        let (mut client, mut server) = pair(&reactor).await;
        let piece = pattern(1 << 20);
        let mut written = 0;
        loop {
            let pieces = [IoSlice::new(&piece[written % piece.len()..])];
            match poll_once(write_some(&mut client, &pieces)).await {
                Some(count) => written += count.unwrap(),
                None => break,
            }
            assert!(client.transport().queued() <= QUEUED_MAX);
            yield_now().await;
        }
        let rest = pattern(1000);
        let writing = reactor.spawn(async move {
            write_all(&mut client, &rest, 100, 10).await;
            client.shutdown().await.unwrap();
        });
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        writing.await.unwrap();
        let (first, last) = received.split_at(written);
        let expected = piece.iter().cycle().take(written);
        assert!(first.iter().eq(expected));
        assert!(last == pattern(1000));
    });
}

/// Goal: a task that writes much waits now and then even if the peer reads at once, so that others run.
#[test]
fn the_task_that_lends_without_end_waits_within_its_turn() {
    let reactor = reactor();
    check(&reactor, async {
        let (mut client, server) = pair(&reactor).await;
        let piece = pattern(16 * 1024);
        let mut written = 0;
        while let Some(count) = poll_once(write_some(&mut client, &[IoSlice::new(&piece)])).await {
            written += count.unwrap();
            assert!(written <= (1 << 20) + QUEUED_MAX + piece.len());
        }
        assert!(written > 0);
        drop(server);
    });
}

#[test]
fn pieces_without_bytes_count_for_nothing() {
    let reactor = reactor();
    check(&reactor, async {
        let (mut client, mut server) = pair(&reactor).await;
        assert_eq!(write_some(&mut client, &[]).await.unwrap(), 0);
        let bytes = pattern(20_000);
        let mut pieces = vec![IoSlice::new(&[]); 100];
        pieces.push(IoSlice::new(&bytes));
        let mut count = 0;
        while count < bytes.len() {
            let some = write_some(&mut client, &pieces).await.unwrap();
            assert!(some > 0);
            count += some;
            pieces.pop();
            pieces.push(IoSlice::new(&bytes[count..]));
        }
        client.shutdown().await.unwrap();
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        assert!(received == bytes);
    });
}

#[test]
fn lending_to_a_connection_that_is_lost_fails() {
    let reactor = reactor();
    check(&reactor, async {
        let (mut client, server) = pair(&reactor).await;
        server.transport().abort_connection();
        drop(server);
        let piece = vec![0; 1 << 20];
        let failed = loop {
            match write_some(&mut client, &[IoSlice::new(&piece)]).await {
                Ok(count) => assert!(count > 0),
                Err(error) => break error,
            }
            yield_now().await;
        };
        assert!(failed.kind() != io::ErrorKind::WriteZero, "{failed}");
        assert!(!client.transport().is_open());
    });
}
