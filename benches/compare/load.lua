-- What wrk sends beyond its own options, and what it counted as one line for a program.
-- No request or response hook: they would cost the load generator more than the request does.

local body_bytes = tonumber(os.getenv("LOAD_BODY_BYTES") or "0")
if body_bytes > 0 then
  wrk.method = "POST"
  wrk.body = string.rep("x", body_bytes)
end

-- Latencies are in microseconds, from the sending of a request to the end of its answer.
function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'COUNTED {"requests": %d, "microseconds": %d, "bytes": %d, "errors": %d, ' ..
    '"p50": %d, "p99": %d, "p999": %d}\n',
    summary.requests, summary.duration, summary.bytes,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
