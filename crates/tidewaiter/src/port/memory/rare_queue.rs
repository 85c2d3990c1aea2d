//! A queue that is nearly always empty.

use std::collections::VecDeque;

/// A queue that takes a single word while it is empty, for structures of which there are many.
#[derive(Debug)]
#[expect(
    clippy::box_collection,
    reason = "the box is what makes the empty queue small"
)]
pub(crate) struct RareQueue<T>(Option<Box<VecDeque<T>>>);

impl<T> RareQueue<T> {
    pub(crate) const fn new() -> RareQueue<T> {
        RareQueue(None)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn push_front(&mut self, value: T) {
        self.0.get_or_insert_default().push_front(value);
    }

    pub(crate) fn push_back(&mut self, value: T) {
        self.0.get_or_insert_default().push_back(value);
    }

    pub(crate) fn pop_front(&mut self) -> Option<T> {
        let queue = self.0.as_mut()?;
        let first = queue.pop_front();
        if queue.is_empty() {
            self.0 = None;
        }
        first
    }
}

impl<T> Default for RareQueue<T> {
    fn default() -> RareQueue<T> {
        RareQueue::new()
    }
}

impl<T> Extend<T> for RareQueue<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        for value in values {
            self.push_back(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RareQueue;

    #[test]
    fn what_is_pushed_is_popped_in_order_and_then_the_memory_is_gone() {
        let mut queue = RareQueue::new();
        queue.extend([2, 3]);
        queue.push_front(1);
        queue.push_back(4);
        let popped: Vec<i32> = std::iter::from_fn(|| queue.pop_front()).collect();
        assert_eq!(popped, [1, 2, 3, 4]);
        assert!(queue.is_empty());
        assert_eq!(size_of_val(&queue), size_of::<usize>());
    }
}
