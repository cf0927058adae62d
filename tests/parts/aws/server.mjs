// SQS and S3 for tests, on loopback only: an emulator (fauxqs) behind a gate that checks every request's AWS signature with
// Amazon's own signer, and that can refuse, hang, reset, fail or crawl when a test says so (POST /-/fault).
//   node server.mjs ACCESS_KEY SECRET       prints {"url": ..., "port": ...} when it is up
import http from "node:http";
import { createHash, createHmac } from "node:crypto";
import { SignatureV4 } from "@smithy/signature-v4";
import { buildApp } from "fauxqs";

const [, , accessKeyId, secretAccessKey] = process.argv;
class Sha256 {
  constructor(key) { this.state = key ? createHmac("sha256", key) : createHash("sha256"); }
  update(data) { this.state.update(data); }
  async digest() { return this.state.digest(); }
}
const app = buildApp({ logger: false });
await app.listen({ port: 0, host: "127.0.0.1" });
const behind = app.server.address().port;

let fault = { kind: "", left: 0, match: "" };
const counts = { good: 0, refused: 0 };
let reason = "";

function timeOf(stamp) {
  const m = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(stamp ?? "");
  return m ? Date.UTC(+m[1], m[2] - 1, +m[3], +m[4], +m[5], +m[6]) : NaN;
}

function queryOf(url) {
  const query = {};
  for (const part of (url.split("?")[1] ?? "").split("&").filter(Boolean)) {
    const at = part.indexOf("=");
    query[decodeURIComponent(at < 0 ? part : part.slice(0, at))] = at < 0 ? "" : decodeURIComponent(part.slice(at + 1));
  }
  return query;
}

// "" when the signature is right, else the code of the refusal
async function verdict(request, body) {
  const query = queryOf(request.url), path = request.url.split("?")[0];
  const signed = query["X-Amz-Signature"];
  let scope, names, given, stamp, expires = 900;
  if (signed) {
    scope = (query["X-Amz-Credential"] ?? "").split("/");
    names = (query["X-Amz-SignedHeaders"] ?? "").split(";");
    given = signed;
    stamp = query["X-Amz-Date"];
    expires = Number(query["X-Amz-Expires"]);
  } else {
    const m = /^AWS4-HMAC-SHA256 Credential=(\S+), ?SignedHeaders=(\S+), ?Signature=([0-9a-f]{64})$/.exec(request.headers.authorization ?? "");
    if (!m) return "MissingAuthenticationToken";
    scope = m[1].split("/");
    names = m[2].split(";");
    given = m[3];
    stamp = request.headers["x-amz-date"];
  }
  if (scope.length !== 5 || scope[0] !== accessKeyId) return "InvalidClientTokenId";
  const at = timeOf(stamp);
  if (!(Date.now() - at < expires * 1000 && at - Date.now() < 900000)) return "RequestExpired";
  if (!names.includes("host")) return "SignatureDoesNotMatch";
  const s3 = scope[3] === "s3", hash = request.headers["x-amz-content-sha256"];
  if (s3 && !signed && !hash) return "MissingContentSHA256";
  if (hash && hash !== "UNSIGNED-PAYLOAD" && hash !== createHash("sha256").update(body).digest("hex")) return "XAmzContentSHA256Mismatch";
  const headers = {};
  for (const name of names) if (request.headers[name] !== undefined && name !== "x-amz-date") headers[name] = request.headers[name];
  const signer = new SignatureV4({ credentials: { accessKeyId, secretAccessKey }, region: scope[2], service: scope[3], sha256: Sha256,
    uriEscapePath: !s3, applyChecksum: !signed && !!hash });
  const plain = { ...query };
  for (const name of Object.keys(plain)) if (name.startsWith("X-Amz-")) delete plain[name];
  const again = { method: request.method, protocol: "http:", hostname: "x", path: s3 ? path : decodeURIComponent(path),
    query: signed ? plain : query, headers, body: signed ? undefined : body };
  const options = { signingDate: new Date(at), signableHeaders: new Set(names), unhoistableHeaders: new Set(names) };
  if (signed) {
    again.headers = { ...headers, "x-amz-content-sha256": "UNSIGNED-PAYLOAD" };
    const own = new Set(["x-amz-content-sha256"]); // tells the signer that the body is not signed; it is no part of the URL
    const out = await signer.presign(again, { ...options, expiresIn: expires, unsignableHeaders: own, unhoistableHeaders: new Set([...names, ...own]) });
    return out.query["X-Amz-Signature"] === given ? "" : "SignatureDoesNotMatch";
  }
  const out = await signer.sign(again, options);
  return out.headers.authorization.endsWith(`Signature=${given}`) ? "" : "SignatureDoesNotMatch";
}

function faulty(request, response) {
  const about = `${request.method} ${request.url} ${request.headers["x-amz-target"] ?? ""}`;
  if (!fault.kind || fault.left <= 0 || !new RegExp(fault.match).test(about)) return false;
  fault.left--;
  if (fault.kind === "reset") request.socket.resetAndDestroy();
  else if (fault.kind === "error") { response.statusCode = 503; response.end("{}"); }
  else if (fault.kind === "cut") {
    response.writeHead(200, { "content-length": "1000" });
    response.write("{");
    setTimeout(() => request.socket.resetAndDestroy(), 20);
  } else if (fault.kind === "slow") {
    response.writeHead(200, { "content-length": "100000" });
    const timer = setInterval(() => response.write(" "), 200);
    request.socket.on("close", () => clearInterval(timer));
  } // hang: nothing at all
  return true;
}

const gate = http.createServer((request, response) => {
  const parts = [];
  request.on("error", () => {});
  request.on("data", (d) => parts.push(d));
  request.on("end", async () => {
    const body = Buffer.concat(parts);
    if (request.url === "/-/fault") {
      fault = JSON.parse(body);
      return response.end("{}");
    }
    if (request.url === "/-/counts") return response.end(JSON.stringify({ ...counts, reason }));
    if (faulty(request, response)) return;
    const code = await verdict(request, body);
    if (code) {
      counts.refused++;
      reason = `${code}: ${request.method} ${request.url}`;
      response.statusCode = 403;
      const xml = !request.headers["x-amz-target"];
      return response.end(xml ? `<Error><Code>${code}</Code></Error>` : JSON.stringify({ __type: `com.amazonaws.sqs#${code}` }));
    }
    counts.good++;
    const on = http.request({ host: "127.0.0.1", port: behind, method: request.method, path: request.url, headers: request.headers }, (r) => {
      response.writeHead(r.statusCode, r.headers);
      r.pipe(response);
    });
    on.on("error", () => response.destroy());
    response.on("close", () => on.destroy());
    on.end(body);
  });
});
gate.on("clientError", (_, socket) => socket.destroy());
gate.listen(0, "127.0.0.1", () => {
  const { port } = gate.address();
  console.log(JSON.stringify({ url: `http://127.0.0.1:${port}`, port }));
});
