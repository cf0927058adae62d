"""The routes that the server has, docs/openapi.json and the Postman collection say the same."""

import copy
import json
import re
import subprocess
import sys

from contract import ROOT, Contract

sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402
from harness import PREFIX  # noqa: E402


def dumped():
    a = subprocess.run([str(PREFIX / "bin" / "assayd"), "--dump-routes=json"], capture_output=True, text=True,
                       env={"PATH": "/usr/bin:/bin", "APP_ENV": "development"})
    assert a.returncode == 0, a.stderr
    routes = [json.loads(line) for line in a.stdout.splitlines()]
    assert len(routes) > 30, f"only {len(routes)} routes"
    return {(r["method"], re.sub(r":\w+}", "}", r["path"])): r for r in routes}


def collection():
    return json.loads((ROOT / "postman" / "assay.postman_collection.json").read_text())


def requests(item, folder=()):
    for child in item.get("item", []):
        if "request" in child:
            yield folder, child
        else:
            yield from requests(child, (*folder, child["name"]))


def differences(routes, c):
    """What the dump and the contract say differently, in words."""
    documented = {(m, p): op for m, p, op in c.operations()}
    out = [f"{m} {p} is not in docs/openapi.json" for m, p in routes.keys() - documented.keys()]
    out += [f"{m} {p} is in docs/openapi.json only" for m, p in documented.keys() - routes.keys()]
    for key in routes.keys() & documented.keys():
        r, op, where = routes[key], documented[key], " ".join(key)
        params = [c.resolve(p) for p in op.get("parameters", [])]
        named = {p["name"] for p in params}
        said = {
            "operation id": (r["operation_id"], op["operationId"]),
            "roles": (sorted(r["roles"]), sorted(op["x-assay-roles"])),
            "scope of agents' tokens": (r["scope"] if r["roles"] else None, op["x-assay-scope"] if r["roles"] else None),
            "open to anyone": (not r["roles"], op.get("security") == []),
            "Idempotency-Key": (r["idempotent"], "Idempotency-Key" in named),
            "paging": (r["paged"], {"limit", "cursor"} <= named),
            "body": (r["body_max"] > 0, "requestBody" in op),
            "summary": (r["summary"], op["summary"]),
            "parameters of the path": (sorted(re.findall(r"{(\w+)}", key[1])), sorted(p["name"] for p in params if p["in"] == "path")),
        }
        typed = {n for n, t in re.findall(r"{(\w+):(\w+)}", r["path"])}
        loose = [p["name"] for p in params if p["in"] == "path" and p["name"] in typed and c.resolve(p["schema"]).get("format") != "uuid"]
        said["parameters that are UUIDs"] = ([], loose)
        if r["body_max"] > 0:
            size = f"{r['body_max'] >> 20} MiB" if r["body_max"] >= 1 << 20 else f"{r['body_max'] >> 10} KiB"
            said["size of the body"] = (True, f"at most {size}." in op["description"])
        if r["plugin"] != "core":  # probes and caches add parameters of their own
            said["query parameters"] = (r["query"], any(p["in"] == "query" for p in params))
        out += [f"{where}: {what}: the server says {a!r}, the contract {b!r}" for what, (a, b) in said.items() if a != b]
    return sorted(out)


def test_the_contract_has_the_servers_routes():
    faults = differences(dumped(), Contract())
    assert not faults, "\n".join(faults)


def test_a_difference_would_be_seen():
    routes, good = dumped(), Contract()
    assert differences(routes, good) == []

    def broken(change):
        c = Contract(copy.deepcopy(good.document))
        change(c.document["paths"])
        return differences(routes, c)
    assert broken(lambda p: p.pop("/me")) == ["GET /me is not in docs/openapi.json"]
    assert broken(lambda p: p.update({"/you": p["/me"]})) == ["GET /you is in docs/openapi.json only"]
    assert "operation id" in broken(lambda p: p["/me"]["get"].update(operationId="you"))[0]
    assert "roles" in broken(lambda p: p["/users"]["get"].update({"x-assay-roles": ["viewer"]}))[0]
    assert "query parameters" in broken(lambda p: p["/auth"]["post"].pop("parameters"))[0]
    assert "body" in broken(lambda p: p["/agents"]["post"].pop("requestBody"))[0]
    assert "size of the body" in broken(lambda p: p["/agents"]["post"].update(description="The body has at most 1 MiB."))[0]


def walk(node, at="#"):
    yield at, node
    if isinstance(node, dict):
        for k, v in node.items():
            yield from walk(v, f"{at}/{k.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(node, list):
        for i, v in enumerate(node):
            yield from walk(v, f"{at}/{i}")


def faults_of_examples(c, where, op):
    """What a request may carry and each answer, refusals too, are shown by an example that fits its schema and its status."""
    bodies = [("request", op["requestBody"]["content"])] if "requestBody" in op else []
    bodies += [(status, c.resolve(response).get("content", {})) for status, response in op["responses"].items()]
    for what, content in bodies:
        for media, body in content.items():
            schema = body.get("schema")
            if not schema or not c.resolve(schema):
                yield f"{where}: the schema of {what} is empty"
                continue
            shown = {"": body["example"]} if "example" in body else {f" {name}": e["value"] for name, e in body.get("examples", {}).items()}
            if not shown:
                yield f"{where}: {what} has no example of {media}"
            for name, value in shown.items():
                for f in c.faults(value, schema, strict=True):
                    yield f"{where}: the example{name} of {what}{f}"
                if media == "application/problem+json" and str(value.get("status")) != what and what != "default":
                    yield f"{where}: the example{name} of {what} is one of {value.get('status')}"


def test_every_error_that_can_be_is_documented():
    """What the gateway itself answers, by what the route is; test_errors.py asks each operation for it."""
    missing = []
    for method, path, op in Contract().operations():
        want = {"400", "401", "429", "503"}
        if op["x-assay-roles"]:
            want |= {"403"}
        if "requestBody" in op:
            want |= {"413"}
            if "application/json" in op["requestBody"]["content"]:
                want |= {"415"}
        if any(p.get("$ref", "").endswith("/idempotency") for p in op.get("parameters", [])):
            want |= {"422"}
        missing += [f"{method} {path}: {status}" for status in sorted(want - op["responses"].keys())]
    assert not missing, "\n".join(missing)


def test_an_example_that_does_not_fit_would_be_seen():
    good = Contract()

    def broken(change):
        c = Contract(copy.deepcopy(good.document))
        op = c.document["paths"]["/agents"]["post"]
        change(c.document, op)
        return list(faults_of_examples(c, "x", op))
    assert broken(lambda d, op: None) == []
    assert "no example" in broken(lambda d, op: op["requestBody"]["content"]["application/json"].pop("example"))[0]
    assert "no example" in broken(lambda d, op: op["responses"]["409"]["content"]["application/problem+json"].pop("example"))[0]
    assert "/colour" in broken(lambda d, op: op["responses"]["201"]["content"]["application/json"]["example"].update(colour="red"))[0]
    assert "one of 400" in broken(lambda d, op: op["responses"]["409"]["content"]["application/problem+json"]["example"].update(status=400))[0]
    assert "status" in broken(lambda d, op: d["components"]["responses"]["Bad_Request"]["content"]["application/problem+json"]["example"].pop("status"))[0]


def test_the_contract_is_sound():
    c = Contract()
    ids, faults = set(), []
    tags = {t["name"] for t in c.document["tags"]}
    for at, node in walk(c.document):
        if isinstance(node, dict) and isinstance(node.get("$ref"), str):
            try:
                c.resolve(node)
            except (KeyError, ValueError) as e:
                faults.append(f"{at}: {e!r}")
    text = json.dumps(c.document)
    for kind, parts in c.document["components"].items():
        for name in parts:
            if kind != "securitySchemes" and f'"#/components/{kind}/{name}"' not in text:
                faults.append(f"components/{kind}/{name}: nothing refers to it")
    for method, path, op in c.operations():
        where = f"{method} {path}"
        if op["operationId"] in ids:
            faults.append(f"{where}: the operation id {op['operationId']} is used twice")
        ids.add(op["operationId"])
        if not set(op["tags"]) <= tags or len(op["tags"]) != 1:
            faults.append(f"{where}: its tags are {op['tags']}")
        for status, response in op["responses"].items():
            response = c.resolve(response)
            if not response.get("description"):
                faults.append(f"{where}: {status} has no description")
            if status not in ("204", "303", "304") and "content" not in response:
                faults.append(f"{where}: {status} has no body")
            if "X-Request-Id" not in response.get("headers", {}):
                faults.append(f"{where}: {status} does not name X-Request-Id")
        if not any(s[0] == "2" for s in op["responses"]) or "default" not in op["responses"]:
            faults.append(f"{where}: it needs a success and a default")
        faults += faults_of_examples(c, where, op)
    for name, schema in c.document["components"]["schemas"].items():
        # the validator refuses keywords that it does not know
        c.faults({}, schema), c.faults([], schema), c.faults("", schema), c.faults(0, schema)
        for example in schema.get("examples", []):
            faults += [f"schema {name}: its example{f}" for f in c.faults(example, schema)]
    assert not faults, "\n".join(faults)


def raw_url(request):
    url = request["url"]
    return url if isinstance(url, str) else url["raw"]


def test_the_collection_calls_every_route():
    c = Contract()
    called = {}
    for folder, item in requests(collection()):
        raw = raw_url(item["request"])
        assert raw.startswith("{{base_url}}"), f"{item['name']}: {raw}"
        method, target = item["request"]["method"], raw[len("{{base_url}}"):] or "/"
        path, op = c.find(method, target)
        if op is not None:
            called.setdefault((method, path), []).append((folder, item["name"], op))
    missing = [f"{m} {p}" for m, p, _ in c.operations() if (m, p) not in called]
    assert not missing, "not in the Postman collection: " + ", ".join(missing)
    for (method, path), items in called.items():
        assert any(folder[:1] == (op["tags"][0],) for folder, _, op in items), f"{method} {path} is not in the folder of its tag"


def test_each_request_of_the_collection_checks_status_and_shape():
    weak = []
    for folder, item in requests(collection()):
        name = "/".join((*folder, item["name"]))
        script = "\n".join(line for e in item.get("event", []) if e["listen"] == "test" for line in e["script"]["exec"])
        if not re.search(r"pm\.response\.to\.have\.status\(|pm\.expect\(pm\.response\.code\)", script):
            weak.append(f"{name}: does not check the status")
        if script.count("pm.test(") < 2 and "status(204)" not in script:
            weak.append(f"{name}: does not check the shape of the answer")
    assert not weak, "\n".join(weak)


def test_the_environment_names_what_the_collection_needs():
    env = json.loads((ROOT / "postman" / "assay.postman_environment.json").read_text())
    names = {v["key"] for v in env["values"]}
    text = json.dumps(collection())
    used = set(re.findall(r"{{(\w+)}}", text))
    made = set(re.findall(r"pm\.(?:collectionVariables|variables)\.set\('(\w+)'", text)) | {v["key"] for v in collection().get("variable", [])}
    assert used - made <= names, f"neither in the environment nor made by a request: {used - made - names}"
    assert names <= used | set(re.findall(r"pm\.environment\.get\('(\w+)'", text)), f"not used: {names - used}"


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
