-- Prints wrk's result as one line of JSON, with the same names as the load program.
function done(summary, latency, requests)
    local errors = summary.errors
    local form = '{"messages": %d, "seconds": %.6f, "p50_us": %.1f, "p99_us": %.1f, "p999_us": %.1f, "errors": %d}\n'
    io.write(form:format(
        summary.requests,
        summary.duration / 1e6,
        latency:percentile(50),
        latency:percentile(99),
        latency:percentile(99.9),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout
    ))
end
