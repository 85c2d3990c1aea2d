//! A server of HTTP/1: hyper.

use std::convert::Infallible;
use std::error::Error;
use std::future::ready;
use std::io;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use tidewaiter::Reactor;
use tidewaiter::io::Stream;
use tidewaiter_hyper::Io;

use crate::streams;

pub(crate) async fn serve(reactor: &Reactor, body_bytes: usize) -> Result<(), Box<dyn Error>> {
    let body = Bytes::from(vec![b'x'; body_bytes]);
    streams::serve(reactor, |stream| answer(stream, body.clone())).await
}

async fn answer(stream: Stream, body: Bytes) -> io::Result<()> {
    let service = service_fn(|_: Request<Incoming>| {
        ready(Ok::<_, Infallible>(Response::new(Full::new(body.clone()))))
    });
    let connection = http1::Builder::new().serve_connection(Io::new(stream), service);
    connection.await.map_err(io::Error::other)
}
