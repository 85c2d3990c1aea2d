//! A page and a WebSocket on one port: `cargo run -p tidewaiter-hyper --example websocket -- 127.0.0.1:8000`, then open
//! <http://127.0.0.1:8000/> in a browser. Ctrl-C ends it.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::cell::Cell;
use std::error::Error;
use std::future;
use std::net::SocketAddr;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::handshake::derive_accept_key;
use async_tungstenite::tungstenite::protocol::Role;
use futures_util::StreamExt;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, http};
use tidewaiter::io::Stream;
use tidewaiter::{Address, GroupListener, Reactor, ReactorGroup};
use tidewaiter_hyper::Io;

const PAGE: &str = r#"<!doctype html><input id=i placeholder="say something"><pre id=o></pre><script>
    const s = new WebSocket(`ws://${location.host}/echo`);
    s.onmessage = m => { o.textContent += m.data + "\n" };
    i.onchange = () => { s.send(i.value); i.value = "" };
</script>"#;

/// Answers with the page, and a request for a WebSocket with a promise to speak its protocol from then on.
fn answer(request: &Request<Incoming>) -> http::Result<Response<Full<Bytes>>> {
    let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY) else {
        return Response::builder()
            .header(CONTENT_TYPE, "text/html")
            .body(Full::from(PAGE));
    };
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()))
        .body(Full::default())
}

/// Serves HTTP until the client goes away or wants a WebSocket, and then sends back what comes over that.
async fn serve_one(stream: Stream, _peer: Address) -> Result<(), Box<dyn Error>> {
    let upgraded = Cell::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        upgraded.set(request.headers().contains_key(SEC_WEBSOCKET_KEY));
        future::ready(answer(&request))
    });
    let connection = http1::Builder::new().serve_connection(Io::new(stream), service);
    let rest = connection.without_shutdown().await?;
    if !upgraded.get() {
        return Ok(());
    }
    let (stream, early) = (rest.io.into_inner(), rest.read_buf.to_vec());
    let mut socket = WebSocketStream::from_partially_read(stream, early, Role::Server, None).await;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

/// Starts to serve `address`.
pub(crate) fn serve(
    group: &ReactorGroup,
    address: SocketAddr,
) -> Result<GroupListener, tidewaiter::Error> {
    group.serve(address, serve_one)
}

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1);
    let address = address.as_deref().unwrap_or("127.0.0.1:8000").parse()?;
    let group = ReactorGroup::per_core(&Reactor::builder())?;
    println!("http://{}/", serve(&group, address)?.local_addr());
    group.join()?;
    Ok(())
}
