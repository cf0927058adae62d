#!/usr/bin/env python3
"""Statistics of the leaderboard against independent computations: exact rational arithmetic, enumeration, published tables.

Runs tests/unit/board_stats of the build directory that it is started in. TAP.
"""

import itertools
import math
import subprocess
from decimal import Decimal, getcontext
from fractions import Fraction
from math import comb

getcontext().prec = 60


def ask(lines):
    a = subprocess.run(["tests/unit/board_stats"], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True)
    out = [[float(x) for x in line.split()] for line in a.stdout.splitlines()]
    assert len(out) == len(lines), a.stdout
    return out


def close(got, want, rel=1e-12):
    return abs(got - float(want)) <= rel * max(abs(float(want)), 1e-300)


def test_pass_at_k_is_the_unbiased_estimator():
    cases = [(n, c, k) for n in (1, 2, 3, 5, 10, 20, 57) for c in range(n + 1) for k in range(1, n + 1)]
    cases += [(200, c, k) for c in (0, 1, 13, 100, 199, 200) for k in (1, 10, 100)] + [(100000, 3, 1000), (10**6, 10**5, 7)]
    for (n, c, k), (got,) in zip(cases, ask([f"pass {n} {c} {k}" for n, c, k in cases])):
        want = 1 - Fraction(comb(n - c, k), comb(n, k))
        assert close(got, want), (n, c, k, got, float(want))
    # undefined with fewer samples than k
    for (got,) in ask(["pass 3 1 4", "pass 3 4 1", "pass 0 0 1", "pass 3 1 0"]):
        assert math.isnan(got)


def test_pass_at_k_is_an_average_over_all_draws():
    """Without the formula: the share of the k-subsets of the samples that hold a correct one."""
    for n, c, k in [(6, 2, 3), (7, 1, 2), (8, 5, 4), (5, 5, 1), (5, 0, 2)]:
        subsets = list(itertools.combinations([1] * c + [0] * (n - c), k))
        want = Fraction(sum(any(s) for s in subsets), len(subsets))
        assert close(ask([f"pass {n} {c} {k}"])[0][0], want) or want == 0


def z_of(confidence):
    """By bisection over a series of the normal integral in 60 digits."""
    pi = Decimal("3.14159265358979323846264338327950288419716939937510582097494")

    def inside(z):  # P(|Z| <= z)
        term = total = z
        n = 0
        while abs(term) > Decimal(10) ** -50:
            n += 1
            term = -term * z * z / (2 * n)
            total += term / (2 * n + 1)
        return total * 2 / (2 * pi).sqrt()

    low, high = Decimal(0), Decimal(8)
    for _ in range(120):
        mid = (low + high) / 2
        low, high = (mid, high) if inside(mid) < Decimal(confidence) else (low, mid)
    return low


def test_wilson_solves_its_equation():
    """The bounds are the p with (c/n - p)^2 = z^2 p (1 - p) / n, solved here in 60 digits."""
    for confidence in ("0.9", "0.95", "0.99"):
        z = z_of(confidence)
        assert close(ask([f"quantile {confidence}"])[0][0], z)
        for c, n in [(0, 20), (1, 29), (15, 148), (81, 263), (7, 7), (164, 164), (82, 164), (1, 100000)]:
            # (1 + z2/n) p^2 - (2c/n + z2/n) p + (c/n)^2 = 0
            z2 = z * z
            a, b, d = 1 + z2 / n, Decimal(2 * c) / n + z2 / n, (Decimal(c) / n) ** 2
            root = max(b * b - 4 * a * d, Decimal(0)).sqrt()
            low, high = ask([f"wilson {c} {n} {confidence}"])[0]
            assert abs(low - float((b - root) / (2 * a))) < 1e-13 and abs(high - float((b + root) / (2 * a))) < 1e-13, (c, n)
    assert all(math.isnan(x) for x in ask(["wilson 0 0 0.95"])[0])


def test_wilson_as_published():
    """R. G. Newcombe, "Two-sided confidence intervals for the single proportion", Statistics in Medicine 17 (1998), 857-872,
    table I, method 3 (score, without continuity correction), 95 %."""
    for (c, n), (low, high) in {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0.0000, 0.1611),
                                (1, 29): (0.0061, 0.1718)}.items():
        got = ask([f"wilson {c} {n} 0.95"])[0]
        assert (round(got[0], 4), round(got[1], 4)) == (low, high), (c, n, got)


def test_mcnemar_is_the_sign_test():
    for b, c in [(0, 0), (1, 0), (0, 5), (2, 10), (10, 2), (6, 6), (3, 4), (25, 41), (150, 86), (1000, 1100), (0, 900)]:
        n, k = b + c, min(b, c)
        want = min(Fraction(1), 2 * Fraction(sum(comb(n, i) for i in range(k + 1)), 2**n))
        got = ask([f"mcnemar {b} {c}"])[0][0]
        assert close(got, want, 1e-10), (b, c, got, float(want))


def quantiles(values, confidence):
    """Bounds of the exact distribution of all n^n draws, widened by what 200,000 of them may miss."""
    values = sorted(values)
    n, tail, slack = len(values), (1 - confidence) / 2, 0.003
    at = lambda q: values[min(n - 1, max(0, int(q * n)))]  # noqa: E731
    return (at(tail - slack), at(tail + slack)), (at(1 - tail - slack), at(1 - tail + slack))


def test_bootstrap_draws_whole_problems():
    clusters = [(0, 4), (3, 4), (1, 2), (10, 10), (0, 1)]
    exact = [Fraction(sum(c[0] for c in d), sum(c[1] for c in d)) for d in itertools.product(clusters, repeat=len(clusters))]
    line = " ".join(f"{s} {n}" for s, n in clusters)
    for confidence in (0.8, 0.95):
        low, high = ask([f"bootstrap {confidence} 200000 7 {line}"])[0]
        (l0, l1), (h0, h1) = quantiles(exact, confidence)
        assert float(l0) - 1e-12 <= low <= float(l1) + 1e-12 and float(h0) - 1e-12 <= high <= float(h1) + 1e-12, (low, high)
    # were samples drawn instead of problems, the interval would be narrower by far
    w = ask(["wilson 14 21 0.95"])[0]
    assert high - low > w[1] - w[0]


def test_paired_bootstrap_draws_pairs():
    pairs = [(1, 0), (1, 1), (0, 1), (0.5, 0.25), (1, 0)]
    exact = [sum(Fraction(a) - Fraction(b) for a, b in d) / len(pairs) for d in itertools.product(pairs, repeat=len(pairs))]
    line = " ".join(f"{a} {b}" for a, b in pairs)
    low, high = ask([f"paired 0.9 200000 11 {line}"])[0]
    (l0, l1), (h0, h1) = quantiles(exact, 0.9)
    assert float(l0) - 1e-12 <= low <= float(l1) + 1e-12 and float(h0) - 1e-12 <= high <= float(h1) + 1e-12, (low, high)


def test_the_same_seed_gives_the_same_numbers():
    line = " ".join(f"{i * 37 % 11} 11" for i in range(40))
    a, b, c = ask([f"bootstrap 0.95 1000 {seed} {line}" for seed in (1, 1, 2)])
    assert a == b and a != c


def test_ranks_are_intervals_where_intervals_overlap():
    out = ask(["ranks 0.8 0.9 0.7 0.85 0.5 0.6 0.55 0.65 0.1 0.2 nan nan"])[0]
    pairs = [tuple(int(x) for x in out[i:i + 2]) for i in range(0, len(out), 2)]
    # the one that is not known may be anywhere, also between two others
    assert pairs == [(1, 3), (1, 3), (3, 5), (3, 5), (5, 6), (1, 6)], pairs
    assert ask(["ranks 0.9 1 0.5 0.6 0 0.1"])[0] == [1, 1, 2, 2, 3, 3]


tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
print(f"1..{len(tests)}")
failed = 0
for i, (name, test) in enumerate(tests, 1):
    try:
        test()
        print(f"ok {i} - {name}")
    except AssertionError as why:
        failed += 1
        print(f"not ok {i} - {name}\n# {why!r}")
raise SystemExit(failed != 0)
