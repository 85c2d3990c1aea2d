//! Streams, listeners and sockets of one kind: they take addresses of that kind alone, and do all that the general ones do.

use std::future::{Future, poll_fn};
use std::io::{self, ErrorKind};
use std::pin::Pin;

use tidewaiter::io::{
    NamedPipeListener, NamedPipeStream, Stream, TcpListener, TcpStream, UdpSocket, UnixDatagram,
    UnixListener, UnixStream, copy_bidirectional,
};
use tidewaiter::{Address, PipeName, Reactor, UnixAddress};
use tokio::io::AsyncWrite;

use super::io_support::check;
use super::support::{any_port, reactor};
use crate::support::folder::Folder;
use crate::support::unix_sockets::has_unix_sockets;

/// An address of each kind.
fn addresses(folder: &Folder) -> [Address; 3] {
    let pipe = PipeName::local("refused-by-kind").unwrap();
    [any_port().into(), folder.socket("a").into(), pipe.into()]
}

fn assert_refused<T>(result: Result<T, impl Into<io::Error>>, what: &str, address: &Address) {
    let Err(error) = result else {
        panic!("{what} takes {address}");
    };
    let error = error.into();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{what}: {error}");
    let message = error.to_string();
    assert!(message.contains(&address.to_string()), "{what}: {message}");
}

#[test]
fn an_address_of_another_kind_is_refused_by_name() {
    let folder = Folder::new();
    let reactor = reactor();
    check(&reactor, async {
        let [tcp, unix, pipe] = addresses(&folder);
        for other in [&unix, &pipe] {
            assert_refused(TcpListener::bind(&reactor, other), "TcpListener", other);
            let stream = TcpStream::connect(&reactor, other).await;
            assert_refused(stream, "TcpStream", other);
            assert_refused(UdpSocket::bind(&reactor, other), "UdpSocket", other);
        }
        for other in [&tcp, &pipe] {
            assert_refused(UnixListener::bind(&reactor, other), "UnixListener", other);
            let stream = UnixStream::connect(&reactor, other).await;
            assert_refused(stream, "UnixStream", other);
            assert_refused(UnixDatagram::bind(&reactor, other), "UnixDatagram", other);
        }
        for other in [&tcp, &unix] {
            let listener = NamedPipeListener::bind(&reactor, other);
            assert_refused(listener, "NamedPipeListener", other);
            let stream = NamedPipeStream::connect(&reactor, other).await;
            assert_refused(stream, "NamedPipeStream", other);
        }
        let text = unix.to_string();
        let listener = TcpListener::bind(&reactor, text.as_str());
        assert_eq!(
            io::Error::from(listener.unwrap_err()).kind(),
            ErrorKind::InvalidInput,
            "a text with a prefix is no host"
        );
    });
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "a refused address has no file");
}

/// Goal: a proxy from TCP to a UNIX socket, of typed streams, whose ends come through.
#[test]
fn streams_of_two_kinds_are_joined_and_split() {
    if !has_unix_sockets() {
        return;
    }
    let folder = Folder::new();
    let reactor = reactor();
    check(&reactor, async {
        let path: UnixAddress = folder.socket("server");
        let mut server = UnixListener::bind(&reactor, path.clone()).unwrap();
        let mut proxy = TcpListener::bind(&reactor, any_port()).unwrap();
        let address = proxy.local_addr();
        let passing = reactor.spawn(pass_on(reactor.clone(), path, async move {
            proxy.accept().await.unwrap().0
        }));
        let client: TcpStream = TcpStream::connect(&reactor, address).await.unwrap();
        let (mut reader, mut writer) = client.split();
        writer.write_all(b"question").await.unwrap();
        writer.shutdown().await.unwrap();
        let (stream, _peer) = server.accept().await.unwrap();
        let mut stream = Stream::from(stream);
        let mut question = Vec::new();
        stream.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        stream.write_all(b"answer").await.unwrap();
        drop(stream);
        let mut answer = Vec::new();
        reader.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
        assert_eq!(passing.await.unwrap().unwrap(), (8, 6));
    });
}

/// Goal: libraries that take the traits of tokio or `futures-io` take typed streams, too.
#[test]
fn typed_streams_have_the_traits_of_futures_io_and_of_tokio() {
    let reactor = reactor();
    check(&reactor, async {
        let mut listener = TcpListener::bind(&reactor, any_port()).unwrap();
        let address = listener.local_addr();
        let mut client = TcpStream::connect(&reactor, address).await.unwrap();
        let (mut server, _peer) = listener.accept().await.unwrap();
        assert!(AsyncWrite::is_write_vectored(&client));
        tokio::io::AsyncWriteExt::write_all(&mut client, b"abc")
            .await
            .unwrap();
        let mut read = [0; 3];
        poll_fn(|context| {
            let reads = Pin::new(&mut server);
            futures_io::AsyncBufRead::poll_fill_buf(reads, context).map_ok(|_| ())
        })
        .await
        .unwrap();
        tokio::io::AsyncReadExt::read_exact(&mut server, &mut read)
            .await
            .unwrap();
        assert_eq!(&read, b"abc");
        poll_fn(|context| futures_io::AsyncWrite::poll_close(Pin::new(&mut client), context))
            .await
            .unwrap();
        assert!(
            server.read_chunk().await.unwrap().is_empty(),
            "it has ended"
        );
    });
}

async fn pass_on(
    reactor: Reactor,
    to: UnixAddress,
    client: impl Future<Output = TcpStream>,
) -> io::Result<(u64, u64)> {
    let mut client = client.await;
    let mut server = UnixStream::connect(&reactor, to).await?;
    Ok(copy_bidirectional(&mut client, &mut server).await?)
}
