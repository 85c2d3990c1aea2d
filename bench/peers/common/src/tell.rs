//! Messages from a peer to the program that started it: lines of JSON on standard output.

use std::io::Write;

use crate::system::peak_kib;

/// Reports that the server listens, at an address that the load program understands.
pub fn address(address: &str) {
    line(&format!("{{\"address\": \"{address}\"}}"));
}

/// The same for a server with many sockets, and the memory of this process before it opened them.
pub fn sockets(address: &str, before_kib: f64) {
    line(&format!(
        "{{\"address\": \"{address}\", \"before_kib\": {before_kib}}}"
    ));
}

/// Reports that this runtime does not support the workload; the peer then exits.
pub fn unsupported() {
    line("{\"unsupported\": true}");
}

/// Reports the begin of the measured time, which ends with [`end`] or with the result. The program that started us may
/// read clocks of its own at these moments.
pub fn begin() {
    line("{\"begin\": true}");
}

/// Reports the end of the measured time, if the result comes later.
pub fn end() {
    line("{\"end\": true}");
}

/// Reports the figures of a workload that measures itself. Times are in microseconds, unless a name says otherwise.
pub fn result(figures: &[(&str, f64)]) {
    let figures: Vec<String> = figures
        .iter()
        .map(|(name, value)| format!("\"{name}\": {value}"))
        .collect();
    let peak = peak_kib();
    line(&format!(
        "{{\"result\": {{{}, \"peak_kib\": {peak}}}}}",
        figures.join(", ")
    ));
}

fn line(text: &str) {
    let mut output = std::io::stdout().lock();
    let told = writeln!(output, "{text}").and_then(|()| output.flush());
    told.expect("the program that started us reads this");
}
