//! The bounded queue between callers and the writer, which takes all that waits at once.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::{LeaseId, Revision, StoreError, Txn};

#[derive(Debug)]
pub(super) struct Request {
    pub(super) work: Work,
    /// When the caller asked, on the caller's clock.
    pub(super) asked: Instant,
    pub(super) reply: Reply,
}

#[derive(Debug)]
pub(super) enum Work {
    Txn(Txn),
    Grant(std::time::Duration),
    Revoke(LeaseId),
    Compact(Revision),
}

/// A revision, or the id of a new lease.
pub(super) type Reply = oneshot::Sender<Result<u64, StoreError>>;

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    capacity: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Request>,
    closed: bool,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { state: Mutex::default(), arrived: Condvar::new(), capacity }
    }

    pub(super) fn push(&self, request: Request) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(stopped());
        }
        if state.waiting.len() >= self.capacity {
            return Err(StoreError::Busy(self.capacity));
        }
        state.waiting.push_back(request);
        if state.waiting.len() == 1 {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits for requests and moves all of them to the end of `to`; false when closed and drained.
    pub(super) fn wait(&self, to: &mut VecDeque<Request>) -> bool {
        let mut state = self.state.lock();
        while state.waiting.is_empty() && !state.closed {
            self.arrived.wait(&mut state);
        }
        to.append(&mut state.waiting);
        !to.is_empty()
    }

    /// As [`Self::wait`], without waiting.
    pub(super) fn poll(&self, to: &mut VecDeque<Request>) {
        to.append(&mut self.state.lock().waiting);
    }

    /// Takes nothing more; what waits is still served.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Takes nothing more and serves nothing more; who waits is told so.
    pub(super) fn abandon(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.waiting.clear();
    }
}

pub(super) fn stopped() -> StoreError {
    StoreError::Failed("its writer stopped; open the store again".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> (Request, oneshot::Receiver<Result<u64, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        (Request { work: Work::Compact(0), asked: Instant::now(), reply }, answer)
    }

    #[test]
    fn more_than_its_capacity_is_refused_until_some_are_taken() {
        let queue = Queue::new(2);
        queue.push(request().0).unwrap();
        queue.push(request().0).unwrap();
        let refused = queue.push(request().0);
        assert!(matches!(refused, Err(StoreError::Busy(2))), "{refused:?}");
        let mut taken = VecDeque::new();
        queue.poll(&mut taken);
        assert_eq!(taken.len(), 2);
        queue.push(request().0).unwrap();
    }

    #[test]
    fn a_closed_queue_is_served_to_the_end() {
        let queue = Queue::new(2);
        queue.push(request().0).unwrap();
        queue.close();
        assert!(matches!(queue.push(request().0), Err(StoreError::Failed(_))));
        let mut taken = VecDeque::new();
        assert!(queue.wait(&mut taken), "one still waits");
        taken.clear();
        assert!(!queue.wait(&mut taken), "and no more");
    }

    #[test]
    fn who_waits_in_an_abandoned_queue_is_told() {
        let queue = Queue::new(2);
        let (request, mut answer) = request();
        queue.push(request).unwrap();
        queue.abandon();
        assert_eq!(answer.try_recv().unwrap_err(), oneshot::error::TryRecvError::Closed);
    }
}
