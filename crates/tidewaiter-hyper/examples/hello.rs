//! Says hello over HTTP/1 or HTTP/2: `cargo run -p tidewaiter-hyper --example hello -- 127.0.0.1:8000`, and
//! `curl http://127.0.0.1:8000/`. With the word `http2` after the address, `curl --http2-prior-knowledge`. Ctrl-C ends it.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use tidewaiter::io::Stream;
use tidewaiter::{GroupListener, Reactor, ReactorGroup};
use tidewaiter_hyper::{Io, ReactorExecutor, ReactorTimer};

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("hello, world\n")))
}

async fn over_http1(stream: Stream) -> hyper::Result<()> {
    let timer = ReactorTimer::new(stream.transport().reactor());
    http1::Builder::new()
        .timer(timer)
        .header_read_timeout(Duration::from_secs(10))
        .serve_connection(Io::new(stream), service_fn(hello))
        .await
}

async fn over_http2(stream: Stream) -> hyper::Result<()> {
    let reactor = stream.transport().reactor().clone();
    http2::Builder::new(ReactorExecutor::new(&reactor))
        .timer(ReactorTimer::new(&reactor))
        .keep_alive_interval(Duration::from_secs(60))
        .serve_connection(Io::new(stream), service_fn(hello))
        .await
}

/// Starts to serve `address`.
pub(crate) fn serve(
    group: &ReactorGroup,
    address: SocketAddr,
    http2: bool,
) -> Result<GroupListener, tidewaiter::Error> {
    match http2 {
        true => group.serve(address, |stream, _peer| over_http2(stream)),
        false => group.serve(address, |stream, _peer| over_http1(stream)),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let address = words.next();
    let address = address.as_deref().unwrap_or("127.0.0.1:8000").parse()?;
    let http2 = words.next().is_some_and(|word| word == "http2");
    let group = ReactorGroup::per_core(&Reactor::builder())?;
    println!("http://{}/", serve(&group, address, http2)?.local_addr());
    group.join()?;
    Ok(())
}
