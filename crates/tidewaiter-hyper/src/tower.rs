//! tower's services as hyper calls them.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;

use hyper::service::Service;

/// Lets hyper call a service of tower: one with middleware around it, or the router of a framework.
///
/// hyper may have several requests under way on one connection, so each gets a clone of the service, and waits until that
/// is ready.
///
/// ```
/// use std::convert::Infallible;
/// use http_body_util::Full;
/// use hyper::body::{Bytes, Incoming};
/// use hyper::{Request, Response};
/// use tidewaiter_hyper::TowerService;
///
/// let inner = tower::service_fn(|_: Request<Incoming>| async {
///     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("hello"))))
/// });
/// let service = tower::ServiceBuilder::new()
///     .map_response(|mut response: Response<Full<Bytes>>| {
///         response.headers_mut().insert("server", "tidewaiter".parse().unwrap());
///         response
///     })
///     .service(inner);
/// let service = TowerService::new(service); // for `serve_connection`
/// # drop(service);
/// ```
#[derive(Clone, Copy)]
pub struct TowerService<S>(S);

impl<S> TowerService<S> {
    /// Wraps a service.
    pub fn new(service: S) -> TowerService<S> {
        TowerService(service)
    }
}

impl<S, R> Service<R> for TowerService<S>
where
    S: tower_service::Service<R> + Clone + 'static,
    R: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>>>>;

    fn call(&self, request: R) -> Self::Future {
        let mut service = self.0.clone();
        Box::pin(async move {
            poll_fn(|context| service.poll_ready(context)).await?;
            service.call(request).await
        })
    }
}

impl<S> fmt::Debug for TowerService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TowerService")
    }
}
