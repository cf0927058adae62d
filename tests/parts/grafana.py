"""A dashboard against Grafana's own model of one: the types that Grafana generates from its schema and publishes (@grafana/schema), by the
TypeScript compiler.  npm puts both into build/grafana-parts the first time, by the lock file in tests/parts/grafana.
"""

import fcntl
import json
import pathlib
import re
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTS = ROOT / "tests" / "parts" / "grafana"
RAW = "./node_modules/@grafana/schema/dist/esm/raw"
PANELS = {"stat": ("StatPanelCfg", False), "timeseries": ("TimeSeriesPanelCfg", True), "table": ("TablePanelCfg", True)}
CONFIG = {"compilerOptions": {"strict": True, "noEmit": True, "module": "esnext", "moduleResolution": "bundler", "target": "es2022",
                              "skipLibCheck": True, "types": []}, "files": ["sound.ts", "planted.ts"]}
# Json: enumerations of the types are strings in a file.  Prometheus' annotations and variables have a few members of their own, which the common types leave
# to the data source.
HEAD = f"""import type {{ AnnotationQuery, Dashboard, Panel, RowPanel, VariableModel }} from "{RAW}/dashboard/x/dashboard_types.gen";
""" + "".join(f'import type {{ Options as {t}_options{f", FieldConfig as {t}_field" if field else ""} }} from "{RAW}/composable/{t}/panelcfg/x/{name}_types.gen";\n'
              for t, (name, field) in PANELS.items()) + """
type Json<T> = T extends string ? `${T}` : T extends (infer U)[] ? Json<U>[] : T extends object ? { [K in keyof T]: Json<T[K]> } : T;
type stat_field = {};
type Target = { refId: string; datasource: { type: "prometheus"; uid: string }; expr: string; legendFormat?: string; format: "time_series" | "table"; instant: boolean; range: boolean };
type Whole = Omit<Json<Dashboard>, "panels" | "templating" | "annotations"> & { panels: {}[]; templating: {}; annotations: {} };
type Variable = Json<Omit<VariableModel, "current">> & { current?: { text: string; value: string } };
type Annotation = Json<AnnotationQuery> & { expr: string; titleFormat: string };
"""


class Missing(Exception):
    """It cannot run here; the text says what is missing."""


def installed(build):
    place = pathlib.Path(build) / "grafana-parts"
    place.mkdir(parents=True, exist_ok=True)
    with open(place / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shutil.which("npm") or not shutil.which("node"):
            raise Missing("Node.js and npm are not installed (Debian: apt-get install nodejs npm)")
        for f in ("package.json", "package-lock.json"):
            shutil.copy(PARTS / f, place / f)
        if not (place / "done").exists():
            a = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=place, capture_output=True, text=True, timeout=600)
            assert a.returncode == 0, f"npm ci: {(a.stderr or a.stdout).strip()[-1000:]}"
            (place / "done").touch()
    return place


def statements(board):
    """One line of TypeScript for each part of a dashboard that has a type."""
    out = [("Whole", board)]
    out += [("Variable", v) for v in board["templating"]["list"]]
    out += [("Annotation", a) for a in board["annotations"]["list"]]
    for p in board["panels"]:
        if p["type"] == "row":
            out.append(("Json<RowPanel>", p))
            continue
        out.append(("Json<Panel>", p))
        out.append((f"Partial<Json<{p['type']}_options>>" if p["type"] in PANELS else "never", p["options"]))
        out.append((f"Partial<Json<{p['type']}_field>>" if p["type"] in PANELS else "never", p["fieldConfig"]["defaults"].get("custom", {})))
        out += [("Target", t) for t in p["targets"]]
    return [f"export const x{i}: {t} = {json.dumps(v)};" for i, (t, v) in enumerate(out)]


def check(board, planted, build=None):
    """(what the compiler says of the dashboard, the numbers of those planted ones that it finds nothing in)."""
    place = installed(build or ROOT / "build")
    head = HEAD.count("\n") + 1
    lines = []  # each planted dashboard is a line of its own, so that a fault's line says whose it is
    for i, b in enumerate(planted):
        lines.append(" ".join(s.replace("export const x", f"export const y{i}_") for s in statements(b)))
    (place / "sound.ts").write_text(HEAD + "\n".join(statements(board)) + "\n")
    (place / "planted.ts").write_text(HEAD + "\n".join(lines) + "\n")
    (place / "tsconfig.json").write_text(json.dumps(CONFIG))
    a = subprocess.run(["node", "node_modules/typescript/bin/tsc", "-p", "."], cwd=place, capture_output=True, text=True, timeout=300)
    said = a.stdout.splitlines()
    found = {int(m[1]) - head for m in (re.match(r"planted\.ts\((\d+),", line) for line in said) if m}
    return [line for line in said if not line.startswith(("planted.ts", " "))], [i for i in range(len(planted)) if i not in found]
