"""The contract (docs/openapi.json) as the tests use it: its operations, and a validator of its schemas.

`judge` holds one answer against its operation, `taken` a request that was answered with success: what typical flows say
(test_answers.py) and all that the end-to-end tests say (tests/proxy) goes through them.

The validator knows the keywords of JSON Schema 2020-12 that the contract uses and refuses any other,
so a schema cannot say something that nobody checks.  `strict` also reports members of an object that its
schema does not name: what a server answers must stand in its contract, although clients must bear more.
"""

import json
import math
import pathlib
import re
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
METHODS = ("get", "put", "post", "delete", "patch")

DATE_TIME = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d+)?(Z|[+-]\d\d:\d\d)")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
FORMATS = {
    "date-time": lambda s: DATE_TIME.fullmatch(s) is not None,
    "uuid": lambda s: UUID.fullmatch(s) is not None,
    "email": lambda s: re.fullmatch(r"[^@\s]+@[^@\s]+", s) is not None,
    "password": lambda s: True,  # a hint to those who draw forms
    "binary": lambda s: True,  # bytes as they are
    "byte": lambda s: re.fullmatch(r"[A-Za-z0-9+/]*={0,2}", s) is not None and len(s) % 4 == 0,
}
# of the document: what any request may be answered with besides what its operation says, and what is no operation
ANY_REQUEST, NO_OPERATION = "x-assay-any-request", "x-assay-no-operation"
# headers that say something about the answer, so a contract names them where they can be
TELLING = {"etag", "location", "retry-after", "ratelimit", "ratelimit-policy", "www-authenticate", "idempotency-replayed", "link", "last-modified",
           "content-disposition"}
ANNOTATIONS = {"title", "description", "default", "examples", "deprecated"}


def is_number(v):
    return isinstance(v, (int, float)) and not isinstance(v, bool)


TYPES = {
    "null": lambda v: v is None,
    "boolean": lambda v: isinstance(v, bool),
    "integer": lambda v: is_number(v) and (isinstance(v, int) or (math.isfinite(v) and v == int(v))),
    "number": is_number,
    "string": lambda v: isinstance(v, str),
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
}


def plain(text, schema):
    """A parameter's text as the value that its schema speaks of, or the text where it is none."""
    kind = schema.get("type")
    if kind == "integer" and re.fullmatch(r"-?[0-9]+", text):
        return int(text)
    if kind == "number" and re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", text):
        return float(text)
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    return text


def same(a, b):
    """Equality of JSON values: 1 is 1.0, but true is not 1."""
    return isinstance(a, bool) == isinstance(b, bool) and a == b


class Contract:
    def __init__(self, document=None):
        self.document = document or json.loads((ROOT / "docs" / "openapi.json").read_text())
        self._by_length = None

    def resolve(self, node):
        """Follows references; a reference has nothing beside it but annotations."""
        seen = set()
        while isinstance(node, dict) and "$ref" in node:
            ref = node["$ref"]
            if ref in seen:
                raise ValueError(f"{ref} refers to itself")
            seen.add(ref)
            if not ref.startswith("#/"):
                raise ValueError(f"{ref} is not in this document")
            node = self.document
            for part in ref[2:].split("/"):
                node = node[part.replace("~1", "/").replace("~0", "~")]
        return node

    def operations(self):
        """(method, path, operation) of each, with the parameters of the path item taken along."""
        for path, item in self.document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield method.upper(), path, item[method]

    def find(self, method, target):
        """The (path, operation) that answers a request; literal segments go before parameters."""
        if self._by_length is None:
            self._by_length = {}
            for m, path, op in self.operations():
                parts = path.removeprefix("/").split("/")
                literal = [not p.startswith("{") for p in parts]
                self._by_length.setdefault((m, len(parts)), []).append((literal, parts, path, op))
        wanted = target.split("?")[0].removeprefix("/").split("/")
        best = None
        for literal, parts, path, op in self._by_length.get((method, len(wanted)), ()):
            if all(p == w if lit else w for p, w, lit in zip(parts, wanted, literal)):
                if best is None or literal > best[0]:
                    best = (literal, path, op)
        return best[1:] if best else (None, None)

    def answer_schema(self, op, status, content_type):
        """(is this status documented, the schema of its body or None)."""
        responses = op["responses"]
        # "default" stands for faults of the server's own; what a client can bring about is listed
        response = responses.get(str(status)) or (responses.get("default") if status >= 500 else None)
        if response is None:
            return False, None
        content = self.resolve(response).get("content", {})
        return True, content.get(content_type.split(";")[0].strip(), {}).get("schema")

    # ---- what was said ---------------------------------------------------------------------------------

    def judge(self, method, target, status, headers, body, complete=True):
        """What is wrong with an answer; headers by their names in lower case. Of a body that is not complete, only the head is judged."""
        op = self.asked(method, target, status)
        if op is None:
            return self._judge_nothing(method, target, status, headers, body, complete)
        responses = op["responses"]
        response = responses.get(str(status)) or (responses["default"] if status >= 500 else None)
        if response is None:
            if str(status) not in self.document[ANY_REQUEST]:
                return [f"the status {status} is not documented"]
            response = responses["default"]  # a problem document, whichever
        out = self._judge_headers(self.resolve(response), status, headers)
        if status in (204, 303, 304) or method == "HEAD":
            return out + ([] if not body else ["has a body"])
        return out + self._judge_body(self.resolve(response), status, headers, body, complete)

    def asked(self, method, target, status):
        """The operation that gave an answer, or None: a path whose parts do not fit may be another's (POST /submissions/batch
        is no submission), and is then met with 404 or 405."""
        path, op = self.find("GET" if method == "HEAD" else method, target)
        return None if op and status in (404, 405) and self._path_faults(path, op, target) else op

    def _path_faults(self, path, op, target):
        where = {p["name"]: p for p in map(self.resolve, op.get("parameters", [])) if p["in"] == "path"}
        out = []
        for part, value in zip(path.split("/"), target.split("?")[0].split("/")):
            if part.startswith("{"):
                out += [f"the path's {part}{f}" for f in self.faults(urllib.parse.unquote(value), where[part[1:-1]]["schema"])]
        return out

    def _judge_headers(self, response, status, headers):
        out, named = [], response.get("headers", {})
        for name, header in named.items():
            header, value = self.resolve(header), headers.get(name.lower())
            if value is None:
                if header.get("required", True):
                    out.append(f"the header {name} is missing")
                continue
            schema = self.resolve(header["schema"])
            if schema.get("type") == "integer":
                value = int(value) if value.isdigit() else value
            out += [f"the header {name}{f}" for f in self.faults(value, schema)]
        known = {n.lower() for n in named}
        out += [f"the header {n} of {status} is not documented" for n in sorted(TELLING & headers.keys() - known)]
        return out

    def _judge_body(self, response, status, headers, body, complete):
        content_type = headers.get("content-type", "")
        media = content_type.split(";")[0].strip()
        if media not in response.get("content", {}):
            return [f"a body of type {content_type!r} is not documented for {status}"]
        if not complete or not (media == "application/json" or media.endswith("+json")):
            return []
        try:
            value = json.loads(body)
        except ValueError as e:
            return [f"the body is not JSON: {e}"]
        out = self.faults(value, response["content"][media]["schema"], strict=True)
        if media == "application/problem+json" and isinstance(value, dict):
            if value.get("status") != status:
                out.append("/status: is not the answer's")
            if value.get("request_id") != headers.get("x-request-id"):
                out.append("/request_id: is not X-Request-Id")
        return out

    def _judge_nothing(self, method, target, status, headers, body, complete):
        """The answer to what is no operation; None for a method: to what is no request."""
        if method == "OPTIONS" and status == 204:
            return [] if "allow" in headers else ["the header Allow is missing"]
        if str(status) not in self.document[NO_OPERATION] and str(status) not in self.document[ANY_REQUEST] and status < 500:
            return [f"{method or 'what is no request'} {target} is no operation, and {status} is not what such a request gets"]
        out = ["the header Allow is missing"] if status == 405 and "allow" not in headers else []
        problem = {"headers": {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}, **{n: {"required": False, "schema": {"type": "string"}} for n in (
            "Retry-After", "RateLimit", "RateLimit-Policy", "WWW-Authenticate")}},
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem_Details"}}}}
        out += self._judge_headers(problem, status, headers)
        if method == "HEAD":
            return out + (["has a body"] if body else [])
        return out + self._judge_body(problem, status, headers, body, complete)

    def taken(self, method, target, headers, body):
        """What a request that succeeded has and its operation does not know: then the contract is narrower than the server."""
        path, op = self.find("GET" if method == "HEAD" else method, target)
        if op is None:
            return []
        params = [self.resolve(p) for p in op.get("parameters", [])]
        out = self._taken_query(op, target, {p["name"]: p for p in params if p["in"] == "query"})
        out += self._path_faults(path, op, target)
        content = op.get("requestBody", {}).get("content")
        if not body:
            if content and op["requestBody"].get("required"):
                out.append("had no body, which must be there")
            return out
        if not content:
            return [*out, "had a body, and the operation takes none"]
        media = headers.get("content-type", "").split(";")[0].strip().lower()
        if media not in content and "*/*" not in content:
            return [*out, f"had a body of type {media!r}, which is not documented"]
        if media == "application/json":
            try:
                out += [f"had a body with {f}" for f in self.faults(json.loads(body), content[media]["schema"], strict=True)]
            except ValueError as e:
                out.append(f"had a body that is not JSON: {e}")
        return out

    def _taken_query(self, op, target, known):
        out, given = [], {}
        for name, value in urllib.parse.parse_qsl(target.partition("?")[2], keep_blank_values=True):
            given.setdefault(name, []).append(value)
        for name, values in given.items():
            if name not in known:
                if op["tags"] != ["operations"]:  # probes and caches add parameters of their own
                    out.append(f"had the query parameter {name!r}, which is not documented")
                continue
            schema = self.resolve(known[name]["schema"])
            value = [plain(v, self.resolve(schema["items"])) for v in values] if schema.get("type") == "array" else plain(values[0], schema)
            if value != "":  # as if it were not there
                out += [f"had the query parameter {name} with{f}" for f in self.faults(value, schema)]
        out += [f"had no query parameter {n!r}, which must be there" for n, p in known.items() if p.get("required") and n not in given]
        return out

    # ---- the validator ---------------------------------------------------------------------------------

    def faults(self, value, schema, strict=False, at=""):
        """What is wrong with a value, as "pointer: reason" strings; an empty list when nothing is."""
        out = []
        self._check(value, schema, strict, at, out)
        return out

    def _check(self, v, schema, strict, at, out):
        schema = self.resolve(schema)
        if schema is True:
            return
        if not isinstance(schema, dict):
            raise ValueError(f"{at}: {schema!r} is not a schema")
        for keyword, arg in schema.items():
            if keyword in ANNOTATIONS:
                continue
            check = getattr(self, "_" + keyword, None)
            if check is None:
                raise ValueError(f"{at}: the validator does not know the keyword {keyword!r}")
            check(v, arg, schema, strict, at, out)

    @staticmethod
    def _type(v, arg, schema, strict, at, out):
        names = arg if isinstance(arg, list) else [arg]
        if not any(TYPES[n](v) for n in names):
            out.append(f"{at}: {json.dumps(v)[:80]} is not of type {' or '.join(names)}")

    @staticmethod
    def _enum(v, arg, schema, strict, at, out):
        if not any(same(v, e) for e in arg):
            out.append(f"{at}: {json.dumps(v)[:80]} is none of {arg}")

    @staticmethod
    def _const(v, arg, schema, strict, at, out):
        if not same(v, arg):
            out.append(f"{at}: {json.dumps(v)[:80]} is not {arg!r}")

    def _anyOf(self, v, arg, schema, strict, at, out):
        tries = [self.faults(v, s, strict, at) for s in arg]
        if all(tries):
            out.append(f"{at}: fits none of {len(arg)} forms; the nearest: {'; '.join(min(tries, key=len))}")

    def _oneOf(self, v, arg, schema, strict, at, out):
        tries = [self.faults(v, s, strict, at) for s in arg]
        fits = sum(not t for t in tries)
        if fits != 1:
            out.append(f"{at}: fits {fits} of {len(arg)} forms, not one: {'; '.join(min(tries, key=len))}")

    def _not(self, v, arg, schema, strict, at, out):
        if not self.faults(v, arg, False, at):
            out.append(f"{at}: has a form that is excluded")

    @staticmethod
    def _required(v, arg, schema, strict, at, out):
        if isinstance(v, dict):
            out.extend(f"{at}: has no {name!r}" for name in arg if name not in v)

    def _properties(self, v, arg, schema, strict, at, out):
        if not isinstance(v, dict):
            return
        for name, value in v.items():
            if name in arg:
                self._check(value, arg[name], strict, f"{at}/{name}", out)
            elif strict and "additionalProperties" not in schema:
                out.append(f"{at}/{name}: is not in the contract")

    def _additionalProperties(self, v, arg, schema, strict, at, out):
        if not isinstance(v, dict):
            return
        for name in v.keys() - schema.get("properties", {}).keys():
            if arg is False:
                out.append(f"{at}/{name}: is not allowed")
            else:
                self._check(v[name], arg, strict, f"{at}/{name}", out)

    @staticmethod
    def _minProperties(v, arg, schema, strict, at, out):
        if isinstance(v, dict) and len(v) < arg:
            out.append(f"{at}: has {len(v)} members, fewer than {arg}")

    @staticmethod
    def _maxProperties(v, arg, schema, strict, at, out):
        if isinstance(v, dict) and len(v) > arg:
            out.append(f"{at}: has {len(v)} members, more than {arg}")

    def _items(self, v, arg, schema, strict, at, out):
        if isinstance(v, list):
            for i, item in enumerate(v):
                self._check(item, arg, strict, f"{at}/{i}", out)

    @staticmethod
    def _minItems(v, arg, schema, strict, at, out):
        if isinstance(v, list) and len(v) < arg:
            out.append(f"{at}: has {len(v)} items, fewer than {arg}")

    @staticmethod
    def _maxItems(v, arg, schema, strict, at, out):
        if isinstance(v, list) and len(v) > arg:
            out.append(f"{at}: has {len(v)} items, more than {arg}")

    @staticmethod
    def _minLength(v, arg, schema, strict, at, out):
        if isinstance(v, str) and len(v) < arg:
            out.append(f"{at}: has {len(v)} characters, fewer than {arg}")

    @staticmethod
    def _maxLength(v, arg, schema, strict, at, out):
        if isinstance(v, str) and len(v) > arg:
            out.append(f"{at}: has {len(v)} characters, more than {arg}")

    @staticmethod
    def _pattern(v, arg, schema, strict, at, out):
        if isinstance(v, str) and not re.search(arg.replace("$", r"\Z"), v):
            out.append(f"{at}: {v[:80]!r} does not match {arg}")

    @staticmethod
    def _format(v, arg, schema, strict, at, out):
        if isinstance(v, str) and not FORMATS[arg](v):
            out.append(f"{at}: {v[:80]!r} is not a {arg}")

    @staticmethod
    def _minimum(v, arg, schema, strict, at, out):
        if is_number(v) and not v >= arg:
            out.append(f"{at}: {v} is less than {arg}")

    @staticmethod
    def _maximum(v, arg, schema, strict, at, out):
        if is_number(v) and not v <= arg:
            out.append(f"{at}: {v} is more than {arg}")

    @staticmethod
    def _exclusiveMinimum(v, arg, schema, strict, at, out):
        if is_number(v) and not v > arg:
            out.append(f"{at}: {v} is not more than {arg}")
