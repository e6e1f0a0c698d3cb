/** Server-Sent Events, read as the HTML standard defines them. */

export interface StreamEvent {
  /** The last `id` that came, in this event or an earlier one. */
  id: string;
  type: string;
  data: string;
}

/** Yield the events of a response, also those without data, which only have an id. */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<StreamEvent> {
  let [id, type, data] = ["", "message", [] as string[]];
  for await (const line of lines(body)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line) as unknown as [string, string, string];
    if (field === "data") data.push(value);
    else if (field === "event") type = value;
    else if (field === "id" && !value.includes("\0")) id = value;
    else if (line === "") {
      yield { id, type, data: data.join("\n") };
      [type, data] = ["message", []];
    }
  }
}

/** Yield whole lines as they arrive; one that was cut off by the end is none. */
async function* lines(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const parts = (rest + decoder.decode(value, { stream: true })).split("\n");
      rest = parts.pop() as string;
      yield* parts.map((line) => line.replace(/\r$/, ""));
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
