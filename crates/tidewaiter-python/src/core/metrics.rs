//! Converts a loop's metrics to plain Python values.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tidewaiter::TurnTimes;

use crate::core::class::Core;

fn turn_times<'py>(py: Python<'py>, times: &TurnTimes) -> PyResult<Bound<'py, PyDict>> {
    let result = PyDict::new(py);
    result.set_item("count", times.count())?;
    result.set_item("total", times.total().as_secs_f64())?;
    result.set_item("max", times.max().as_secs_f64())?;
    for (name, percent) in [("p50", 50), ("p90", 90), ("p99", 99)] {
        result.set_item(name, times.percentile(percent).as_secs_f64())?;
    }
    let classes = times.classes().filter(|(_, count)| *count > 0);
    let classes: Vec<_> = classes
        .map(|(end, count)| (end.as_secs_f64(), count))
        .collect();
    result.set_item("classes", classes)?;
    Ok(result)
}

#[pymethods]
impl Core {
    /// Counts of events since the loop was made, and of objects and operations now.
    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let event_loop = self.enter(py)?;
        let port = event_loop.reactor.port_info();
        let metrics = event_loop.reactor.metrics();
        let living = &metrics.living;
        let (delayed_calls, delayed_calls_made) =
            (event_loop.timers).counts(living.delayed_calls, metrics.timers_fired);
        let result = PyDict::new(py);
        result.set_item("port", port.kind.to_string())?;
        result.set_item("port_reason", port.reason)?;
        result.set_item("port_features", port.features)?;
        let counts = [
            ("turns", metrics.turns),
            ("completions", metrics.completions),
            ("late_completions", metrics.late_completions),
            ("delayed_calls_made", delayed_calls_made),
            ("thread_calls_made", event_loop.thread_calls.get()),
            ("ready_calls_made", event_loop.ready.made()),
            ("slow_callbacks", event_loop.hooks.slow_count.get()),
            ("accepted", metrics.accepted),
            ("connected", metrics.connected),
            ("spawned", metrics.spawned),
            ("bytes_received", metrics.bytes_received),
            ("bytes_sent", metrics.bytes_sent),
        ];
        for (name, count) in counts {
            result.set_item(name, count)?;
        }
        let now = [
            ("delayed_calls", delayed_calls),
            ("ready_calls", event_loop.ready.len()),
            ("transports", living.transports),
            ("lingering", living.lingering),
            ("listeners", living.listeners),
            ("children", living.children),
            ("watches", event_loop.watches.get()),
            ("in_flight", metrics.in_flight),
        ];
        for (name, count) in now {
            result.set_item(name, count)?;
        }
        result.set_item("turn_times", turn_times(py, &metrics.turn_times)?)?;
        Ok(result)
    }
}
