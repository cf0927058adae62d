"""The route tables, docs/openapi.json and the Postman collection name the same operations."""

import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402
from harness import PREFIX, ROOT  # noqa: E402

OPENAPI = json.loads((ROOT / "docs" / "openapi.json").read_text())
POSTMAN = json.loads((ROOT / "postman" / "assay.postman_collection.json").read_text())
METHODS = ("get", "post", "put", "patch", "delete")


def pattern(path):
    """/submissions/{id:uuid} and /submissions/{{submission_id}} alike: /submissions/{}"""
    return re.sub(r"\{\{?[^/{}]+\}?\}", "{}", path.split("?")[0]) or "/"


def dumped():
    a = subprocess.run([str(PREFIX / "bin" / "assayd"), "--dump-routes=json"], capture_output=True, text=True,
                       env={"PATH": "/usr/bin:/bin", "ASSAY_DATA_DIR": "/nonexistent/data"})
    assert a.returncode == 0, a.stderr
    return [json.loads(line) for line in a.stdout.splitlines() if line.startswith("{")]


def operations():
    for path, item in OPENAPI["paths"].items():
        for method in METHODS:
            if method in item:
                yield method.upper(), path, item[method]


def postman_requests(item=None):
    for i in (POSTMAN["item"] if item is None else item):
        if "item" in i:
            yield from postman_requests(i["item"])
        else:
            raw = i["request"]["url"]["raw"] if isinstance(i["request"]["url"], dict) else i["request"]["url"]
            yield i["request"]["method"], re.sub(r"^\{\{base_url\}\}", "", raw), i


def test_dump_and_openapi_name_the_same_routes():
    routes = {(r["method"], pattern(r["path"])): r["operation_id"] for r in dumped()}
    spec = {(m, pattern(p)): op["operationId"] for m, p, op in operations()}
    assert len(routes) > 40, f"only {len(routes)} routes were dumped"
    assert not set(routes) - set(spec), f"served, not in docs/openapi.json: {sorted(set(routes) - set(spec))}"
    assert not set(spec) - set(routes), f"in docs/openapi.json, not served: {sorted(set(spec) - set(routes))}"
    differ = [(k, routes[k], spec[k]) for k in routes if routes[k] != spec[k]]
    assert not differ, f"other operation ids: {differ}"


def test_openapi_says_who_may_call():
    differ = []
    spec = {(m, pattern(p)): op for m, p, op in operations()}
    for r in dumped():
        op = spec[(r["method"], pattern(r["path"]))]
        public = not r["roles"]
        documented = op.get("security", OPENAPI.get("security")) in ([], [{}])
        if public != documented:
            differ.append((r["method"], r["path"], "public" if public else "needs a token"))
    assert not differ, differ


def test_postman_covers_every_route_and_no_other():
    routes = {(r["method"], pattern(r["path"])) for r in dumped()}
    sent = {(m, pattern(p)) for m, p, _ in postman_requests()}
    assert not routes - sent, f"not in the Postman collection: {sorted(routes - sent)}"
    assert not sent - routes, f"in the Postman collection, not served: {sorted(sent - routes)}"


def test_every_postman_request_asserts_something():
    idle = [i["name"] for _, _, i in postman_requests()
            if "pm.test(" not in "\n".join(line for e in i.get("event", []) if e["listen"] == "test" for line in e["script"]["exec"])]
    assert not idle, idle


def test_openapi_is_whole():
    text = json.dumps(OPENAPI)
    for ref in set(re.findall(r'"\$ref": "([^"]+)"', text)):
        at = OPENAPI
        assert ref.startswith("#/"), ref
        for part in ref[2:].split("/"):
            at = at.get(part.replace("~1", "/").replace("~0", "~"))
            assert at is not None, f"{ref} names nothing"
    assert OPENAPI["openapi"].startswith("3.1")
    for m, p, op in operations():
        where = f"{m} {p}"
        assert op.get("summary") and op.get("tags"), f"{where}: no summary or tag"
        assert any(c.startswith("2") for c in op["responses"]), f"{where}: no answer of success"
        assert "default" in op["responses"], f"{where}: no problem answer"
        declared = {x["name"] for x in op.get("parameters", []) if x.get("in") == "path"}
        declared |= {OPENAPI["components"]["parameters"][x["$ref"].rsplit("/", 1)[1]]["name"] for x in op.get("parameters", [])
                     if "$ref" in x and OPENAPI["components"]["parameters"][x["$ref"].rsplit("/", 1)[1]]["in"] == "path"}
        assert declared == set(re.findall(r"\{([^}]+)\}", p)), f"{where}: path parameters {declared}"


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
