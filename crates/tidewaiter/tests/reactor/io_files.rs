//! Files that futures read and write.

use std::io::ErrorKind;

use tidewaiter::io::File;
use tidewaiter::{FileOptions, Reactor};

use super::io_support::{breathe, check, poll_times};
use super::support::{pattern, reactor, scratch};

const SIZE: usize = 200_000;

async fn open(reactor: &Reactor, path: std::path::PathBuf, append: bool) -> File {
    let options = match append {
        true => FileOptions::new().read(true).append(true).create(true),
        false => FileOptions::new().read(true).write(true).create(true),
    };
    File::open(reactor, path, options).await.unwrap()
}

#[test]
fn files_are_read_and_written_at_places() {
    let reactor = reactor();
    let path = scratch("tasks");
    check(&reactor, async {
        let missing = File::open(&reactor, path.path(), FileOptions::new()).await;
        let missing = missing.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        let text = missing.to_string();
        assert!(
            text.contains(&format!("{:?}", path.path())) || text.contains("tasks"),
            "{text}"
        );

        let file = open(&reactor, path.path(), false).await;
        file.write_at(0, pattern(SIZE)).await.unwrap();
        file.sync().await.unwrap();
        file.sync_data().await.unwrap();
        assert_eq!(file.metadata().await.unwrap().len, SIZE as u64);
        let mut read = Vec::new();
        loop {
            let next = file.read_into(read.len() as u64, Vec::with_capacity(70_001));
            match next.await.unwrap() {
                bytes if bytes.is_empty() => break,
                bytes => read.extend_from_slice(&bytes),
            }
        }
        assert!(read == pattern(SIZE));
        file.set_len(3).await.unwrap();
        assert_eq!(file.read_at(0, 100).await.unwrap(), pattern(3));
        let refused = file.append("x").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn reads_can_be_dropped_and_begun_again_and_appends_are_made_even_so() {
    let reactor = reactor();
    let path = scratch("dropped");
    check(&reactor, async {
        let file = open(&reactor, path.path(), true).await;
        for number in 0..20_u8 {
            let append = file.append(vec![number; 1000]);
            match number % 3 {
                // Never polled, it does nothing.
                0 => drop(append),
                polls => {
                    if let Some(appended) = poll_times(polls.into(), append).await {
                        appended.unwrap();
                    }
                }
            }
        }
        file.sync().await.unwrap();
        // Those that were polled come in their order.
        let begun = (0..20_u8).filter(|number| number % 3 > 0);
        let expected: Vec<u8> = begun.flat_map(|number| vec![number; 1000]).collect();
        while file.metadata().await.unwrap().len < expected.len() as u64 {
            breathe(&reactor).await;
        }
        let mut read = Vec::new();
        while read.len() < expected.len() {
            let offset = read.len() as u64;
            for polls in 1..3 {
                if let Some(bytes) = poll_times(polls, file.read_at(offset, 3000)).await {
                    read.extend_from_slice(&bytes.unwrap());
                    break;
                }
            }
            if read.len() as u64 == offset {
                read.extend_from_slice(&file.read_at(offset, 3000).await.unwrap());
            }
        }
        assert!(read == expected);
        let opening = File::open(&reactor, path.path(), FileOptions::new());
        assert!(poll_times(1, opening).await.is_none_or(|file| file.is_ok()));
    });
}

#[test]
fn what_waits_for_a_file_ends_with_the_reactor() {
    let reactor = reactor();
    let path = scratch("stopped");
    let handle = reactor.clone();
    let waits = reactor.spawn(async move {
        let file = open(&handle, path.path(), false).await;
        handle.stop();
        while file.metadata().await.is_ok() {
            breathe(&handle).await;
        }
    });
    super::support::run(&reactor);
    assert!(waits.is_finished());
    assert_eq!(reactor.metrics().panics, 0);
}
