"""Image filters: each of them on real PNGs and JPEGs, pixel by pixel; whatever claims to be an image and is none or too much; and the
forms in which filters are asked for."""

import base64
import contextlib
import hashlib
import json
import math
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import zlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "parts"))
import harness  # noqa: E402
import pictures  # noqa: E402
from harness import Server, wait_for  # noqa: E402
from pictures import chunk, jpeg, png, png_rows  # noqa: E402

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255), (255, 255, 255, 255), (0, 0, 0, 255)


def b64(data):
    return base64.b64encode(data).decode()


def ask(api, name, image, **parameters):
    """What /result says of it."""
    body = {"filter": {"name": name, "parameters": parameters}, "image": b64(image)}
    if not parameters:
        del body["filter"]["parameters"]
    task = api.post("/task", body, expect=201).json["task_id"]
    wait_for(f"the filter {name}", lambda: api.get(f"/status/{task}").json["status"] == "ready", 60, 0.01)
    return task, api.get(f"/result/{task}").json


def apply(api, name, image, **parameters):
    task, answer = ask(api, name, image, **parameters)
    assert "error" not in answer, (name, parameters, answer)
    return png_rows(base64.b64decode(answer["result"], validate=True))


def refused(api, name, image, word, verdict="RE", **parameters):
    task, answer = ask(api, name, image, **parameters)
    assert answer["result"] == "" and answer["error"].startswith(word), (name, word, answer)
    assert api.get(f"/submissions/{task}").json["verdict"] == verdict, api.get(f"/submissions/{task}").json
    return answer["error"]


def near(rows, want, by=1):
    assert len(rows) == len(want) and len(rows[0]) == len(want[0]), (len(rows[0]), len(rows), len(want[0]), len(want))
    for y, (a, b) in enumerate(zip(rows, want)):
        for x, (p, q) in enumerate(zip(a, b)):
            assert all(abs(u - v) <= by for u, v in zip(p, q)), f"at {x},{y}: {p}, wanted {q}"


def ramp(w=16, h=12):
    return [[(x * 12, y * 18, (x * y) % 256, 255) for x in range(w)] for y in range(h)]


def luma(p):
    return (299 * p[0] + 587 * p[1] + 114 * p[2] + 500) // 1000


# ---- each filter ---------------------------------------------------------------------------------------------------------


def test_negative_is_the_opposite_of_each_colour_and_keeps_transparency(server):
    admin = server.login()
    rows = ramp()
    rows[3][4] = (10, 20, 30, 40)
    got = apply(admin, "negative", png(rows))
    assert got == [[(255 - r, 255 - g, 255 - b, a) for r, g, b, a in row] for row in rows], got


def test_a_name_is_taken_in_any_case_as_older_clients_write_it(server):
    admin = server.login()
    body = {"filter": {"name": "Negative"}, "image": b64(png([[RED, WHITE]]))}
    task = admin.post("/task", body, expect=201).json["task_id"]
    wait_for("it", lambda: admin.get(f"/status/{task}").json == {"status": "ready"})
    assert png_rows(base64.b64decode(admin.get(f"/result/{task}").json["result"])) == [[(0, 255, 255, 255), BLACK]]
    admin.delete(f"/task?id={task}")
    admin.get(f"/result/{task}", expect=404)


def test_grayscale_is_the_luma(server):
    admin = server.login()
    rows = ramp()
    assert apply(admin, "grayscale", png(rows)) == [[(luma(p),) * 3 + (255,) for p in row] for row in rows]
    clear = [[(200, 100, 50, 7), (1, 2, 3, 0)]]
    assert apply(admin, "grayscale", png(clear)) == [[(luma(p),) * 3 + (p[3],) for p in clear[0]]]


def gauss(sigma):
    r = max(1, math.ceil(3 * sigma))
    w = [math.exp(-i * i / (2 * sigma * sigma)) for i in range(-r, r + 1)]
    return [v / sum(w) for v in w]


def blurred(rows, sigma):
    """By the definition, on numbers with fractions; beyond the edges the last pixel goes on."""
    k, h, w = gauss(sigma), len(rows), len(rows[0])
    r = len(k) // 2
    across = [[[sum(k[i] * row[min(max(x + i - r, 0), w - 1)][c] for i in range(len(k))) for c in range(4)] for x in range(w)] for row in rows]
    return [[tuple(sum(k[i] * across[min(max(y + i - r, 0), h - 1)][x][c] for i in range(len(k))) for c in range(4)) for x in range(w)] for y in range(h)]


def test_blur_is_gaussian(server):
    admin = server.login()
    rows = ramp(20, 14)
    rows[7][9] = WHITE
    for sigma in (0.6, 2, 3.5):
        near(apply(admin, "blur", png(rows), sigma=sigma), blurred(rows, sigma), by=2)
    flat = [[(90, 12, 200, 255)] * 30] * 20
    assert apply(admin, "blur", png(flat)) == flat
    assert apply(admin, "blur", png(flat), sigma=60) == flat, "a wide blur goes through a smaller image"


def test_what_cannot_be_seen_does_not_bleed_into_a_blur(server):
    admin = server.login()
    rows = [[(255, 0, 0, 0)] * 8 + [BLUE] * 8] * 8
    got = apply(admin, "blur", png(rows), sigma=2)
    assert any(0 < p[3] < 255 for p in got[4]), got[4]
    assert all(p[0] == 0 for row in got for p in row if p[3] > 8), got[4]


def test_sharpen_adds_what_a_blur_takes_away(server):
    admin = server.login()
    rows = ramp(20, 14)
    soft = blurred(rows, 1.5)
    want = [[tuple(min(255, max(0, p[c] + 2 * (p[c] - q[c]))) for c in range(3)) + (255,) for p, q in zip(a, b)] for a, b in zip(rows, soft)]
    near(apply(admin, "sharpen", png(rows), sigma=1.5, amount=2), want, by=5)  # each step of the blur counts twice
    assert apply(admin, "sharpen", png(rows), amount=0) == rows


def test_edges_are_sobels(server):
    admin = server.login()
    rows = [[BLACK] * 8 + [(120, 120, 120, 255)] * 8] * 6
    got = apply(admin, "edges", png(rows))
    assert [p[0] for p in got[3]] == [0] * 7 + [255, 255] + [0] * 7, got[3]
    rows = [[(x * 3,) * 3 + (255,) for x in range(10)]] * 6
    got = apply(admin, "edges", png(rows))
    assert all(row[1:9] == [(24, 24, 24, 255)] * 8 for row in got), "8 times the slope"
    assert apply(admin, "edges", png([list(c) for c in zip(*rows)])) == [list(c) for c in zip(*got)]
    assert apply(admin, "edges", png([row[::-1] for row in rows])) == [row[::-1] for row in got]
    assert apply(admin, "edges", png([[(9, 9, 9, 77)] * 3] * 3)) == [[(0, 0, 0, 77)] * 3] * 3


def test_resize_to_sizes_and_modes(server):
    admin = server.login()
    rows = [[(x // 2 * 40, y // 2 * 40, 7, 255) for x in range(12)] for y in range(8)]
    half = [[(x * 40, y * 40, 7, 255) for x in range(6)] for y in range(4)]
    assert apply(admin, "resize", png(rows), width=6) == half, "each pixel is what falls into it"
    assert apply(admin, "resize", png(rows), width=6, height=400) == half, "it fits"
    size = lambda got: (len(got[0]), len(got))
    assert size(apply(admin, "resize", png(rows), width=6, height=400, mode="stretch")) == (6, 400)
    assert size(apply(admin, "resize", png(rows), width=10, height=10, mode="cover")) == (10, 10)
    assert size(apply(admin, "resize", png(rows), height=80)) == (120, 80)
    assert apply(admin, "resize", png([[RED]]), width=5, height=3, mode="stretch") == [[RED] * 5] * 3
    wide = apply(admin, "resize", png([[BLACK, WHITE]]), width=8, mode="stretch", height=1)[0]
    assert wide[0] == BLACK and wide[7] == WHITE and [p[0] for p in wide] == sorted(p[0] for p in wide), wide


def test_rotate_by_quarters_and_by_other_angles(server):
    admin = server.login()
    rows = [[RED, GREEN, BLUE], [WHITE, BLACK, (9, 8, 7, 6)]]
    quarter = [[rows[1][x], rows[0][x]] for x in range(3)]
    assert apply(admin, "rotate", png(rows)) == quarter, "clockwise, and a quarter when nobody says an angle"
    assert apply(admin, "rotate", png(rows), angle=-270) == quarter
    assert apply(admin, "rotate", png(rows), angle=180) == [row[::-1] for row in rows[::-1]]
    assert apply(admin, "rotate", png(rows), angle=270) == [row[::-1] for row in quarter[::-1]]
    assert apply(admin, "rotate", png(rows), angle=0) == rows
    square = [[GREEN] * 40] * 40
    square[0] = [RED] * 40
    got = apply(admin, "rotate", png(square), angle=45)
    assert len(got) == len(got[0]) == 57, (len(got[0]), len(got))
    assert got[0][0][3] == got[56][56][3] == 0 and got[28][28] == GREEN
    # the upper edge, which was red, is on the right above
    reds = [(x, y) for y, row in enumerate(got) for x, p in enumerate(row) if p[3] > 200 and p[0] > 150]
    assert reds and all(x > 26 and y < 30 for x, y in reds), reds


# ---- kinds of images -----------------------------------------------------------------------------------------------------


def test_every_kind_of_png_comes_out_as_itself(server):
    admin = server.login()
    rows = [[RED, (0, 128, 255, 60)], [(7, 7, 7, 255), (250, 3, 99, 1)]]
    for kind, data in (("16 bits", pictures.png16(rows)), ("palette", pictures.png_palette(rows))):
        assert apply(admin, "rotate", data, angle=360) == rows, kind
    grey = pictures.png_of(9, 1, 1, 0, [b"\xaa\x80"])
    assert [p[0] for p in apply(admin, "rotate", grey, angle=0)[0]] == [255, 0, 255, 0, 255, 0, 255, 0, 255], "1 bit"
    odd = pictures.png_of(2, 1, 8, 4, [bytes([10, 200, 20, 0])])
    assert apply(admin, "rotate", odd, angle=0) == [[(10, 10, 10, 200), (20, 20, 20, 0)]], "grey and alpha"


def test_every_kind_of_jpeg(server):
    admin = server.login()
    grey = apply(admin, "negative", jpeg([[(10,), (200,)]], components=1))
    assert grey == [[(245,) * 3 + (255,)] * 8 + [(55,) * 3 + (255,)] * 8] * 8, grey[0]
    near(apply(admin, "rotate", jpeg([[(76, 85, 255)]]), angle=0), [[(254, 0, 0, 255)] * 8] * 8)
    rgb = apply(admin, "rotate", jpeg([[(12, 34, 56)]], adobe=0), angle=0)
    assert rgb == [[(12, 34, 56, 255)] * 8] * 8, rgb[0][0]
    # CMYK as Adobe writes it is inverted: 255 is no ink
    cmyk = apply(admin, "rotate", jpeg([[(255, 100, 0, 255), (255, 255, 255, 51)]], components=4, adobe=0), angle=0)
    assert cmyk[0] == [(255, 100, 0, 255)] * 8 + [(51, 51, 51, 255)] * 8, cmyk[0]
    plain = apply(admin, "rotate", jpeg([[(0, 155, 255, 0)]], components=4), angle=0)
    assert plain[0][0] == (255, 100, 0, 255), plain[0][0]


def test_a_jpeg_stands_as_its_exif_says(server):
    admin = server.login()
    blocks = [[(10,), (60,), (110,)], [(160,), (210,), (250,)]]
    rows = [[(v[0],) * 3 + (255,) for v in row for _ in range(8)] for row in blocks for _ in range(8)]
    turned = {1: rows, 2: [r[::-1] for r in rows], 3: [r[::-1] for r in rows[::-1]], 4: rows[::-1],
              5: [list(c) for c in zip(*rows)], 6: [list(c)[::-1] for c in zip(*rows)],
              7: [list(c)[::-1] for c in zip(*rows)][::-1], 8: [list(c) for c in zip(*rows)][::-1]}
    for orientation, want in turned.items():
        assert apply(admin, "rotate", jpeg(blocks, 1, exif=orientation), angle=0) == want, orientation
    assert apply(admin, "rotate", jpeg(blocks, 1, exif=77), angle=0) == rows, "nonsense changes nothing"


# ---- what is no image, or too much -----------------------------------------------------------------------------------------


def test_what_is_no_image_is_refused_and_says_so(server):
    admin = server.login()
    for data, like in ((b"hello", ""), (b"GIF89a" + bytes(40), "GIF"), (b"PK\3\4" + bytes(40), "ZIP"), (b"<svg/>", "text"), (b"\x89PNG", ""), (b"\xff\xd8", "")):
        text = refused(admin, "negative", data, "not_an_image")
        assert like in text, text


def test_broken_images_are_refused(server):
    admin = server.login()
    good = png(ramp())
    at = good.index(b"IDAT")
    flipped = good[:at + 20] + bytes([good[at + 20] ^ 255]) + good[at + 21:]
    photo = jpeg([[(x * 9 % 255, 128, 128) for x in range(30)] for _ in range(20)])
    for what, data in (("cut", good[:len(good) // 2]), ("a wrong checksum", flipped), ("only a head", good[:33]), ("only a signature", good[:8]),
                       ("a cut JPEG", photo[:len(photo) // 2]), ("no scan", photo[:photo.index(b"\xff\xda")]), ("only a beginning", b"\xff\xd8\xff\xe0"),
                       ("no palette", pictures.png_of(1, 1, 8, 3, [b"\0"])), ("no size", pictures.png_of(0, 1, 8, 0, [b""]))):
        text = refused(admin, "negative", data, "damaged")
        assert "\n" not in text and len(text) < 300, what


def test_bombs_end_in_the_box(server):
    admin = server.login()
    lines = zlib.compressobj(9)
    body = b"".join(lines.compress(bytes(60001)) for _ in range(2000)) + lines.flush()
    head = lambda w, h: struct.pack(">IIBBBBB", w, h, 8, 0, 0, 0, 0)
    huge = pictures.SIGNATURE + chunk(b"IHDR", head(60000, 60000)) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    assert "60000 x 60000" in refused(admin, "negative", huge, "too_large")
    most = pictures.SIGNATURE + chunk(b"IHDR", head(2**31 - 1, 2**31 - 1)) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    _, answer = ask(admin, "negative", most)
    assert answer["error"].split(":")[0] in ("too_large", "damaged"), answer
    photo = jpeg([[(1,)]], 1)
    at = photo.index(b"\xff\xc0")
    refused(admin, "negative", photo[:at + 5] + b"\xea\x60\xea\x60" + photo[at + 9:], "too_large")
    # a text of 100 MB in some kilobytes
    text = chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(100 << 20), 9))
    small = png([[RED]])
    apply(admin, "negative", small[:33] + text + small[33:])
    # more in its rows than its size says
    longer = pictures.SIGNATURE + chunk(b"IHDR", head(4, 4)) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    _, answer = ask(admin, "negative", longer)
    assert "error" not in answer or answer["error"].startswith("damaged"), answer
    refused(admin, "resize", small, "too_large", width=20000, height=20000, mode="stretch")
    refused(admin, "resize", small, "too_large", width=10000)
    assert apply(admin, "negative", small) == [[(0, 255, 255, 255)]], "and the next one is served"


def test_what_is_hidden_in_an_image_does_not_come_out(server):
    admin = server.login()
    secret = b"<script>alert(1)</script>"
    small = png([[RED, GREEN]])
    for data in (small + b"PK\3\4" + secret, small[:33] + chunk(b"tEXt", b"Comment\0" + secret) + small[33:],
                 jpeg([[(9, 128, 128)]]) + secret, jpeg([[(9, 128, 128)]], exif=1).replace(b"\xff\xdb", b"\xff\xfe" + struct.pack(">H", len(secret) + 2) + secret + b"\xff\xdb", 1)):
        task, answer = ask(admin, "negative", data)
        out = base64.b64decode(answer["result"])
        assert png_rows(out) and secret not in out and b"tEXt" not in out, answer


# ---- how it is asked for ---------------------------------------------------------------------------------------------------


def test_a_wrong_request_hears_what_would_be_right(server):
    admin = server.login()
    image = b64(png([[RED]]))
    blur = lambda **p: {"filter": {"name": "blur", "parameters": p}, "image": image}
    cases = (
        ({"filter": {"name": "sepia"}, "image": image}, "/filter/name", "negative, grayscale, blur, sharpen, edges, resize, rotate"),
        ({"filter": {}, "image": image}, "/filter/name", "required"),
        ({"filter": "blur", "image": image}, "/filter", "object"),
        ({"filter": {"name": "blur", "strength": 3}, "image": image}, "/filter/strength", "not a field"),
        ({"filter": {"name": "blur"}}, "/image", "required"),
        ({"image": image}, "/filter", "required"),
        ({"filter": {"name": "blur"}, "image": "!!!"}, "/image", ""),
        ({"filter": {"name": "blur"}, "image": ""}, "/image", ""),
        ({"filter": {"name": "blur"}, "image": image, "code": "x", "translator": "c"}, "/code", "not both"),
        (blur(sigma=0), "/filter/parameters/sigma", "0.1 to 200"),
        (blur(sigma="2"), "/filter/parameters/sigma", "number"),
        (blur(radius=2), "/filter/parameters/radius", "not a field"),
        ({"filter": {"name": "resize"}, "image": image}, "/filter/parameters", "width or height"),
        ({"filter": {"name": "resize", "parameters": {"width": 10, "mode": "crop"}}, "image": image}, "/filter/parameters/mode", '"fit", "cover", "stretch"'),
        ({"filter": {"name": "resize", "parameters": {"width": 1.5}}, "image": image}, "/filter/parameters/width", "integer"),
    )
    for body, pointer, text in cases:
        a = admin.call("POST", "/task", body, expect=400)
        said = {e["pointer"]: e["detail"] for e in a.json["errors"]}
        assert pointer in said and text in said[pointer], (body, said)
    a = admin.call("POST", "/task", blur(sigma=900, x=1), expect=400)
    assert len(a.json["errors"]) == 2, "all of it at once"
    admin.call("POST", "/task", {}, expect=400)


def test_what_the_documentation_says_works_as_it_is_written(server):
    text = (harness.ROOT / "docs" / "image-filters.md").read_text()
    block = re.search(r"```sh\n(.*?)```", text, re.S).group(1)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        folder = pathlib.Path(folder)
        (folder / "photo.jpg").write_bytes(jpeg([[(x * 5, 128, 128) for x in range(40)] for _ in range(40)]))
        env = {"PATH": "/usr/bin:/bin", "ASSAY_URL": f"http://127.0.0.1:{server.port}", "TOKEN": server.login().token}
        a = subprocess.run(["bash", "-euo", "pipefail", "-c", block], cwd=folder, env=env, capture_output=True, text=True, timeout=60)
        assert a.returncode == 0, a.stderr
        rows = png_rows((folder / "small.png").read_bytes())
        assert (len(rows[0]), len(rows)) == (320, 240)
    for f in server.api().get("/filters").json["items"]:
        assert f"| `{f['name']}` |" in text and all(f"`{p['name']}`" in text for p in f["parameters"]), f["name"]


def test_filters_are_listed_with_their_parameters(server):
    admin = server.login()
    items = {f["name"]: f for f in admin.get("/filters").json["items"]}
    assert list(items) == ["negative", "grayscale", "blur", "sharpen", "edges", "resize", "rotate"], list(items)
    assert all(f["offered"] and f["media_type"] == "image/png" and f["processor"] == "image" for f in items.values()), items
    assert items["blur"]["parameters"] == [{"name": "sigma", "title": "how far it reaches: standard deviation in pixels", "type": "number",
                                           "minimum": 0.1, "maximum": 200, "required": False, "default": 2}], items["blur"]
    assert items["resize"]["any_of"] == ["width", "height"]


def test_a_filters_task_is_its_owners_and_is_counted(server):
    admin = server.login()
    task, answer = ask(admin, "edges", png([[RED, BLUE]]))
    view = admin.get(f"/submissions/{task}").json
    assert (view["kind"], view["verdict"], view["status"]) == ("filter", "OK", "done"), view
    sent = admin.get(f"/submissions/{task}/source").json
    assert json.loads(sent["source"]) == {"name": "edges", "parameters": {}} and base64.b64decode(sent["payload"]) == png([[RED, BLUE]]), sent
    result = admin.get(f"/results/{task}").json
    assert result["tests"][0]["verdict"] == "OK" and result["tests"][0]["stdout"] in ("", None) and result["tests"][0]["memory_peak_bytes"] > 0, result
    other = server.register("somebody")
    for path in (f"/status/{task}", f"/result/{task}"):
        other.get(path, expect=404)
    text = admin.get("/metrics").body.decode()
    assert 'assay_filters_total{filter="edges",result="OK"}' in text and 'assay_filter_seconds_count{filter="edges"}' in text, text


def test_large_results_are_kept_and_too_large_ones_are_told():
    with contextlib.closing(Server(env={"ASSAY_FILTER_RESULT_MAX": "300k"})) as s:
        admin = s.start().login()
        noise = lambda n: [[((x * 7919 + y * 104729) * 2654435761 >> 8 & 255, x * y * 31 & 255, (x ^ y) * 97 & 255, 255) for x in range(n)] for y in range(n)]
        rows = noise(200)
        got = apply(admin, "negative", png(rows))
        assert got == [[(255 - r, 255 - g, 255 - b, a) for r, g, b, a in row] for row in rows]
        refused(admin, "resize", png(noise(64)), "too_large", "OL", width=3000)


def test_a_filter_that_takes_too_long_or_too_much_is_ended():
    with contextlib.closing(Server(env={"ASSAY_FILTER_TIME_LIMIT": "100ms"})) as s:
        admin = s.start().login()
        refused(admin, "resize", png([[RED, BLUE]] * 2), "time", "TL", width=4900, height=4900, mode="stretch")
    with contextlib.closing(Server(env={"ASSAY_FILTER_MEMORY_LIMIT": "32m"})) as s:
        admin = s.start().login()
        refused(admin, "resize", png([[RED, BLUE]] * 2), "memory", "ML", width=4900, height=4900, mode="stretch")


CHECKSUMS = {
    "name": "checksums", "title": "Digests of files", "program": "", "media_type": "text/plain",
    "filters": [
        {"name": "digest", "title": "A digest of the bytes",
         "parameters": [{"name": "bits", "title": "its length", "type": "choice", "choices": ["256", "512"], "default": "256"}]},
        {"name": "broken", "title": "Always a fault of its own"}],
}
SCRIPT = """#!/bin/sh
[ "$1" = digest ] || exit 3
[ "$(head -c 3 | tee /tmp/first)" = no: ] && { echo "bad_word: it begins with no" >&2; exit 1; }
cat /tmp/first - | sha"${2#--bits=}"sum | cut -d' ' -f1
"""


def test_another_processor_is_a_file_and_a_program():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        (folder / "run").write_text(SCRIPT)
        (folder / "run").chmod(0o755)
        (folder / "checksums.json").write_text(json.dumps({**CHECKSUMS, "program": str(folder / "run")}))
        with contextlib.closing(Server(env={"ASSAY_PROCESSORS_PATH": str(folder)})) as s:
            admin = s.start().login()
            assert [f["name"] for f in admin.get("/filters").json["items"]][-2:] == ["digest", "broken"]
            for data in (b"hello", bytes(range(256)) * 4000):
                for bits in ("256", "512"):
                    _, answer = ask(admin, "digest", data, bits=bits)
                    assert base64.b64decode(answer["result"]).decode().strip() == hashlib.new(f"sha{bits}", data).hexdigest(), answer
            refused(admin, "digest", b"no: thanks", "bad_word: it begins with no")
            refused(admin, "broken", b"x", "failed", "IE")
            assert apply(admin, "negative", png([[RED]])) == [[(0, 255, 255, 255)]], "and images are still there"


def test_a_processor_without_its_program_is_not_offered():
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        folder = pathlib.Path(folder)
        folder.chmod(0o755)
        (folder / "checksums.json").write_text(json.dumps({**CHECKSUMS, "program": "/no/such/program"}))
        with contextlib.closing(Server(env={"ASSAY_PROCESSORS_PATH": str(folder)})) as s:
            admin = s.start().login()
            item = {f["name"]: f for f in admin.get("/filters").json["items"]}["digest"]
            assert not item["offered"] and "/no/such/program" in item["reason"], item
            assert s.api().get("/filters").json["items"][-1]["reason"] is None, "that is the operator's business"
            a = admin.call("POST", "/task", {"filter": {"name": "digest"}, "image": b64(b"x")}, expect=400)
            assert a.json["errors"] == [{"pointer": "/filter/name", "detail": "the filter digest is not offered on this server"}], a
            assert "filters_not_offered" in s.log_text()
        (folder / "checksums.json").write_text("{}")
        with contextlib.closing(Server(env={"ASSAY_PROCESSORS_PATH": str(folder)})) as s:
            s.spawn()
            assert s.process.wait(20) != 0 and "checksums.json: /name: is required" in s.log_text(), s.log_text()


if __name__ == "__main__":
    harness.main(sys.modules[__name__])
