//! What the server counts, in Prometheus's text format.

use std::fmt::Write;
use std::rc::Rc;

use super::server::Server;

pub(super) fn render(server: &Rc<Server>) -> String {
    let (totals, reactor) = (&server.totals, server.reactor.metrics());
    let mut text = Text(String::new());
    let current = server.current();
    text.metric(
        "connections_total",
        "counter",
        "Connections accepted.",
        totals.connections.get(),
    );
    text.metric("connections", "gauge", "Connections that live.", current);
    text.metric(
        "accepting_paused",
        "gauge",
        "1 while as many clients as allowed are served.",
        u8::from(server.is_paused()),
    );
    text.metric(
        "received_bytes_total",
        "counter",
        "Bytes from clients.",
        totals.bytes_in.get(),
    );
    text.metric(
        "sent_bytes_total",
        "counter",
        "Bytes from children, for clients.",
        totals.bytes_out.get(),
    );
    text.metric(
        "spawn_failures_total",
        "counter",
        "Commands that could not be started.",
        totals.spawn_failures.get(),
    );
    text.head(
        "child_exits_total",
        "counter",
        "Children that ended, by outcome.",
    );
    for (outcome, count) in [
        ("success", &totals.exits_success),
        ("failure", &totals.exits_failure),
        ("signal", &totals.exits_signal),
        ("unknown", &totals.exits_unknown),
    ] {
        text.line(
            &format!("child_exits_total{{outcome=\"{outcome}\"}}"),
            count.get(),
        );
    }
    text.metric(
        "reactor_turns_total",
        "counter",
        "Turns of the loop.",
        reactor.turns,
    );
    text.metric(
        "reactor_completions_total",
        "counter",
        "Completions from the port.",
        reactor.completions,
    );
    text.metric(
        "reactor_late_completions_total",
        "counter",
        "Completions for what was gone.",
        reactor.late_completions,
    );
    text.metric(
        "reactor_timers_fired_total",
        "counter",
        "Delayed calls made.",
        reactor.timers_fired,
    );
    text.metric(
        "reactor_panics_total",
        "counter",
        "Callbacks that panicked.",
        reactor.panics,
    );
    text.metric(
        "reactor_live",
        "gauge",
        "Listeners, connections, pipes and children.",
        reactor.live,
    );
    text.metric(
        "reactor_in_flight",
        "gauge",
        "Operations in the OS's hands.",
        reactor.in_flight,
    );
    text.head("port_info", "gauge", "The completion port in use.");
    text.line(
        &format!("port_info{{kind=\"{}\"}}", server.reactor.port_info().kind),
        1,
    );
    text.0
}

struct Text(String);

impl Text {
    fn metric(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        self.line(name, value);
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            self.0,
            "# HELP tidewaiter_{name} {help}\n# TYPE tidewaiter_{name} {kind}"
        );
    }

    fn line(&mut self, series: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.0, "tidewaiter_{series} {value}");
    }
}
