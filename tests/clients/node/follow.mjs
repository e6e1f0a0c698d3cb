// Follows a feed, a line for each signal: `node follow.mjs '{"url": …, "key": …}' '{"after": …}' [KNOWN…]`.
import { Feed } from "signal-hub-client";

const [options, wanted, ...known] = process.argv.slice(2);
const feed = new Feed({
  ...JSON.parse(options),
  onRetry: (reason, pauseMs) => console.log(`again: ${reason} (${Math.round(pauseMs)} ms)`),
});
const isKnown = known.length ? { isKnown: (signal) => known.includes(signal.signal_id) } : {};
try {
  let last;
  const onCursor = (cursor) => console.log(cursor === last ? "handled" : `hidden ${cursor}`);
  for await (const signal of feed.follow({ ...JSON.parse(wanted), ...isKnown, onCursor })) {
    last = signal.cursor;
    console.log(`signal ${signal.signal_id}`);
  }
} catch (error) {
  console.log(`${error.name}: ${error.message}`);
}
