-- wrk's script: prepared requests from the file that REQUESTS names, each after its length in four bytes.
local file = io.open(os.getenv("REQUESTS"), "rb")
local data = file:read("*a")
file:close()

local requests, at = {}, 1
while at <= #data do
  local a, b, c, d = data:byte(at, at + 3)
  local length = ((a * 256 + b) * 256 + c) * 256 + d
  requests[#requests + 1] = data:sub(at + 4, at + 3 + length)
  at = at + 4 + length
end

local sent = 0

function request()
  sent = sent + 1
  return requests[(sent - 1) % #requests + 1]
end

function done(summary, latency)
  io.write(string.format('{"requests": %d, "seconds": %f, "p50_ms": %f, "failed": %d}\n', summary.requests,
    summary.duration / 1e6, latency:percentile(50) / 1000,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout + summary.errors.status))
end
