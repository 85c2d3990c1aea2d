//! Tests of the queue of bytes.

use super::{Chunks, GATHER_BYTES};
use bytes::Bytes;
use proptest::prelude::{any, proptest};

fn content(chunks: &Chunks) -> Vec<u8> {
    chunks.slices().flatten().copied().collect()
}

#[test]
fn small_writes_share_a_piece_and_shared_memory_is_not_copied() {
    let mut chunks = Chunks::new();
    chunks.extend_from_slice(b"ab");
    chunks.extend_from_slice(b"cd");
    assert_eq!(chunks.count(), 1);
    let shared = Bytes::from(vec![7; 100]);
    chunks.push(shared.clone());
    assert_eq!(chunks.count(), 2);
    assert_eq!(
        chunks.slices().nth(1).map(<[u8]>::as_ptr),
        Some(shared.as_ptr())
    );
    chunks.extend_from_slice(&vec![1; 2 * GATHER_BYTES]);
    assert_eq!(chunks.len(), 104 + 2 * GATHER_BYTES);
}

/// Goal: many small writes become one piece, whatever precedes them, and remain one when they
/// are taken to be sent.
#[test]
fn small_writes_behind_shared_memory_are_one_piece() {
    let mut chunks = Chunks::new();
    for round in 1..=2 {
        chunks.push(Bytes::from(vec![0; 4 * GATHER_BYTES]));
        for _ in 0..100 {
            chunks.extend_from_slice(&[1; 20]);
        }
        assert_eq!(chunks.count(), 2 * round);
    }
    let mut part = Chunks::new();
    part.take_from(&mut chunks, 2, usize::MAX);
    assert_eq!((part.count(), part.len()), (2, 4 * GATHER_BYTES + 2000));
}

#[test]
fn the_memory_of_a_small_write_serves_the_next_one_and_that_of_a_large_one_is_freed() {
    let mut chunks = Chunks::from(b"abc".as_slice());
    let memory = chunks.first().as_ptr();
    chunks.note_sent(2);
    assert_eq!((chunks.first(), chunks.count()), (b"c".as_slice(), 1));
    chunks.note_sent(1);
    assert_eq!((chunks.first(), chunks.count()), (b"".as_slice(), 0));
    chunks.extend_from_slice(b"de");
    assert_eq!(chunks.first().as_ptr(), memory);
    chunks.extend_from_slice(&vec![1; 2 * GATHER_BYTES]);
    chunks.note_sent(chunks.len());
    let storage = chunks.storage.as_ref().expect("it stays");
    assert!(storage.gathered.capacity() <= GATHER_BYTES);
}

#[test]
fn taking_nothing_leaves_a_half_sent_piece_as_it_was() {
    let mut chunks = Chunks::from(b"abc".as_slice());
    chunks.advance(1);
    let mut nothing = Chunks::new();
    nothing.take_from(&mut chunks, 1, 0);
    assert!(nothing.is_empty());
    assert_eq!(content(&chunks), b"bc");
}

#[test]
fn messages_keep_their_ends_when_parts_are_sent_and_put_back() {
    let mut chunks = Chunks::from(b"abc".as_slice());
    assert!(!chunks.has_messages());
    chunks.begin_message(Vec::new());
    chunks.begin_message(Vec::new());
    chunks.extend_from_slice(b"de");
    chunks.push(b"f".as_slice());
    let first = |chunks: &Chunks| chunks.first_message().map(|(len, _)| len);
    assert_eq!(first(&chunks), Some(3));

    let mut part = Chunks::new();
    part.take_from(&mut chunks, 1, 4);
    assert_eq!((content(&part), first(&part)), (b"abcde".to_vec(), Some(3)));
    assert_eq!((content(&chunks), first(&chunks)), (b"f".to_vec(), Some(1)));
    part.note_sent(4);
    chunks.put_back(&mut part);
    assert_eq!(
        (content(&chunks), first(&chunks)),
        (b"ef".to_vec(), Some(1))
    );
    chunks.note_sent(1);
    assert_eq!(first(&chunks), Some(1));
    chunks.note_sent(1);
    assert_eq!(first(&chunks), None);
    chunks.extend_from_slice(b"g");
    assert!(!chunks.has_messages());
}

#[cfg(unix)]
#[test]
fn descriptors_go_with_the_first_byte_of_their_message() {
    let mut chunks = Chunks::from(b"ab".as_slice());
    let (pipe, mut end) = std::io::pipe()
        .map(|(read, write)| (write, read))
        .expect("a pipe");
    chunks.begin_message(vec![pipe.into()]);
    chunks.extend_from_slice(b"cd");
    let first = |chunks: &Chunks| chunks.first_message().map(|(len, all)| (len, all.len()));
    assert_eq!(first(&chunks), Some((2, 0)));
    chunks.note_sent(2);
    assert_eq!(first(&chunks), Some((2, 1)));
    chunks.note_sent(1);
    assert_eq!(first(&chunks), Some((1, 0)));
    let read = std::io::Read::read(&mut end, &mut [0]).expect("it is closed");
    assert_eq!(read, 0, "ours is closed once it is sent");
}

#[cfg(unix)]
#[test]
fn descriptors_are_attached_to_the_last_byte_unless_others_are() {
    let pipe = || vec![std::io::pipe().expect("a pipe").0.into()];
    let mut chunks = Chunks::new();
    let refused = chunks.attach(pipe()).expect_err("there is no byte");
    assert_eq!(refused.len(), 1, "they are given back");
    chunks.extend_from_slice(b"abc");
    chunks.attach(refused).expect("there is one");
    chunks.attach(pipe()).expect_err("others go with it");
    let first = |chunks: &Chunks| chunks.first_message().map(|(len, all)| (len, all.len()));
    assert_eq!(first(&chunks), Some((2, 0)));
    chunks.extend_from_slice(b"d");
    chunks.note_sent(2);
    assert_eq!(first(&chunks), Some((2, 1)));
}

proptest! {
    /// Goal: bytes that are written, sent in parts and put back come out once and in order.
    #[test]
    fn bytes_keep_their_order(steps: Vec<(u8, u16)>, seed in any::<u8>()) {
        let (mut chunks, mut model, mut next) = (Chunks::new(), Vec::<u8>::new(), seed);
        for (action, size) in steps {
            let size = usize::from(size % 5000);
            let data: Vec<u8> = (0..size).map(|_| { next = next.wrapping_add(1); next }).collect();
            match action % 3 {
                0 => { chunks.extend_from_slice(&data); model.extend(&data); }
                1 => { chunks.push(data.clone()); model.extend(&data); }
                _ => {
                    let mut part = Chunks::new();
                    part.take_from(&mut chunks, 1 + size % 4, size);
                    let sent = size.min(part.len());
                    part.advance(sent);
                    model.drain(..sent);
                    chunks.put_back(&mut part);
                }
            }
            assert_eq!(chunks.len(), model.len());
            assert!(chunks.slices().all(|piece| !piece.is_empty()));
        }
        assert_eq!(content(&chunks), model);
    }
}
