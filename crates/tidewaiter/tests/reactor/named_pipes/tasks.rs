//! Named pipes in tasks.

use std::io::{self, ErrorKind};

use tidewaiter::io::{NamedPipeListener, NamedPipeStream};
use tidewaiter::{PipeName, Reactor};

use super::super::promises::io_support::{check, poll_once};
use super::super::promises::support::{pattern, reactor};
use super::name;

async fn echo(mut stream: NamedPipeStream) -> io::Result<()> {
    loop {
        let chunk = stream.read_chunk().await?;
        if chunk.is_empty() {
            return Ok(());
        }
        stream.write_chunk(chunk).await?;
    }
}

async fn serve(reactor: Reactor, name: PipeName) -> io::Result<()> {
    let mut listener = NamedPipeListener::bind(&reactor, name)?;
    loop {
        assert!(poll_once(listener.accept()).await.is_none(), "none waits");
        let (stream, _peer) = listener.accept().await?;
        reactor.spawn(echo(stream));
    }
}

#[test]
fn clients_are_served_by_a_task_each() {
    const SIZE: usize = 300_000;
    let reactor = reactor();
    check(&reactor, async {
        let name = name();
        let nobody = NamedPipeStream::connect(&reactor, name.clone()).await;
        assert_eq!(
            io::Error::from(nobody.unwrap_err()).kind(),
            ErrorKind::NotFound
        );
        let server = reactor.spawn(serve(reactor.clone(), name.clone()));
        tidewaiter::yield_now().await;
        for _ in 0..3 {
            let stream = NamedPipeStream::connect(&reactor, name.clone()).await;
            let (mut reader, mut writer) = stream.unwrap().split();
            let writing = reactor.spawn(async move {
                writer.write_all(&pattern(SIZE)).await?;
                Ok::<_, io::Error>(writer)
            });
            let mut echoed = vec![0; SIZE];
            reader.read_exact(&mut echoed).await.unwrap();
            assert!(echoed == pattern(SIZE));
            drop(writing.await.unwrap().unwrap());
            assert!(reader.read_chunk().await.unwrap().is_empty());
        }
        server.abort();
        assert!(server.await.is_err());
    });
}
