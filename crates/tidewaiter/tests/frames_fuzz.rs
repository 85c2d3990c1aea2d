//! Random bytes for every codec: the inputs in `tests/frames_corpus/`, and changes of these.
//!
//! A run of the tests takes a moment. By hand, `TIDEWAITER_FUZZ_SECONDS=600 cargo test -p tidewaiter --test frames_fuzz`
//! goes on for ten minutes, and `TIDEWAITER_SEED=7` makes other changes. A failure saves its input: put that into the
//! folder of its codec, and it is checked from then on.
//!
//! The first three bytes of an input choose the codec's limit or size, its kind, and how the others are cut.

mod support {
    pub(crate) mod random;
}

use std::collections::HashSet;
use std::fmt::Debug;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use support::random::Random;
use tidewaiter::bytes::BytesMut;
use tidewaiter::frames::{Decoder, Encoder, FixedSize, LengthPrefixed, LineEnd, Lines, Netstrings};

/// How long each codec is tested unless the environment says so.
const TIME: Duration = Duration::from_millis(250);
/// And with how many inputs.
const INPUTS_MAX: usize = 4000;
/// No input becomes longer.
const LENGTH_MAX: usize = 400;
/// What a codec may keep besides the bytes of a frame.
const HEAD_MAX: usize = 22;

/// What a codec told of an input.
type Told = Vec<Result<Vec<u8>, String>>;

/// Decodes pieces of random lengths up to `piece_max`.
fn decode<C>(mut codec: C, limit: usize, data: &[u8], piece_max: usize, random: &mut Random) -> Told
where
    C: Decoder<Item: AsRef<[u8]>>,
{
    let (mut told, mut buffer, mut rest) = (Vec::new(), BytesMut::new(), data);
    loop {
        let ended = rest.is_empty();
        let length = 1 + random.below(piece_max);
        let (piece, next) = rest.split_at(length.min(rest.len()));
        rest = next;
        buffer.extend_from_slice(piece);
        loop {
            let before = buffer.len();
            let result = match ended {
                true => codec.decode_eof(&mut buffer),
                false => codec.decode(&mut buffer),
            };
            match result {
                Ok(Some(frame)) => told.push(Ok(frame.as_ref().to_vec())),
                Ok(None) => break,
                Err(error) => {
                    told.push(Err(error.to_string()));
                    return told;
                }
            }
            assert!(buffer.len() < before, "a frame has taken bytes");
        }
        assert!(
            buffer.len() <= limit + HEAD_MAX,
            "no more than a frame is kept"
        );
        if ended {
            assert!(buffer.is_empty(), "all bytes are told");
            return told;
        }
    }
}

/// An error without its numbers: how many bytes had arrived depends on the pieces.
fn kind_of(error: &str) -> String {
    error.chars().filter(|c| !c.is_ascii_digit()).collect()
}

/// Checks an input, and returns what was told.
fn check<C>(codec: C, limit: usize, data: &[u8], random: &mut Random) -> Told
where
    C: Decoder<Item: AsRef<[u8]>> + for<'a> Encoder<&'a [u8], Error: Debug> + Clone,
{
    let whole = decode(codec.clone(), limit, data, 1 << 20, random);
    for piece_max in [1, 7] {
        let cut = decode(codec.clone(), limit, data, piece_max, random);
        let alike = whole
            .iter()
            .zip(&cut)
            .all(|(one, other)| match (one, other) {
                (Ok(one), Ok(other)) => one == other,
                (Err(one), Err(other)) => kind_of(one) == kind_of(other),
                _ => false,
            });
        assert!(
            alike && whole.len() == cut.len(),
            "{whole:?} is {cut:?} in pieces"
        );
    }
    let (mut encoder, mut buffer) = (codec.clone(), BytesMut::new());
    let frames: Told = whole
        .iter()
        .filter(|frame| frame.is_ok())
        .cloned()
        .collect();
    for frame in frames.iter().flatten() {
        encoder.encode(frame, &mut buffer).expect("it was a frame");
    }
    assert_eq!(
        decode(codec, limit, &buffer, 7, random),
        frames,
        "they come back"
    );
    whole
}

fn check_lines(limit: u8, kind: u8, data: &[u8], random: &mut Random) -> Told {
    let limit = usize::from(limit);
    let lines = Lines::new().limit(limit);
    if kind.is_multiple_of(2) {
        return check(lines, limit, data, random);
    }
    let told = check(lines.clone().cut_long(), limit, data, random);
    let (mut buffer, mut cutting) = (BytesMut::from(data), lines.cut_long());
    while let Ok(Some(line)) = cutting.decode_eof(&mut buffer) {
        assert!(line.end != LineEnd::TooLong || line.len() == limit);
    }
    let fed = data.split(|byte| *byte == b'\n').count();
    assert_eq!(
        told.len(),
        fed - usize::from(data.is_empty() || data.ends_with(b"\n"))
    );
    told
}

fn check_netstrings(limit: u8, _: u8, data: &[u8], random: &mut Random) -> Told {
    let limit = usize::from(limit);
    check(Netstrings::new().limit(limit), limit, data, random)
}

fn check_length_prefixed(limit: u8, kind: u8, data: &[u8], random: &mut Random) -> Told {
    let (limit, prefix) = (usize::from(limit), usize::from(1 + kind % 8));
    let codec = match kind / 8 % 2 {
        0 => LengthPrefixed::big_endian(prefix),
        _ => LengthPrefixed::little_endian(prefix),
    };
    check(codec.limit(limit), limit, data, random)
}

fn check_fixed_size(size: u8, _: u8, data: &[u8], random: &mut Random) -> Told {
    let size = usize::from(size).max(1);
    check(FixedSize::new(size), size, data, random)
}

/// Changes an input a little, or much.
fn change(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    const TELLING: &[u8] = b"\n\r:,0123456789\x00\x01\x02\xff";
    for _ in 0..=random.below(4) {
        let at = random.below(input.len() + 1);
        let end = at + random.below(input.len() - at + 1);
        match random.below(6) {
            0 => input.insert(at, TELLING[random.below(TELLING.len())]),
            1 => input.insert(at, u8::try_from(random.below(256)).expect("it is below")),
            2 => drop(input.drain(at..end)),
            3 => {
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
            4 => {
                let from = random.below(other.len() + 1);
                input.splice(at..end, other[from..].iter().copied());
            }
            _ if at < input.len() => input[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
    input.truncate(LENGTH_MAX);
    input.resize(input.len().max(3), 1);
}

fn number_from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// Checks the inputs of a folder, and then changes of them and of what was told in a new way.
fn fuzz(folder: &str, check: fn(u8, u8, &[u8], &mut Random) -> Told) {
    let seconds = number_from_environment("TIDEWAITER_FUZZ_SECONDS");
    let time = seconds.map_or(TIME, Duration::from_secs);
    let inputs_max = seconds.map_or(INPUTS_MAX, |_| usize::MAX);
    let mut random = Random::new(number_from_environment("TIDEWAITER_SEED").unwrap_or(1));
    let path = Path::new("tests/frames_corpus").join(folder);
    let files = fs::read_dir(path).expect("tests run in the folder of the package");
    let files = files.map(|file| fs::read(file.expect("it is listed").path()));
    let mut inputs: Vec<_> = files.map(|file| file.expect("a file")).collect();
    let (given, mut seen, begin) = (inputs.len(), HashSet::new(), Instant::now());
    for count in 0..inputs_max {
        if count >= given && begin.elapsed() > time {
            break;
        }
        let mut input = inputs[count % inputs.len()].clone();
        if count >= given {
            let other = random.below(inputs.len());
            change(&mut input, &inputs[other], &mut random);
        }
        let told = checked(folder, check, &input);
        // The shape of what was told: how it ended, and about how many frames came before.
        let end = told.last().map(|last| {
            last.as_ref()
                .map_or_else(|error| kind_of(error), |_| String::new())
        });
        if seen.insert((end, told.len().min(8))) && count >= given {
            inputs.push(input);
        }
    }
}

/// Checks an input, and saves it if that fails.
fn checked(folder: &str, check: fn(u8, u8, &[u8], &mut Random) -> Told, input: &[u8]) -> Told {
    let (limit, kind, cut) = (input[0], input[1], input[2]);
    let call = || check(limit, kind, &input[3..], &mut Random::new(u64::from(cut)));
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{folder}_failed"));
        let saved = fs::write(&path, input);
        let (head, data) = (&input[..3], input[3..].escape_ascii());
        panic!("the failure above is of {head:?} {data}, saved as {path:?}: {saved:?}");
    })
}

#[test]
fn lines_hold_their_promises_for_random_bytes() {
    fuzz("lines", check_lines);
}

#[test]
fn netstrings_hold_their_promises_for_random_bytes() {
    fuzz("netstrings", check_netstrings);
}

#[test]
fn length_prefixed_frames_hold_their_promises_for_random_bytes() {
    fuzz("length_prefixed", check_length_prefixed);
}

#[test]
fn frames_of_a_fixed_size_hold_their_promises_for_random_bytes() {
    fuzz("fixed_size", check_fixed_size);
}
