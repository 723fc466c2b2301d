-- What wrk sends beyond its own options, and what it counted as one line for a program.
-- No request or response hook: they would cost the load generator more than the request does.

local body_bytes = tonumber(os.getenv("LOAD_BODY_BYTES") or "0")
if body_bytes > 0 then
  wrk.method = "POST"
  wrk.body = string.rep("x", body_bytes)
end

function done(summary, _, _)
  local errors = summary.errors
  io.write(string.format(
    'COUNTED {"requests": %d, "microseconds": %d, "bytes": %d, "errors": %d}\n',
    summary.requests, summary.duration, summary.bytes,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
