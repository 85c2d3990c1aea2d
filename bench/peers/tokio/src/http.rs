//! A server of HTTP/1: hyper.

use std::convert::Infallible;
use std::future::ready;
use std::io;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::streams;

pub(crate) async fn serve(body_bytes: usize) -> io::Result<()> {
    let body = Bytes::from(vec![b'x'; body_bytes]);
    streams::serve(|stream| answer(stream, body.clone())).await
}

async fn answer(stream: TcpStream, body: Bytes) -> io::Result<()> {
    let service = service_fn(|_: Request<Incoming>| {
        ready(Ok::<_, Infallible>(Response::new(Full::new(body.clone()))))
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    connection.await.map_err(io::Error::other)
}
