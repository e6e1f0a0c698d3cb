"use strict";

// Requests to the webhook are signed here. What was entered as `webhook-signature` is the secret itself, which
// must never be sent.
const SIGNATURE = "webhook-signature";

function keyOf(secret) {
  if (!secret.startsWith("whsec_")) return new TextEncoder().encode(secret);
  return Uint8Array.from(atob(secret.slice("whsec_".length)), (letter) => letter.charCodeAt(0));
}

async function sign(request) {
  const secret = request.headers?.[SIGNATURE];
  if (request.loadSpec || !secret) return request;
  delete request.headers[SIGNATURE];
  if (!globalThis.crypto?.subtle) throw new Error("Signing needs HTTPS, or localhost.");
  const id = `docs_${crypto.randomUUID()}`;
  const timestamp = String(Math.floor(Date.now() / 1000));
  const hmac = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", keyOf(secret), hmac, false, ["sign"]);
  const signed = new TextEncoder().encode(`${id}.${timestamp}.${request.body}`);
  const digest = new Uint8Array(await crypto.subtle.sign("HMAC", key, signed));
  request.headers["webhook-id"] = id;
  request.headers["webhook-timestamp"] = timestamp;
  request.headers[SIGNATURE] = `v1,${btoa(String.fromCharCode(...digest))}`;
  return request;
}

SwaggerUIBundle({
  url: "{{ schema_url|escapejs }}",
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  requestInterceptor: sign,
});
