//! Tests of the examples, which are compiled into this file.
#![allow(dead_code, reason = "the tests do not call `main`")]

mod support;

#[path = "../examples/hello.rs"]
mod hello;
#[path = "../examples/websocket.rs"]
mod websocket;

use async_tungstenite::tungstenite::Message;
use async_tungstenite::{accept_async, client_async};
use futures_util::StreamExt;
use http_body_util::BodyExt;
use support::{Client, Pieces, Version, listen, on_each_port, run};
use tidewaiter::io::Stream;
use tidewaiter::{Address, GroupListener, Reactor, ReactorGroup};

/// Runs a test against a server on a group of reactors.
fn against(
    serve: impl FnOnce(&ReactorGroup) -> Result<GroupListener, tidewaiter::Error>,
    test: &impl AsyncFn(&Reactor, Address),
) {
    let group = ReactorGroup::start(2, &Reactor::builder().signals(false)).unwrap();
    let address = serve(&group).unwrap().local_addr();
    let reactor = Reactor::builder().signals(false).build().unwrap();
    run(&reactor, &async |reactor: &Reactor| {
        test(reactor, address.clone()).await;
    });
    group.stop();
    group.join().unwrap();
}

async fn body_of(client: &mut Client) -> String {
    let response = client.send(Pieces::one("")).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[test]
fn hello_is_said_over_both_protocols() {
    let any_port = ([127, 0, 0, 1], 0).into();
    for version in support::BOTH {
        let http2 = version == Version::Http2;
        let serve = |group: &ReactorGroup| hello::serve(group, any_port, http2);
        against(serve, &async |reactor: &Reactor, address| {
            let mut client = Client::connect(reactor, address, version).await;
            for _ in 0..2 {
                assert_eq!(body_of(&mut client).await, "hello, world\n");
            }
        });
    }
}

#[test]
fn a_page_and_a_websocket_are_served_on_one_port() {
    let any_port = ([127, 0, 0, 1], 0).into();
    let serve = |group: &ReactorGroup| websocket::serve(group, any_port);
    against(serve, &async |reactor: &Reactor, address: Address| {
        let mut client = Client::connect(reactor, address.clone(), Version::Http1).await;
        assert!(body_of(&mut client).await.contains("new WebSocket"));
        talk(reactor, address).await;
    });
}

/// Without hyper, on every port: the traits of `futures-io` are all that the WebSocket needs.
#[test]
fn websockets_echo_messages_of_every_size() {
    on_each_port(async |reactor| {
        let (mut listener, address) = listen(reactor);
        let server = reactor.spawn(async move {
            let (stream, _peer) = listener.accept().await.unwrap();
            let mut socket = accept_async(stream).await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                if message.is_text() || message.is_binary() {
                    socket.send(message).await.unwrap();
                }
            }
        });
        talk(reactor, address).await;
        server.await.unwrap();
    });
}

/// Sends messages over a WebSocket, expects each back, and closes it.
async fn talk(reactor: &Reactor, address: Address) {
    let stream = Stream::connect(reactor, address).await.unwrap();
    let (mut socket, response) = client_async("ws://localhost/echo", stream).await.unwrap();
    assert_eq!(response.status(), 101);
    let large = support::pattern(1 << 20);
    for message in [
        Message::text("hello"),
        Message::text(""),
        Message::binary(large),
    ] {
        socket.send(message.clone()).await.unwrap();
        let back = socket.next().await.unwrap().unwrap();
        assert!(back == message, "{} bytes", back.len());
    }
    socket.close(None).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        assert!(message.is_close());
    }
}
