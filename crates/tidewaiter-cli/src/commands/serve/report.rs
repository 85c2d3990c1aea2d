//! The server's metrics in the Prometheus text format.

use std::fmt::{Display, Write};
use std::rc::Rc;

use tidewaiter::Reactor;

use super::server::Server;
use super::totals::Totals;
use crate::plan::Streams;

pub(super) fn render(server: &Rc<Server>) -> String {
    let mut text = Text(String::new());
    render_sessions(server, &mut text);
    render_reactor(&server.reactor, &mut text);
    text.0
}

fn render_sessions(server: &Server, text: &mut Text) {
    let totals = &server.totals;
    let accepted = totals.connections.get();
    text.count("connections_total", "Connections accepted.", accepted);
    text.gauge("connections", "Open connections.", server.session_count());
    text.head(
        "max_clients",
        "gauge",
        "The most commands that run at once.",
    );
    text.limit("max_clients", server.clients_max);
    let paused = usize::from(server.is_paused());
    let help = "1 while the server is full and does not accept connections.";
    text.gauge("accepting_paused", help, paused);
    // The server sees no byte of a connection that is COMMAND's own.
    if server.plan.streams != Streams::Connection {
        render_bytes(totals, text);
    }
    let failures = totals.spawn_failures.get();
    let help = "Commands that could not be started.";
    text.count("spawn_failures_total", help, failures);
    let help = "Children that ended, by outcome.";
    text.head("child_exits_total", "counter", help);
    for (outcome, count) in [
        ("success", &totals.exits_success),
        ("failure", &totals.exits_failure),
        ("signal", &totals.exits_signal),
        ("unknown", &totals.exits_unknown),
    ] {
        let series = format!("child_exits_total{{outcome=\"{outcome}\"}}");
        text.line(&series, count.get());
    }
}

fn render_bytes(totals: &Totals, text: &mut Text) {
    let (received, sent) = (totals.bytes_in.get(), totals.bytes_out.get());
    text.count(
        "received_bytes_total",
        "Bytes received from clients.",
        received,
    );
    text.count(
        "sent_bytes_total",
        "Bytes that children wrote for clients.",
        sent,
    );
}

fn render_reactor(reactor: &Reactor, text: &mut Text) {
    let metrics = reactor.metrics();
    for (name, help, count) in [
        ("turns", "Turns of the loop.", metrics.turns),
        (
            "completions",
            "Completions that the port delivered.",
            metrics.completions,
        ),
        (
            "late_completions",
            "Completions for handles that were already closed.",
            metrics.late_completions,
        ),
        ("timers_fired", "Delayed calls made.", metrics.timers_fired),
        ("panics", "Callbacks that panicked.", metrics.panics),
    ] {
        text.count(&format!("reactor_{name}_total"), help, count);
    }
    let help = "Open listeners, connections, pipes and children.";
    text.gauge("reactor_live", help, metrics.live);
    let help = "Operations that the OS has not completed.";
    text.gauge("reactor_in_flight", help, metrics.in_flight);
    text.head("port_info", "gauge", "The completion port in use.");
    let kind = reactor.port_info().kind;
    text.line(&format!("port_info{{kind=\"{kind}\"}}"), 1);
}

struct Text(String);

impl Text {
    fn count(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.line(name, value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: usize) {
        self.head(name, "gauge", help);
        self.line(name, value as u64);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.0,
            "# HELP tidewaiter_{name} {help}\n# TYPE tidewaiter_{name} {kind}"
        );
    }

    /// Writes a limit, which may be none.
    fn limit(&mut self, series: &str, value: usize) {
        match value {
            usize::MAX => self.write(series, "+Inf"),
            value => self.write(series, value),
        }
    }

    fn line(&mut self, series: &str, value: u64) {
        self.write(series, value);
    }

    fn write(&mut self, series: &str, value: impl Display) {
        let _ = writeln!(self.0, "tidewaiter_{series} {value}");
    }
}
