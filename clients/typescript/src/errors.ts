/** What can go wrong, and how long to wait before the next try. */

import type { Receipt } from "./publisher.js";
import type { Signal } from "./signals.js";

/** The body of every answer of the hub that is no success (RFC 9457). */
export interface Problem {
  status: number;
  code: string;
  detail: string;
  errors?: { index?: number; field?: string | null; code: string; detail: string }[];
}

/** The hub refused a request for good: the key, the address or the request has to be corrected. */
export class HubError extends Error {
  override name = "HubError";

  constructor(readonly problem: Problem) {
    super(`${problem.status} ${problem.code}: ${problem.detail}`);
  }
}

/** The hub was restored to an earlier state, and has not reached the cursor. */
export class CursorAhead extends HubError {
  override name = "CursorAhead";
}

/** No hub confirmed these signals in time. Publish them again: their ids are set, so they cannot count twice. */
export class Unsent extends Error {
  override name = "Unsent";

  constructor(
    readonly signals: Signal[],
    /** What became of those before them, if there were several requests. */
    readonly receipt: Receipt,
    readonly reason: string,
  ) {
    super(`${signals.length} signals are not confirmed: ${reason}`);
  }
}

/** Called before each pause with its cause. */
export type Backoff = (reason: string, pauseMs: number) => void;

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/** Return the pause after a number of failures in a row: doubled each time, up to half of it left to chance. */
export function pauseAfter(failures: number): number {
  const longest = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(failures, 16), LONGEST_PAUSE_MS);
  return longest * (1 - Math.random() / 2);
}

/** Return what `Retry-After` asks for: seconds, or a date. */
export function retryAfterMs(headers: Headers): number | undefined {
  const text = headers.get("retry-after")?.trim();
  if (!text) return undefined;
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.max(ms, FIRST_PAUSE_MS) : undefined;
}

/** Return the problem in a response's body, or one that is made of its status. */
export async function problemOf(response: Response): Promise<Problem> {
  const found: unknown = await response.json().catch(() => undefined);
  const problem = isObject(found) ? found : {};
  return {
    ...(Array.isArray(problem["errors"]) ? { errors: problem["errors"] } : {}),
    status: response.status,
    code: typeof problem["code"] === "string" ? problem["code"] : `http_${response.status}`,
    detail: typeof problem["detail"] === "string" ? problem["detail"] : `the server answered ${response.status}`,
  };
}

/** Return what an error of `fetch` says, with its cause, which is where the reason is. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause instanceof Error ? error.cause.message || error.cause.name : "";
  return cause ? `${error.message}: ${cause}` : error.message;
}

/** Wait. Rejects with the signal's reason when it is aborted. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    // A timer holds no more than 24.8 days, and would else fire at once.
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, Math.min(ms, 2 ** 31 - 1));
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** Return the header of a key. The error of what cannot be a key does not hold it. */
export function bearer(key: string): string {
  if (!/^[\x21-\x7e]+$/.test(key)) throw new TypeError("the key is empty, or has characters that no key has");
  return `Bearer ${key}`;
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
