//! Spans of `tracing`, with the feature `tracing`; without it, nothing.
//!
//! A span is entered around each callback of its connection or child, and each poll of its task. So events of the program, and
//! the `log` records of this library where a bridge passes them on, tell what they are about. A span's parent is the one in
//! which the connection, child or task was made.

#[cfg(feature = "tracing")]
mod with_tracing {
    use std::ffi::OsStr;
    use std::panic::Location;

    use crate::os::Address;

    #[derive(Debug)]
    pub(crate) struct Span(tracing::Span);

    impl Span {
        /// Makes the span of a connection to `peer`. A stream without an address is a part of something else, such as a child,
        /// and stays in the span that it is made in.
        pub(crate) fn connection(peer: Option<&Address>) -> Span {
            Span(match peer {
                Some(peer) => tracing::info_span!("connection", peer = display(peer)),
                None => tracing::Span::current(),
            })
        }

        pub(crate) fn child(pid: u32, program: &OsStr) -> Span {
            Span(tracing::info_span!("child", pid, program = ?program))
        }

        pub(crate) fn task(spawned_at: &Location<'_>) -> Span {
            Span(tracing::debug_span!(
                "task",
                spawned_at = display(spawned_at)
            ))
        }

        /// Makes a call in this span.
        #[inline]
        pub(crate) fn within<R>(&self, call: impl FnOnce() -> R) -> R {
            self.0.in_scope(call)
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod without_tracing {
    use std::ffi::OsStr;
    use std::panic::Location;

    use crate::os::Address;

    #[derive(Debug)]
    pub(crate) struct Span;

    impl Span {
        #[inline]
        pub(crate) fn connection(_: Option<&Address>) -> Span {
            Span
        }

        #[inline]
        pub(crate) fn child(_: u32, _: &OsStr) -> Span {
            Span
        }

        #[inline]
        pub(crate) fn task(_: &Location<'_>) -> Span {
            Span
        }

        #[inline]
        pub(crate) fn within<R>(&self, call: impl FnOnce() -> R) -> R {
            call()
        }
    }
}

#[cfg(feature = "tracing")]
pub(crate) use with_tracing::Span;
#[cfg(not(feature = "tracing"))]
pub(crate) use without_tracing::Span;
