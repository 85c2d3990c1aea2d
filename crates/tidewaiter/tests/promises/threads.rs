//! Several threads: wakers, ports side by side, and connections that move between them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tidewaiter::port::{Outcome, Request, Socket};

use crate::support::harness::{Harness, PATIENCE};
use crate::support::reader::{Reader, receive_exactly};

const THREADS: usize = 8;

#[test]
fn a_wake_up_from_another_thread_ends_a_wait() {
    let mut harness = Harness::new();
    let waker = harness.port.waker();
    let woken = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&woken);
    let other = thread::spawn(move || {
        flag.store(true, Ordering::Relaxed);
        waker.wake();
    });
    let start = harness.port.now();
    harness.turn(Some(PATIENCE));
    assert!(woken.load(Ordering::Relaxed), "what came before is visible");
    assert!(harness.port.now() - start < PATIENCE);
    other.join().expect("the other thread ends");
    harness.finish();
}

/// Goal: no wake-up from many threads is lost, and several may be merged into one.
/// Method: each thread sets a flag, wakes the port, and goes on only when the flag was seen.
#[test]
fn no_wake_up_of_many_threads_is_lost() {
    const ROUNDS: usize = 500;
    let mut harness = Harness::new();
    let flags: Arc<Vec<AtomicBool>> =
        Arc::new((0..THREADS).map(|_| AtomicBool::new(false)).collect());
    let threads: Vec<_> = (0..THREADS)
        .map(|number| {
            let (waker, flags) = (harness.port.waker(), Arc::clone(&flags));
            thread::spawn(move || {
                for _ in 0..ROUNDS {
                    // Relaxed: the waker itself must make the flag visible.
                    flags[number].store(true, Ordering::Relaxed);
                    waker.wake();
                    while flags[number].load(Ordering::Relaxed) {
                        thread::park();
                    }
                }
            })
        })
        .collect();
    let mut seen = 0;
    while seen < THREADS * ROUNDS {
        let start = harness.port.now();
        harness.turn(Some(PATIENCE));
        assert!(harness.port.now() - start < PATIENCE, "a wake-up was lost");
        for (flag, thread) in flags.iter().zip(&threads) {
            if flag.swap(false, Ordering::Relaxed) {
                seen += 1;
                thread.thread().unpark();
            }
        }
    }
    for thread in threads {
        thread.join().expect("it ends");
    }
    harness.finish();
}

#[test]
fn wake_ups_do_not_pile_up() {
    const WAKES: usize = 2000;
    let mut harness = Harness::new();
    let left = Arc::new(AtomicUsize::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (waker, left) = (harness.port.waker(), Arc::clone(&left));
            thread::spawn(move || {
                for _ in 0..WAKES {
                    waker.wake();
                }
                left.fetch_sub(1, Ordering::Release);
                waker.wake();
            })
        })
        .collect();
    let mut waits = 0;
    while left.load(Ordering::Acquire) > 0 {
        harness.turn(Some(PATIENCE));
        waits += 1;
    }
    assert!(waits <= THREADS * (WAKES + 1));
    for thread in threads {
        thread.join().expect("it ends");
    }
    // At most one wake-up is left over from the last calls.
    harness.turn(Some(Duration::from_millis(20)));
    let start = harness.port.now();
    harness.turn(Some(Duration::from_millis(20)));
    assert!(harness.port.now() - start >= Duration::from_millis(20));
    harness.finish();
}

#[test]
fn wakers_may_wake_while_their_port_is_dropped() {
    for _ in 0..50 {
        let harness = Harness::new();
        let stop = Arc::new(AtomicBool::new(false));
        let (started, has_started) = mpsc::channel();
        let (waker, flag) = (harness.port.waker(), Arc::clone(&stop));
        let other = thread::spawn(move || {
            waker.wake();
            started.send(()).expect("the test goes on");
            while !flag.load(Ordering::Relaxed) {
                waker.wake();
            }
        });
        has_started.recv().expect("the thread starts");
        harness.drop_port();
        stop.store(true, Ordering::Relaxed);
        other.join().expect("the waker is harmless");
    }
}

#[test]
fn ports_on_several_threads_work_side_by_side() {
    let threads: Vec<_> = (0..4)
        .map(|number: u8| {
            thread::spawn(move || {
                let mut harness = Harness::new();
                for (client, server) in harness.pairs(20) {
                    harness.send_all(client, &[number; 5000]);
                    let received = receive_exactly(&mut harness, server, 5000);
                    assert_eq!(received, [number; 5000]);
                }
                harness.finish();
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("its port keeps its promises");
    }
}

/// Goal: a connection accepted by one port is served by another one, on another thread.
#[test]
fn an_accepted_socket_can_be_adopted_on_another_thread() {
    const COUNT: usize = 20;
    let (sender, receiver) = mpsc::channel::<Socket>();
    let (waker_sender, waker_receiver) = mpsc::channel();
    let worker = thread::spawn(move || {
        let mut harness = Harness::new();
        waker_sender.send(harness.port.waker()).expect("awaited");
        let mut served = 0;
        while served < COUNT {
            // A wake-up can end any wait, so this checks for the socket before the next one.
            let Ok(socket) = receiver.try_recv() else {
                harness.turn(Some(PATIENCE));
                continue;
            };
            let handle = harness.adopt(socket);
            let question = receive_exactly(&mut harness, handle, 4);
            harness.send_all(handle, &question);
            harness.close_now(handle);
            served += 1;
        }
        harness.finish();
    });
    let waker = waker_receiver.recv().expect("the worker has a port");
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    let accepting = harness.submit(listener, Request::Accept);
    for number in 0..COUNT {
        let number = u8::try_from(number).expect("small");
        let (client, connecting) = harness.connect(address);
        assert!(matches!(harness.last(connecting), Ok(Outcome::Connected)));
        let (socket, _) = harness.accepted(accepting);
        sender.send(socket).expect("the worker takes it");
        waker.wake();
        harness.send_all(client, &[number; 4]);
        // The end may arrive right after the data.
        let mut reader = Reader::new(&mut harness, client);
        assert_eq!(reader.take(&mut harness, 4), [number; 4]);
    }
    worker.join().expect("the worker ends");
    harness.finish();
}
