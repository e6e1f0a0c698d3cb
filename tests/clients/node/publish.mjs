// Publishes signals one after the other: `node publish.mjs URL SECRET COUNT [KEY]`.
import { Publisher } from "signal-hub-client";

const [url, secret, count, apiKey] = process.argv.slice(2);
const onRetry = (reason, pauseMs) => console.log(`again: ${reason} (${Math.round(pauseMs)} ms)`);
const hub = new Publisher({ url, secret, onRetry, ...(apiKey ? { apiKey } : {}) });
for (let number = 0; number < Number(count); number++) {
  const signal = { signal_id: `ts-${number}`, ecosystem: "crypto", symbol: "BTCUSDT", action: "BUY" };
  const { accepted, duplicates } = await hub.publish({ ...signal, entry_price: "64250.10", agent_source: "ts" });
  if (accepted + duplicates !== 1) throw new Error(`signal ${number} is not on record`);
}
console.log("published");
