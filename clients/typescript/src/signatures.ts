/** Signatures by Standard Webhooks 1.0, both ways: https://www.standardwebhooks.com */

import { isObject } from "./errors.js";

/** How far a `webhook-timestamp` may be from this machine's clock, either way, in seconds. */
const TOLERANCE_S = 300;
const MAX_SIGNATURES = 10;
const HMAC = { name: "HMAC", hash: "SHA-256" };
const encoder = new TextEncoder();

/** A delivery whose signature is right. */
export interface Delivery<Data = unknown> {
  /** The `webhook-id`: the same in all attempts of a message. */
  id: string;
  /** `signal.recorded`, with a `FeedSignal` as its data, `outcome.decided`, or `webhook.test`. */
  type: string;
  timestamp: string;
  data: Data;
}

/** A delivery that was not made with this secret, or not lately. */
export class InvalidSignature extends Error {
  override name = "InvalidSignature";
}

export interface VerifyOptions {
  /** The clock, in milliseconds since 1970. */
  now?: number;
}

/** The headers of a request: those of `fetch`, of Node's `http`, or any object of them. */
type GivenHeaders = Headers | Record<string, string | string[] | undefined>;

/**
 * Return a delivery that was signed with the secret, or with any of several, as after a rotation.
 *
 * `body` is what came in, byte for byte: read it before anything parses it. Throws InvalidSignature.
 */
export async function verify<Data = unknown>(
  secret: string | readonly string[],
  headers: GivenHeaders,
  body: string | Uint8Array,
  options: VerifyOptions = {},
): Promise<Delivery<Data>> {
  const [id, timestamp, given] = ["webhook-id", "webhook-timestamp", "webhook-signature"].map((name) =>
    header(headers, name),
  ) as [string, string, string];
  const now = Math.floor((options.now ?? Date.now()) / 1000);
  if (!/^[\w-]{1,256}$/.test(id) || !/^\d{10}$/.test(timestamp) || Math.abs(now - Number(timestamp)) > TOLERANCE_S) {
    throw new InvalidSignature("there is no valid webhook-id, or no webhook-timestamp of the last five minutes");
  }
  const signatures = given.split(" ");
  const content = signedContent(id, timestamp, body);
  const secrets = typeof secret === "string" ? [secret] : secret;
  if (signatures.length > MAX_SIGNATURES || !(await anyMatches(secrets, signatures, content))) {
    throw new InvalidSignature("no signature of the delivery was made with this secret");
  }
  const message: unknown = JSON.parse(typeof body === "string" ? body : new TextDecoder().decode(body));
  if (!isObject(message)) throw new InvalidSignature("the body is no message");
  return { ...(message as Omit<Delivery<Data>, "id">), id };
}

/** Return the value of `webhook-signature`. The timestamp is in seconds since 1970. */
export async function sign(
  secret: string,
  id: string,
  timestamp: number,
  body: string | Uint8Array,
): Promise<string> {
  const digest = await crypto.subtle.sign(HMAC, await keyOf(secret), signedContent(id, String(timestamp), body));
  return `v1,${btoa(String.fromCharCode(...new Uint8Array(digest)))}`;
}

/** Return the id of a message with this body: the same body keeps its id in every attempt. */
export async function messageId(body: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(body)));
  return `msg_${Array.from(digest.subarray(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** Throw TypeError for a `whsec_` secret that is not base64. The error does not hold the secret. */
export async function checkSecret(secret: string): Promise<void> {
  await keyOf(secret);
}

async function anyMatches(
  secrets: readonly string[],
  signatures: string[],
  content: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  let matches = false;
  for (const secret of secrets) {
    const key = await keyOf(secret);
    for (const signature of signatures) {
      const digest = signature.startsWith("v1,") ? bytesOf(signature.slice(3)) : undefined;
      // WebCrypto compares in constant time, and every signature is looked at, whichever matches.
      if (digest && (await crypto.subtle.verify(HMAC, key, digest, content))) matches = true;
    }
  }
  return matches;
}

/** `whsec_<base64>`, or any text, whose UTF-8 bytes are the key. */
async function keyOf(secret: string): Promise<CryptoKey> {
  const bytes = secret.startsWith("whsec_") ? bytesOf(secret.slice(6)) : encoder.encode(secret);
  if (!bytes?.length) throw new TypeError("the secret is empty, or what follows whsec_ is not base64");
  return crypto.subtle.importKey("raw", bytes, HMAC, false, ["sign", "verify"]);
}

function signedContent(id: string, timestamp: string, body: string | Uint8Array): Uint8Array<ArrayBuffer> {
  const head = encoder.encode(`${id}.${timestamp}.`);
  const tail = typeof body === "string" ? encoder.encode(body) : body;
  const content = new Uint8Array(head.length + tail.length);
  content.set(head);
  content.set(tail, head.length);
  return content;
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  } catch {
    return undefined;
  }
}

function header(headers: GivenHeaders, name: string): string {
  if (headers instanceof Headers) return headers.get(name) ?? "";
  const found = Object.entries(headers).find(([key]) => key.toLowerCase() === name)?.[1];
  return (typeof found === "string" ? found : found?.[0]) ?? "";
}
