//! What a peer tells the program that started it: one line of JSON each, on standard output.

use std::io::Write;

use crate::system::peak_kib;

/// The server listens.
pub fn port(port: u16) {
    line(&format!("{{\"port\": {port}}}"));
}

/// This runtime has nothing for the workload; the peer ends.
pub fn unsupported() {
    line("{\"unsupported\": true}");
}

/// What is measured begins now; it ends with the result. Who started us may have clocks of its own.
pub fn begin() {
    line("{\"begin\": true}");
}

/// What a workload that times itself has measured; times in microseconds unless the name says otherwise.
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
    told.expect("who started us listens");
}
