//! What a peer tells the program that started it: one line of JSON each, on standard output.

use std::io::Write;

/// The server listens.
pub fn port(port: u16) {
    line(&format!("{{\"port\": {port}}}"));
}

/// This runtime has nothing for the workload; the peer ends.
pub fn unsupported() {
    line("{\"unsupported\": true}");
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

/// The most memory that this process ever held, as the OS says.
fn peak_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = peak.and_then(|peak| peak.trim().split(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

fn line(text: &str) {
    let mut output = std::io::stdout().lock();
    let told = writeln!(output, "{text}").and_then(|()| output.flush());
    told.expect("who started us listens");
}
