//! Serial ports: on Unix pseudo-terminals that stand for one, under Wine the same ones through Wine's serial ports.

use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::{SerialLine, SerialOptions, SerialQueue};
use tidewaiter::{Reactor, Transport};

use crate::promises::support::{Checker, Countdown, Script, Silent, pattern, reactor, run_clean};
use device::{Device, open};

/// More than the OS keeps for a device.
const MUCH: usize = 64 << 10;

/// Goal: bytes pass as they are, both ways and in any number; a control character is a byte like any other.
#[test]
fn bytes_pass_unchanged() {
    let Some(device) = Device::open() else { return };
    let (reactor, countdown) = (reactor(), Countdown::new(1));
    let checker = Rc::new(Checker::default());
    let check = Rc::clone(&checker);
    let protocol = Script::new()
        .made(|transport| transport.write(&pattern(MUCH)))
        .data(move |transport, data| {
            check.take(data);
            if check.received.get() == MUCH {
                transport.lose_connection();
            }
        })
        .then_done(&countdown);
    let port = reactor.open_serial(&device.options(), protocol);
    let port = port.expect("the device can be opened");
    assert!(port.transport().is_open());
    run_clean(&reactor);
    assert_eq!(checker.received.get(), MUCH);
    assert!(!port.transport().is_open());
    let refused = port.set_line(SerialLine::Break, false).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound);
}

/// Goal: a port that is silent can be closed in every way, and opened again.
#[test]
fn a_silent_port_can_be_closed_and_opened_again() {
    let ways: [fn(&Transport); 3] = [
        Transport::lose_connection,
        Transport::abort_connection,
        Transport::lose_write_connection,
    ];
    for close in ways {
        let Some(device) = Device::open() else { return };
        for _ in 0..2 {
            let (reactor, countdown) = (reactor(), Countdown::new(1));
            let done = countdown.clone();
            let protocol = Script::new().lost(move |transport, _| done.hit(transport.reactor()));
            let port = reactor.open_serial(&device.options(), protocol).unwrap();
            reactor.call_later(Duration::from_millis(20), move |_| close(&port.transport()));
            run_clean(&reactor);
        }
    }
}

/// Goal: a break ends by itself, and what the OS holds can be dropped.
#[test]
fn breaks_end_and_queues_can_be_dropped() {
    let Some(device) = Device::open() else { return };
    let reactor = reactor();
    let port = reactor.open_serial(&device.options(), Silent).unwrap();
    port.discard(SerialQueue::Input).unwrap();
    port.discard(SerialQueue::Output).unwrap();
    port.send_break(Duration::from_millis(10)).unwrap();
    reactor.call_later(Duration::from_millis(50), Reactor::stop);
    run_clean(&reactor);
}

/// Goal: refusals say what is wrong.
#[test]
fn what_cannot_be_opened_is_refused() {
    let reactor = reactor();
    let open = |options: &SerialOptions| {
        let refused = reactor.open_serial(options, Silent);
        refused.expect_err("it is no serial port").kind()
    };
    let missing = SerialOptions::new(open::MISSING, 9600);
    assert_eq!(open(&missing), ErrorKind::NotFound);
    for wrong in [
        SerialOptions::new(open::MISSING, 0),
        missing.clone().data_bits(4),
        missing.data_bits(9),
    ] {
        assert_eq!(open(&wrong), ErrorKind::InvalidInput);
    }
    assert_eq!(reactor.metrics().live, 0);
}

#[cfg(unix)]
mod device {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::thread;

    use rustix::pty::ptsname;
    use tidewaiter::port::SerialOptions;

    use crate::support::terminal::Terminal;

    pub(super) mod open {
        pub(crate) const MISSING: &str = "/no/such/device";
    }

    /// A device that sends back what it gets.
    pub(super) struct Device {
        name: std::ffi::CString,
        pub(super) master: File,
        /// While it is open, the device stays there when its user closes it.
        _slave: File,
    }

    impl Device {
        #[expect(clippy::unnecessary_wraps, reason = "not every system has one")]
        pub(super) fn open() -> Option<Device> {
            let device = Device::silent();
            let (mut input, mut output) = [(); 2]
                .map(|()| device.master.try_clone().expect("descriptors are free"))
                .into();
            thread::spawn(move || {
                let mut bytes = [0; 1024];
                while let Ok(count @ 1..) = input.read(&mut bytes) {
                    if output.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                }
            });
            Some(device)
        }

        pub(super) fn silent() -> Device {
            let terminal = Terminal::open_cooked().expect("terminals are free");
            let [master, slave] = terminal.into_ends();
            let name = ptsname(&master, Vec::new()).expect("it is a master");
            Device {
                name,
                master,
                _slave: slave,
            }
        }

        pub(super) fn options(&self) -> SerialOptions {
            let name = self.name.to_str().expect("such names are ASCII");
            SerialOptions::new(name, 115_200)
        }
    }
}

#[cfg(windows)]
mod device {
    use std::fs;
    use std::process::Command;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Duration;

    use tidewaiter::port::SerialOptions;

    pub(super) mod open {
        pub(crate) const MISSING: &str = "COM250";
    }

    /// A program of the system below Wine, which opens a terminal, writes its name to a file, and sends back what it
    /// gets, until the file is gone or a test has certainly ended. (Wine's pipes do not lead to such programs.)
    const ECHO: &str = "
import os, select, signal, sys, tty
signal.alarm(300)
master, slave = os.openpty()
tty.setraw(slave)
with open(sys.argv[1] + '.new', 'w') as file:
    file.write(os.ttyname(slave))
os.rename(sys.argv[1] + '.new', sys.argv[1])
while os.path.exists(sys.argv[1]):
    if select.select([master], [], [], 0.1)[0]:
        os.write(master, os.read(master, 1024))
";

    /// A device that sends back what it gets.
    pub(super) struct Device {
        name: String,
        /// The program ends when this file is removed.
        file: String,
    }

    impl Device {
        /// `None` on a system without such devices.
        #[expect(clippy::print_stderr, reason = "says why a test shows nothing")]
        pub(super) fn open() -> Option<Device> {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = format!("/tmp/tidewaiter-serial-{}-{count}", std::process::id());
            let file = format!("Z:{path}");
            // Numbers of processes come again in Wine.
            let _ = fs::remove_file(&file);
            let mut python = Command::new(r"\\?\unix\usr\bin\python3");
            if python.args(["-c", ECHO, &path]).spawn().is_err() {
                eprintln!("skipped: there is no serial port to test with");
                return None;
            }
            for _ in 0..6000 {
                if let Ok(name) = fs::read_to_string(&file) {
                    let name = format!(r"\\?\unix{}", name.replace('/', r"\"));
                    return Some(Device { name, file });
                }
                thread::park_timeout(Duration::from_millis(10));
            }
            panic!("the device does not come");
        }

        pub(super) fn options(&self) -> SerialOptions {
            SerialOptions::new(&self.name, 115_200)
        }
    }

    impl Drop for Device {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.file);
        }
    }
}

#[cfg(unix)]
mod unix {
    use std::cell::RefCell;
    use std::io::Write;

    use rustix::termios::{ControlModes, InputModes, tcgetattr};
    use tidewaiter::port::{FlowControl, Parity, StopBits};

    use super::*;

    /// Goal: the device gets the modes that were asked for; a rate need not be a usual one.
    #[test]
    fn the_modes_are_those_asked_for() {
        let (reactor, device) = (reactor(), Device::silent());
        let options = device.options();
        let port = reactor.open_serial(&options, Silent).unwrap();
        let modes = tcgetattr(&device.master).unwrap();
        assert_eq!(modes.output_speed(), 115_200);
        assert!(!modes.control_modes.contains(ControlModes::CRTSCTS));
        if cfg!(target_os = "linux") {
            port.set_baud_rate(250_000).unwrap();
            let modes = tcgetattr(&device.master).unwrap();
            assert_eq!(modes.output_speed(), 250_000);
        }
        port.transport().abort_connection();
        let options = (options.flow_control(FlowControl::Hardware)).stop_bits(StopBits::Two);
        let port = reactor.open_serial(&options, Silent).unwrap();
        let modes = tcgetattr(&device.master).unwrap();
        let expected = ControlModes::CRTSCTS | ControlModes::CSTOPB | ControlModes::CS8;
        assert!(modes.control_modes.contains(expected));
        assert!(!modes.input_modes.contains(InputModes::IXON));
        port.transport().abort_connection();
        let options = options.flow_control(FlowControl::Software);
        let port = reactor.open_serial(&options, Silent).unwrap();
        let modes = tcgetattr(&device.master).unwrap();
        let expected = InputModes::IXON | InputModes::IXOFF;
        assert!(modes.input_modes.contains(expected));
        port.transport().abort_connection();
        reactor.call_later(Duration::ZERO, Reactor::stop);
        run_clean(&reactor);
    }

    /// Goal: what a device does not have is refused, in place of doing something else. A terminal has characters of eight
    /// bits without parity, and no lines.
    #[test]
    fn what_the_device_does_not_have_is_refused() {
        let (reactor, device) = (reactor(), Device::silent());
        let refused = |options: SerialOptions| {
            let refused = reactor.open_serial(&options, Silent);
            refused.expect_err("a terminal does not have it").kind()
        };
        let half = device.options().stop_bits(StopBits::OneAndHalf);
        assert_eq!(refused(half), ErrorKind::Unsupported);
        if cfg!(target_os = "linux") {
            let seven = device.options().data_bits(7);
            assert_eq!(refused(seven), ErrorKind::Unsupported);
            let parity = device.options().parity(Parity::Odd);
            assert_eq!(refused(parity), ErrorKind::Unsupported);
        }
        let file = std::env::current_exe().unwrap();
        reactor
            .open_serial(&SerialOptions::new(file, 9600), Silent)
            .expect_err("a program is no serial port");
        let port = reactor.open_serial(&device.options(), Silent).unwrap();
        port.modem_lines().expect_err("a terminal has none");
        port.set_line(SerialLine::DataTerminalReady, true)
            .expect_err("a terminal has none");
        reactor.call_later(Duration::ZERO, Reactor::stop);
        run_clean(&reactor);
    }

    /// Goal: a device that is unplugged ends the connection, after the bytes that it sent.
    #[test]
    fn a_device_that_goes_away_ends_the_connection() {
        let (reactor, countdown) = (reactor(), Countdown::new(1));
        let mut device = Device::silent();
        let received = Rc::new(RefCell::new(Vec::new()));
        let (bytes, done) = (Rc::clone(&received), countdown.clone());
        let protocol = Script::new()
            .data(move |_, data| bytes.borrow_mut().extend_from_slice(data))
            .lost(move |transport, _| done.hit(transport.reactor()));
        let port = reactor.open_serial(&device.options(), protocol).unwrap();
        device.master.write_all(b"last").unwrap();
        let bytes = Rc::clone(&received);
        let device = std::cell::Cell::new(Some(device));
        // A terminal that is hung up drops what was not read.
        fn unplug_once_read(
            reactor: &Reactor,
            bytes: Rc<RefCell<Vec<u8>>>,
            device: std::cell::Cell<Option<Device>>,
        ) {
            if bytes.borrow().len() == 4 {
                return drop(device.take());
            }
            reactor.call_later(Duration::from_millis(1), |reactor| {
                unplug_once_read(reactor, bytes, device);
            });
        }
        reactor.call_later(Duration::ZERO, |reactor| {
            unplug_once_read(reactor, bytes, device);
        });
        run_clean(&reactor);
        assert_eq!(*received.borrow(), b"last");
        assert!(!port.transport().is_open());
    }

    /// Goal: a device that takes nothing more holds nobody up: an abort drops what is left, and a close in order leaves
    /// it to the OS.
    #[test]
    fn a_device_that_takes_nothing_delays_nobody() {
        let (reactor, countdown) = (reactor(), Countdown::new(1));
        let device = Device::silent();
        let done = countdown.clone();
        let protocol = Script::new()
            .made(|transport| {
                transport.write(&pattern(MUCH));
                let transport = transport.clone();
                let reactor = transport.reactor().clone();
                reactor.call_later(Duration::from_millis(20), move |_| {
                    assert!(transport.queued() > 0);
                    transport.abort_connection();
                });
            })
            .lost(move |transport, _| done.hit(transport.reactor()));
        let begun = std::time::Instant::now();
        reactor.open_serial(&device.options(), protocol).unwrap();
        run_clean(&reactor);
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
