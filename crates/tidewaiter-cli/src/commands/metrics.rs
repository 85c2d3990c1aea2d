//! A minimal HTTP server for metrics.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::{Address, DelayedCall, Factory, Protocol, Reason, Transport};

/// Longer requests are refused.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
/// Time limit for a request and its answer; a slower client is disconnected.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(5);
/// Limit of simultaneous clients; further connections are closed at once.
const CLIENTS_MAX: usize = 32;

type Render = Rc<dyn Fn() -> String>;

/// Answers requests for metrics.
pub(super) struct Responder {
    render: Render,
    clients: Rc<Cell<usize>>,
}

impl Responder {
    pub(super) fn new(render: impl Fn() -> String + 'static) -> Responder {
        Responder {
            render: Rc::new(render),
            clients: Rc::default(),
        }
    }
}

impl Factory for Responder {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        if self.clients.get() >= CLIENTS_MAX {
            return None;
        }
        self.clients.set(self.clients.get() + 1);
        Some(Box::new(Exchange {
            render: Rc::clone(&self.render),
            clients: Rc::clone(&self.clients),
            request: Vec::new(),
            answered: false,
            limit: None,
        }))
    }
}

/// One request and its answer.
struct Exchange {
    render: Render,
    clients: Rc<Cell<usize>>,
    request: Vec<u8>,
    answered: bool,
    limit: Option<DelayedCall>,
}

impl Protocol for Exchange {
    fn connection_made(&mut self, transport: &Transport) {
        let slow = transport.clone();
        let limit = transport
            .reactor()
            .call_later(EXCHANGE_LIMIT, move |_| slow.abort_connection());
        self.limit = Some(limit);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        if self.answered {
            return;
        }
        self.request.extend_from_slice(data);
        let answer = if is_complete(&self.request) {
            answer_to(&self.request, &*self.render)
        } else if self.request.len() > REQUEST_BYTES_MAX {
            response(
                "431 Request Header Fields Too Large",
                "the request is too long\n",
                true,
            )
        } else {
            return;
        };
        self.answered = true;
        self.request = Vec::new();
        transport.write(answer.as_bytes());
        // Keep reading until the client closes. Closing with unread data would reset the connection, and the client
        // could lose the answer.
        transport.lose_write_connection();
    }

    fn connection_lost(&mut self, _: &Transport, _: Reason) {
        self.clients.set(self.clients.get() - 1);
        if let Some(limit) = self.limit.take() {
            limit.cancel();
        }
    }
}

/// Whether the request has the empty line that ends the headers.
fn is_complete(request: &[u8]) -> bool {
    let has = |end: &[u8]| request.windows(end.len()).any(|window| window == end);
    has(b"\r\n\r\n") || has(b"\n\n")
}

fn answer_to(request: &[u8], render: &dyn Fn() -> String) -> String {
    let line = request
        .split(|&byte| byte == b'\n')
        .next()
        .unwrap_or_default();
    let Ok(line) = std::str::from_utf8(line) else {
        return response("400 Bad Request", "this is not HTTP\n", true);
    };
    let mut words = line.split_ascii_whitespace();
    let (method, target, version) = (words.next(), words.next(), words.next());
    let path = target.map(|target| target.split('?').next().unwrap_or(target));
    match (method, path, version) {
        (_, _, None) => response("400 Bad Request", "this is not HTTP\n", true),
        (_, _, Some(version)) if !version.starts_with("HTTP/1.") => response(
            "505 HTTP Version Not Supported",
            "only HTTP/1.0 and 1.1\n",
            true,
        ),
        (Some("GET"), Some("/metrics"), _) => response("200 OK", &render(), true),
        (Some("HEAD"), Some("/metrics"), _) => response("200 OK", &render(), false),
        (Some("GET" | "HEAD"), _, _) => response("404 Not Found", "see /metrics\n", true),
        _ => response("405 Method Not Allowed", "only GET and HEAD\n", true),
    }
}

fn response(status: &str, body: &str, with_body: bool) -> String {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if with_body { head + body } else { head }
}

#[cfg(test)]
mod tests {
    use super::{answer_to, is_complete};

    #[test]
    fn the_answer_depends_on_method_path_and_version() {
        let render = || "metric 1\n".to_owned();
        for (request, status, body) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "200", true),
            ("GET /metrics?x=1 HTTP/1.0\n\n", "200", true),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", "200", false),
            ("GET / HTTP/1.1\r\n\r\n", "404", false),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405", false),
            ("GET /metrics HTTP/2\r\n\r\n", "505", false),
            ("nonsense\r\n\r\n", "400", false),
            ("\r\n\r\n", "400", false),
        ] {
            assert!(is_complete(request.as_bytes()), "{request:?}");
            let answer = answer_to(request.as_bytes(), &render);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{request:?}: {answer}"
            );
            assert_eq!(
                answer.ends_with("metric 1\n"),
                body,
                "{request:?}: {answer}"
            );
        }
    }
}
