//! What codecs make of bytes, however these are cut.

use std::fmt::Debug;

use bytes::BytesMut;
use proptest::prelude::*;

use super::decoding::Decoding;
use super::{Decoder, Encoder, FixedSize, LengthPrefixed, Line, LineEnd, Lines, Netstrings};

/// The frames of all bytes, which come in pieces of these lengths and then in one piece, and the error that ends them.
fn told<C>(
    codec: C,
    kept_max: usize,
    data: &[u8],
    lengths: &[usize],
) -> Vec<Result<C::Item, String>>
where
    C: Decoder,
{
    let mut told = Vec::new();
    let mut decoding = Decoding::new(codec);
    let mut rest = data;
    let lengths = lengths.iter().copied().chain([usize::MAX]);
    for length in lengths {
        let (piece, next) = rest.split_at(length.min(rest.len()));
        rest = next;
        decoding.add(piece);
        while let Some(result) = decoding.next() {
            told.push(result.map_err(|error| error.to_string()));
        }
        let kept = decoding.buffer.len();
        assert!(kept <= kept_max, "{kept} bytes are kept");
    }
    while let Some(result) = decoding.next_at_end() {
        told.push(result.map_err(|error| error.to_string()));
    }
    assert_eq!(decoding.buffer.capacity(), 0, "no memory is kept");
    told
}

/// Checks that the same is told however the bytes are cut, and returns it.
fn told_alike<C>(
    codec: &C,
    kept_max: usize,
    data: &[u8],
    lengths: &[usize],
) -> Vec<Result<C::Item, String>>
where
    C: Decoder + Clone,
    C::Item: PartialEq + Debug,
{
    let whole = told(codec.clone(), kept_max, data, &[]);
    for lengths in [lengths, &vec![1; data.len()]] {
        let cut = told(codec.clone(), kept_max, data, lengths);
        // An error may tell how many bytes had arrived.
        assert_eq!(whole.len(), cut.len(), "{whole:?} {cut:?}");
        for (one, other) in whole.iter().zip(&cut) {
            assert!(
                one == other || (one.is_err() && other.is_err()),
                "{one:?} {other:?}"
            );
        }
    }
    whole
}

/// The lines that should be told, found in another way.
fn expected_lines(limit: usize, data: &[u8]) -> Vec<(Vec<u8>, LineEnd)> {
    let mut parts: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let last = parts.pop().filter(|last| !last.is_empty());
    let ended = parts.into_iter().map(|part| {
        let line = part.strip_suffix(b"\r").unwrap_or(part);
        (line, LineEnd::Newline)
    });
    let unended = last.map(|part| (part, LineEnd::EndOfData));
    let cut = |(line, end): (&[u8], LineEnd)| match line.len() > limit {
        true => (line[..limit].to_vec(), LineEnd::TooLong),
        false => (line.to_vec(), end),
    };
    ended.chain(unended).map(cut).collect()
}

/// Bytes among which frames are not rare.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        Just(b'\n'),
        Just(b'\r'),
        Just(b':'),
        Just(b','),
        Just(0),
        Just(b'0'),
        1..4_u8,
        b'0'..=b'9',
        any::<u8>()
    ];
    prop::collection::vec(byte, 0..40)
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..6_usize, 0..12)
}

/// Checks that the frames of `all` come back from their bytes.
fn come_back<'a, C>(mut codec: C, all: &'a [Vec<u8>], lengths: &[usize])
where
    C: Decoder<Item: AsRef<[u8]>> + Encoder<&'a Vec<u8>, Error: Debug> + Clone,
{
    let mut buffer = BytesMut::new();
    for frame in all {
        codec.encode(frame, &mut buffer).expect("it is a frame");
    }
    let told = told(codec, 64, &buffer, lengths);
    let told: Vec<_> = told
        .iter()
        .map(|frame| frame.as_ref().map(AsRef::as_ref))
        .collect();
    let sent: Vec<_> = all.iter().map(|frame| Ok(&frame[..])).collect();
    assert_eq!(told, sent);
}

proptest! {
    #[test]
    fn lines_are_the_same_however_the_bytes_are_cut(
        data in bytes(),
        limit in prop_oneof![0..6_usize, Just(usize::MAX)],
        lengths in lengths(),
    ) {
        let cutting = Lines::new().limit(limit).cut_long();
        let kept_max = limit.saturating_add(1);
        let told = told_alike(&cutting, kept_max, &data, &lengths);
        let lines = told.into_iter().map(|line| line.map(|line| (line.to_vec(), line.end)));
        let lines: Result<Vec<_>, _> = lines.collect();
        prop_assert_eq!(lines, Ok(expected_lines(limit, &data)));

        let strict = told_alike(&Lines::new().limit(limit), kept_max, &data, &lengths);
        let short = |(_, end): &(_, LineEnd)| *end != LineEnd::TooLong;
        let expected = expected_lines(limit, &data);
        let whole = expected.iter().take_while(|line| short(line)).count();
        prop_assert_eq!(strict.iter().filter(|line| line.is_ok()).count(), whole);
        prop_assert_eq!(strict.len() > whole, !expected.iter().all(short));
    }

    #[test]
    fn other_frames_are_the_same_however_the_bytes_are_cut(
        data in bytes(),
        limit in 0..6_usize,
        prefix in 1..9_usize,
        size in 1..9_usize,
        lengths in lengths(),
    ) {
        told_alike(&Netstrings::new().limit(limit), limit + 22, &data, &lengths);
        told_alike(&LengthPrefixed::big_endian(prefix).limit(limit), limit + 8, &data, &lengths);
        told_alike(&LengthPrefixed::little_endian(prefix).limit(limit), limit + 8, &data, &lengths);
        told_alike(&FixedSize::new(size), size, &data, &lengths);
    }

    #[test]
    fn frames_come_back_from_their_bytes(
        all in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..6),
        size in 1..9_usize,
        prefix in 1..9_usize,
        lengths in lengths(),
    ) {
        come_back(Netstrings::new(), &all, &lengths);
        come_back(LengthPrefixed::big_endian(prefix), &all, &lengths);
        come_back(LengthPrefixed::little_endian(prefix), &all, &lengths);
        let sized: Vec<_> = all.iter().filter(|frame| frame.len() >= size).collect();
        let sized: Vec<_> = sized.iter().map(|frame| frame[..size].to_vec()).collect();
        come_back(FixedSize::new(size), &sized, &lengths);
        let lines: Vec<_> = all.iter().filter(|line| !line.contains(&b'\n')).cloned().collect();
        come_back(Lines::new(), &lines, &lengths);
        come_back(Lines::new().end_with_return(), &lines, &lengths);
    }
}

/// What a decoder says of bytes that are no frame.
fn refused<C: Decoder<Item: Debug>>(mut codec: C, data: &[u8]) -> String {
    let mut buffer = BytesMut::from(data);
    codec
        .decode_eof(&mut buffer)
        .map(|_| ())
        .expect_err("it is no frame")
        .to_string()
}

#[test]
fn errors_name_the_frame_and_what_is_wrong() {
    let netstrings = Netstrings::new().limit(10);
    for (data, error) in [
        ("11:", "netstring too long: 11 bytes, the limit is 10"),
        (
            "99999999999999999999:",
            "netstring too long: 18446744073709551615 bytes, the limit is 10",
        ),
        ("000", "malformed netstring: its length begins with a zero"),
        (":", "malformed netstring: no digit but ':' begins it"),
        (
            "1\n",
            "malformed netstring: no colon but '\\n' follows its length",
        ),
        (
            "2:abc",
            "malformed netstring: no comma but 'c' follows its 2 bytes",
        ),
        (
            "111111111111111111111",
            "malformed netstring: its length has more than 20 digits",
        ),
        (
            "2:ab",
            "the stream ended within a netstring, after 4 of its bytes",
        ),
    ] {
        assert_eq!(refused(netstrings.clone(), data.as_bytes()), error);
    }
    let prefixed = LengthPrefixed::little_endian(8).limit(10);
    let (frame, all) = ("length-prefixed frame", [255; 8]);
    let error = format!("{frame} too long: {} bytes, the limit is 10", u64::MAX);
    assert_eq!(refused(prefixed.clone(), &all), error);
    let error = format!("the stream ended within a {frame}, after 3 of its bytes");
    assert_eq!(refused(prefixed, &all[..3]), error);
    let error = "line too long: 5 bytes, the limit is 3";
    assert_eq!(refused(Lines::new().limit(3), b"abcde"), error);
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let error = LengthPrefixed::big_endian(1).frame([0; 256]).unwrap_err();
    let expected = "length-prefixed frame too long: 256 bytes, the limit is 255";
    assert_eq!(error.to_string(), expected);
    let error = Netstrings::new().limit(2).frame("abc").unwrap_err();
    assert_eq!(
        error.to_string(),
        "netstring too long: 3 bytes, the limit is 2"
    );
    let error = Lines::new().limit(2).frame("abc").unwrap_err();
    assert_eq!(error.to_string(), "line too long: 3 bytes, the limit is 2");
    let error = Lines::new().frame("a\nb").unwrap_err();
    assert_eq!(
        error.to_string(),
        "malformed line: a line feed after 1 bytes"
    );
    assert_eq!(
        LengthPrefixed::big_endian(8)
            .limit(usize::MAX)
            .frame("x")
            .map(|frame| frame.len())
            .unwrap(),
        9
    );
}

#[test]
fn a_frame_that_is_kept_does_not_keep_what_arrived_after_it() {
    let mut decoding = Decoding::new(Lines::new());
    let mut data = vec![b'x'; 10_000];
    data.extend_from_slice(b"\nrest");
    decoding.add(&data);
    let line: Line = decoding
        .next()
        .expect("a line")
        .expect("it is short enough");
    assert!(decoding.next().is_none());
    assert_eq!(&decoding.buffer[..], b"rest");
    let (line, rest) = (line.bytes.as_ptr_range(), decoding.buffer.as_ptr());
    assert!(!line.contains(&rest) && rest != line.end.wrapping_add(1));
}
