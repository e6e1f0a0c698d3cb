// What the client does with answers, signatures and bad input, as one object of JSON: `node answers.mjs URL SECRET`.
import { inspect } from "node:util";
import { Feed, Publisher, sign, verify } from "signal-hub-client";

const [url, secret] = process.argv.slice(2);
const hub = new Publisher({ url, secret, apiKey: "key-1" });
const signal = { ecosystem: "crypto", symbol: "BTCUSDT", action: "BUY", agent_source: "ts" };

/** Return what a call gives, or the name and text of its error. */
async function outcome(call) {
  try {
    return await call();
  } catch (error) {
    return { error: error.name, text: error.message, problem: error.problem, signals: error.signals };
  }
}

const vector = {
  secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
  id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
  at: 1614265330,
  body: '{"test": 2432232314}',
  signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
};

function check({ secrets = vector.secret, body = vector.body, seconds = 0, ...headers } = {}) {
  const given = { "Webhook-Id": vector.id, "webhook-timestamp": `${vector.at}`, "webhook-signature": vector.signature };
  const now = (vector.at + seconds) * 1000;
  return outcome(async () => (await verify(secrets, { ...given, ...headers }, body, { now })).test);
}

const nothing = new Publisher({ url: "http://127.0.0.1:9/", secret, retryForMs: 1 });
console.log(
  JSON.stringify({
    several: await hub.publish([
      { ...signal, signal_id: "ok", timestamp: new Date("2026-01-15T09:30:00Z"), stop_loss: 1.5 },
      { ...signal, signal_id: "bad", action: "JUMP" },
    ]),
    again: await hub.publish({ ...signal, signal_id: "ok", timestamp: "2026-01-15T09:30:00Z", stop_loss: "1.50" }),
    conflict: await outcome(() => hub.publish({ ...signal, signal_id: "ok", action: "SELL" })),
    invalid: await outcome(() => hub.publish({ ...signal, signal_id: "no", action: "JUMP", symbol: "" })),
    many: await hub.publish(Array.from({ length: 1500 }, (_, n) => ({ ...signal, signal_id: `many-${n}` }))),
    made: await hub.publish(signal),
    number: await outcome(() => hub.publish({ ...signal, entry_price: Number.NaN })),
    stranger: await outcome(() => new Publisher({ url, secret: "whsec_AAAA" }).publish(signal)),
    elsewhere: await outcome(() => new Publisher({ url: `${url}/../../livez`, secret, retryForMs: 1 }).publish(signal)),
    unsent: await outcome(() => nothing.publish(signal)),
    secret: await outcome(() => new Publisher({ url, secret: "whsec_%secret%" }).publish(signal)),
    key: await outcome(() => new Feed({ url, key: "shk_\nsecret" })),
    shown: inspect(hub, { depth: 9, showHidden: true }),
    signed: (await sign(vector.secret, vector.id, vector.at, vector.body)) === vector.signature,
    good: await check(),
    edges: [await check({ seconds: 300.9 }), await check({ seconds: -300 })],
    rotated: await check({ secrets: ["whsec_AAAA", vector.secret] }),
    list: await check({ "webhook-signature": `v1a,x v1,AAAA ${vector.signature}` }),
    bytes: await check({ body: new TextEncoder().encode(vector.body) }),
    wrong: [
      await check({ body: `${vector.body} ` }),
      await check({ secrets: "whsec_AAAA" }),
      await check({ secrets: [] }),
      await check({ seconds: 301 }),
      await check({ seconds: -301 }),
      await check({ "webhook-timestamp": `${vector.at}.0` }),
      await check({ "Webhook-Id": "" }),
      await check({ "webhook-signature": vector.signature.replace("v1,", "v2,") }),
      await check({ "webhook-signature": `${"v1,AAAA ".repeat(10)}${vector.signature}` }),
      await check({ "webhook-signature": undefined }),
    ],
  }),
);
