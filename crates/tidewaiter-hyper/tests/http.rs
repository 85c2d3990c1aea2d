//! Real requests, by HTTP/1 and HTTP/2, on every port of this system and in simulations.

mod support;

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::{Request, Response};
use support::{
    BOTH, Client, Ending, Pieces, Version, listen, on_each_port, pattern, run, serve, until,
};
use tidewaiter::io::Stream;
use tidewaiter::port::sim::Sim;
use tidewaiter::{JoinSet, Reactor, ReactorGroup};
use tidewaiter_hyper::{Io, ReactorTimer, TowerService};

/// Answers with what it was sent.
async fn echo(request: Request<Incoming>) -> support::Answer {
    let body = request.into_body().collect().await?.to_bytes();
    Ok(Response::new(Pieces::one(body)))
}

#[test]
fn requests_are_answered_one_after_another_on_one_connection() {
    on_each_port(async |reactor| {
        for version in BOTH {
            let count = Rc::new(Cell::new(0));
            let counted = Rc::clone(&count);
            let service = move |request| {
                counted.set(counted.get() + 1);
                echo(request)
            };
            let address = serve(reactor, version, service, &Ending::default());
            let mut client = Client::connect(reactor, address, version).await;
            for word in ["", "one", "two"] {
                let response = client.send(Pieces::one(word)).await.unwrap();
                assert_eq!(response.status(), 200);
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, word);
            }
            assert_eq!(count.get(), 3, "{version:?}");
        }
        assert_eq!(reactor.metrics().accepted, 2);
    });
}

#[test]
fn a_body_of_a_mebibyte_arrives_unchanged_in_both_directions() {
    on_each_port(async |reactor| {
        let piece = pattern(64 << 10);
        let whole = piece.repeat(16);
        for version in BOTH {
            let address = serve(reactor, version, echo, &Ending::default());
            let mut client = Client::connect(reactor, address, version).await;
            for body in [Pieces::new(piece.clone(), 16), Pieces::one(whole.clone())] {
                let response = client.send(body).await.unwrap();
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert!(body == whole, "{version:?}: {} bytes", body.len());
            }
        }
    });
}

#[test]
fn many_requests_share_one_connection_of_http_2() {
    on_each_port(async |reactor| {
        let address = serve(reactor, Version::Http2, echo, &Ending::default());
        let client = Client::connect(reactor, address, Version::Http2).await;
        let Client::Two(requests) = client else {
            unreachable!()
        };
        let mut set = JoinSet::new(reactor);
        for number in 0..50 {
            let mut client = Client::Two(requests.clone());
            set.spawn(async move {
                let sent = pattern(number * 100);
                let response = client.send(Pieces::one(sent.clone())).await.unwrap();
                response.into_body().collect().await.unwrap().to_bytes() == sent
            });
        }
        let mut right = 0;
        while let Some(same) = set.join_next().await {
            right += usize::from(same.unwrap());
        }
        assert_eq!(right, 50);
    });
}

#[test]
fn a_connection_that_is_asked_to_end_answers_first() {
    on_each_port(async |reactor| {
        for version in BOTH {
            let (ending, begun) = (Ending::default(), Rc::new(Cell::new(false)));
            let (asked, handle) = (Rc::clone(&begun), reactor.clone());
            let slow = move |request| {
                let (asked, reactor) = (Rc::clone(&asked), handle.clone());
                async move {
                    asked.set(true);
                    reactor.sleep(Duration::from_millis(20)).await;
                    echo(request).await
                }
            };
            let address = serve(reactor, version, slow, &ending);
            let mut client = Client::connect(reactor, address, version).await;
            let answered = reactor.spawn(async move {
                let response = client.send(Pieces::one("the last")).await.unwrap();
                let body = response.into_body().collect().await.unwrap().to_bytes();
                (body, client)
            });
            until(reactor, || begun.get()).await;
            ending.begin();
            let (body, client) = answered.await.unwrap();
            assert_eq!(body, "the last");
            until(reactor, || client.is_closed()).await;
        }
    });
}

#[test]
fn a_client_that_goes_away_within_a_body_ends_the_request_and_leaves_nothing() {
    on_each_port(async |reactor| {
        for version in BOTH {
            let failed = Rc::new(Cell::new(false));
            let noted = Rc::clone(&failed);
            let service = move |request| {
                let noted = Rc::clone(&noted);
                async move {
                    let answer = echo(request).await;
                    noted.set(answer.is_err());
                    answer
                }
            };
            let address = serve(reactor, version, service, &Ending::default());
            let mut client = Client::connect(reactor, address, version).await;
            let endless = Pieces::new(pattern(1000), usize::MAX);
            let taken = endless.taken();
            let request = reactor.spawn(async move { client.send(endless).await.map(drop) });
            until(reactor, || taken.get() > 100).await;
            // With its last handle, hyper's client ends the connection.
            request.abort();
            until(reactor, || failed.get()).await;
        }
    });
}

#[test]
fn a_client_that_goes_away_within_an_answer_ends_the_sending_of_it() {
    on_each_port(async |reactor| {
        for version in BOTH {
            let answers = Rc::new(Cell::new(None::<Rc<Cell<usize>>>));
            let noted = Rc::clone(&answers);
            let service = move |_| {
                let endless = Pieces::new(pattern(1000), usize::MAX);
                noted.set(Some(endless.taken()));
                async move { Ok(Response::new(endless)) }
            };
            let address = serve(reactor, version, service, &Ending::default());
            let mut client = Client::connect(reactor, address, version).await;
            let response = client.send(Pieces::one("")).await.unwrap();
            let mut body = response.into_body();
            let first = body.frame().await.unwrap().unwrap();
            assert!(first.is_data());
            drop((body, client));
            // The body is dropped once nobody wants more of it.
            let taken = answers.take().unwrap();
            until(reactor, || Rc::strong_count(&taken) == 1).await;
        }
    });
}

#[test]
fn a_silent_client_is_dropped_after_its_time_which_takes_none_in_a_simulation() {
    let sim = Sim::new(1);
    let reactor = Reactor::builder().simulation(&sim).build().unwrap();
    run(&reactor, &async |reactor: &Reactor| {
        let (mut listener, address) = listen(reactor);
        let handle = reactor.clone();
        let served = reactor.spawn(async move {
            let (stream, _peer) = listener.accept().await.unwrap();
            let mut server = http1::Builder::new();
            server
                .timer(ReactorTimer::new(&handle))
                .header_read_timeout(Duration::from_secs(30));
            let service = hyper::service::service_fn(echo);
            server.serve_connection(Io::new(stream), service).await
        });
        let mut silent = Stream::connect(reactor, address).await.unwrap();
        silent.write_all(b"GET / HT").await.unwrap();
        let mut rest = Vec::new();
        silent.read_to_end(&mut rest).await.unwrap();
        assert!(served.await.unwrap().unwrap_err().is_timeout());
        assert!(sim.elapsed() >= Duration::from_secs(30));
    });
}

#[test]
fn services_of_tower_answer_with_their_middleware() {
    on_each_port(async |reactor| {
        let inner = tower::service_fn(|request: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(request.into_body()))
        });
        let service = tower::ServiceBuilder::new()
            .map_response(|mut response: Response<Incoming>| {
                let headers = response.headers_mut();
                headers.insert("server", "tidewaiter".parse().unwrap());
                response
            })
            .service(inner);
        let (mut listener, address) = listen(reactor);
        reactor.spawn(async move {
            let (stream, _peer) = listener.accept().await.unwrap();
            let service = TowerService::new(service);
            let server = http1::Builder::new();
            server.serve_connection(Io::new(stream), service).await
        });
        let mut client = Client::connect(reactor, address, Version::Http1).await;
        let response = client.send(Pieces::one("through")).await.unwrap();
        assert_eq!(response.headers()["server"], "tidewaiter");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "through");
    });
}

#[test]
fn a_group_of_reactors_serves_http() {
    let group = ReactorGroup::start(2, &Reactor::builder().signals(false)).unwrap();
    let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = group.serve(any_port, |stream, _peer| {
        http1::Builder::new().serve_connection(Io::new(stream), hyper::service::service_fn(echo))
    });
    let address = listener.unwrap().local_addr();
    let reactor = Reactor::builder().signals(false).build().unwrap();
    run(&reactor, &async |reactor: &Reactor| {
        for _ in 0..4 {
            let mut client = Client::connect(reactor, address.clone(), Version::Http1).await;
            let response = client.send(Pieces::one("hello")).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "hello");
        }
    });
    group.stop();
    group.join().unwrap();
}
