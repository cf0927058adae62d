// Reads exports of OTLP/HTTP as OpenTelemetry's own generated code does, and says what it understood.
//
// Standard input: a JSON array of {signal, json} or {signal, base64}; standard output: an array of what came through.  A body in JSON goes to
// the generated message, is verified, encoded to protocol buffers and decoded again, so that whatever is no field of the
// protocol, or not of its type, is gone at the end; then nothing may be missing.  One in protocol buffers is decoded, verified and encoded
// again, and must be the same bytes.  Exit status 1 and a reason otherwise.
"use strict";
const path = require("path");
const transformer = path.dirname(require.resolve("@opentelemetry/otlp-transformer/package.json"));
const { collector } = require(path.join(transformer, "build", "src", "generated", "root.js")).opentelemetry.proto;
const messages = { traces: collector.trace.v1.ExportTraceServiceRequest, metrics: collector.metrics.v1.ExportMetricsServiceRequest };
const ids = { traceId: 16, spanId: 8, parentSpanId: 8 };

function fail(why) {
  process.stderr.write(`${why}\n`);
  process.exit(1);
}

// What OTLP says of its JSON beyond the common mapping: ids are hexadecimal.
function fromHex(v, at) {
  if (Array.isArray(v)) return v.map((x, i) => fromHex(x, `${at}/${i}`));
  if (v === null || typeof v !== "object") return v;
  const out = {};
  for (const [k, x] of Object.entries(v)) {
    if (k in ids) {
      if (typeof x !== "string" || x.length !== 2 * ids[k] || !/^[0-9a-f]+$/i.test(x) || /^0+$/.test(x)) fail(`${at}/${k} is no id: ${x}`);
      out[k] = Buffer.from(x, "hex");
    } else {
      out[k] = fromHex(x, `${at}/${k}`);
    }
  }
  return out;
}

function toHex(v) {
  if (Array.isArray(v)) return v.map(toHex);
  if (v === null || typeof v !== "object" || Buffer.isBuffer(v) || v instanceof Uint8Array) return v;
  return Object.fromEntries(Object.entries(v).map(([k, x]) => [k, k in ids ? Buffer.from(x).toString("hex") : toHex(x)]));
}

// All that was sent is there again. Numbers of 64 bits are strings in both.
function lost(sent, got, at) {
  if (Array.isArray(sent)) {
    if (!Array.isArray(got)) return sent.length ? `${at} is gone` : null;
    if (sent.length !== got.length) return `${at} has ${got.length} of ${sent.length}`;
    for (let i = 0; i < sent.length; i++) {
      const r = lost(sent[i], got[i], `${at}/${i}`);
      if (r) return r;
    }
    return null;
  }
  if (sent !== null && typeof sent === "object") {
    if (got === null || typeof got !== "object") return `${at} is gone`;
    for (const k of Object.keys(sent)) {
      const r = lost(sent[k], got[k], `${at}/${k}`);
      if (r) return r;
    }
    return null;
  }
  return sent === got || String(sent) === String(got) ? null : `${at} was ${JSON.stringify(sent)} and is ${JSON.stringify(got)}`;
}

let text = "";
process.stdin.setEncoding("utf8");
process.stdin.on("data", (d) => (text += d));
process.stdin.on("end", () => {
  const out = JSON.parse(text).map(({ signal, json, base64 }, n) => {
    const Message = messages[signal];
    const plain = (message) => toHex(Message.toObject(message, { longs: String, enums: Number, defaults: true }));
    let message;
    if (base64 !== undefined) {
      const bytes = Buffer.from(base64, "base64");
      try {
        message = Message.decode(bytes);
      } catch (e) {
        fail(`${signal} ${n}: ${e.message}`);
      }
      const wrong = Message.verify(message);
      if (wrong) fail(`${signal} ${n}: ${wrong}`);
      const again = Buffer.from(Message.encode(message).finish());
      if (!again.equals(bytes)) fail(`${signal} ${n}: ${bytes.length} bytes came, and what was understood of them makes ${again.length} others`);
      return plain(message);
    }
    const sent = JSON.parse(json);
    try {
      message = Message.fromObject(fromHex(sent, ""));
    } catch (e) {
      fail(`${signal} ${n}: ${e.message}`);
    }
    const wrong = Message.verify(message);
    if (wrong) fail(`${signal} ${n}: ${wrong}`);
    const got = plain(Message.decode(Message.encode(message).finish()));
    const gone = lost(sent, got, `${signal} ${n}:`);
    if (gone) fail(gone);
    return got;
  });
  process.stdout.write(JSON.stringify(out));
});
