//! Lets other work run first.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Lets the loop do its other work, and goes on in the next turn.
///
/// Outside of a task it works with any waker: it wakes once, and is ready then.
///
/// ```
/// use tidewaiter::yield_now;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let sum = reactor.block_on(async {
///     let mut sum = 0_u64;
///     for number in 0..100_000 {
///         sum += number;
///         if number % 10_000 == 0 {
///             yield_now().await; // so that the connections get their turn
///         }
///     }
///     sum
/// })?;
/// assert_eq!(sum, 4_999_950_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow { yielded: false }
}

/// The future of [`yield_now`](crate::yield_now).
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
