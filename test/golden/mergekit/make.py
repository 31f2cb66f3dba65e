"""Golden values for the mergekit conventions: python3 make.py, with numpy alone, writes golden.json beside itself.

Written from the methods' definitions (papers, mergekit's documentation), on whole weight matrices in float64, as mergekit sees
them: base, fine-tuned models, task vectors. It shares no code and no shortcut with src/soup/methods: every statistic here is
a sort over a full matrix. Random masks are drawn here and stored; the tests feed them to the implementation.

Where torch leaves the order of equal magnitudes open, the first in row-major order counts as the larger (here: a stable sort).
"""
import json
import os

import numpy as np

ROWS, COLS = 12, 10
RANKS, SCALINGS = (3, 2, 4), (2.0, 0.5, 1.25)


def f32(x):
    return np.asarray(x, dtype=np.float32).astype(np.float64)


def adapters(rng, integers):
    out = []
    for r in RANKS:
        draw = (lambda *s: rng.integers(-2, 3, s)) if integers else (lambda *s: rng.standard_normal(s))
        out.append((f32(draw(r, COLS)), f32(draw(ROWS, r))))
    return out


def largest_first(tensor):
    """Flat indices, largest magnitude first, equals in row-major order."""
    return np.argsort(-np.abs(tensor).ravel(), kind="stable")


def mask_of(shape, indices):
    mask = np.zeros(np.prod(shape))
    mask[indices] = 1
    return mask.reshape(shape)


def keep_all(delta, p, rng, extra):
    return np.ones_like(delta)


def keep_largest(delta, p, rng, extra):
    """TIES: the top density fraction by magnitude."""
    return mask_of(delta.shape, largest_first(delta)[: int(p["density"] * delta.size)])


def keep_at_random(delta, p, rng, extra):
    """DARE: Bernoulli(density)."""
    mask = (rng.random(delta.shape) < p["density"]).astype(float)
    extra.setdefault("masks", []).append(mask)
    return mask


def keep_by_rank(delta, p, rng, extra):
    """DELLA: within a row, probabilities from density - epsilon (smallest) to density + epsilon (largest), evenly spaced."""
    probabilities = np.empty_like(delta)
    spaced = np.linspace(p["density"] - p["epsilon"], p["density"] + p["epsilon"], delta.shape[1])
    for i, row in enumerate(delta):
        probabilities[i, np.argsort(np.abs(row), kind="stable")] = spaced
    mask = (rng.random(delta.shape) < probabilities).astype(float)
    extra.setdefault("masks", []).append(mask)
    extra.setdefault("probabilities", []).append(probabilities)
    return mask


def keep_middle(delta, p, rng, extra):
    """Breadcrumbs: without the gamma fraction of the largest, then the largest of the rest up to the density."""
    keep = int(p["density"] * delta.size)
    drop = min(int(p["gamma"] * delta.size), delta.size - keep)
    return mask_of(delta.shape, largest_first(delta)[drop : drop + keep])


def task_vectors(base, models):
    return [model - base for model in models]


def task_arithmetic(base, models, p, sparsify, elect, rng, extra):
    kept = []
    for i, delta in enumerate(task_vectors(base, models)):
        own = {k: (v[i] if isinstance(v, list) else v) for k, v in p.items()}
        masked = delta if own["density"] == 1 else delta * sparsify(delta, own, rng, extra)
        if p["rescale"] and own["density"] != 1:
            masked = masked * (np.abs(delta).sum() / np.abs(masked).sum())
        kept.append(masked)
    weighted = [w * d for w, d in zip(p["weights"], kept)]
    if elect:
        sign = np.where(sum(weighted) >= 0, 1, -1)
        agree = [np.sign(d) == sign for d in weighted]
    else:
        agree = [np.full(base.shape, True)] * len(kept)
    total = sum(np.where(a, d, 0) for a, d in zip(agree, weighted))
    share = sum(np.where(a, w, 0.0) for a, w in zip(agree, p["weights"]))
    share[np.abs(share) < 1e-8] = 1
    return base + p["lambda"] * (total / share if p["normalize"] else total)


def sce(base, models, topk):
    deltas = np.stack(task_vectors(base, models))
    if topk < 1:
        variance = np.mean((deltas - deltas.mean(0)) ** 2, axis=0)
        variance[variance < 1e-24] = 0  # equal deltas, up to rounding of base + delta - base
        chosen = np.argsort(-variance.astype(np.float32).ravel(), kind="stable")[: int(topk * np.count_nonzero(variance))]
        deltas = deltas * mask_of(base.shape, chosen)
    energy = (deltas**2).sum((1, 2))
    coefficient = energy / energy.sum()
    agree = np.sign(deltas) == np.where(deltas.sum(0) >= 0, 1, -1)
    share = (agree * coefficient[:, None, None]).sum(0)
    share[share == 0] = 1
    return base + (deltas * agree * coefficient[:, None, None]).sum(0) / share


METHODS = {  # name: sparsifier, election, normalize, rescale (mergekit's registry)
    "task_arithmetic": (keep_all, False, False, False),
    "ties": (keep_largest, True, True, False),
    "dare_ties": (keep_at_random, True, False, True),
    "dare_linear": (keep_at_random, False, False, True),
    "breadcrumbs": (keep_middle, False, False, False),
    "breadcrumbs_ties": (keep_middle, True, False, False),
    "della": (keep_by_rank, True, True, True),
    "della_linear": (keep_by_rank, False, False, True),
}


def options_of(name):
    yield {}
    yield {"normalize": not METHODS[name][2], "lambda": 0.7}
    if name == "task_arithmetic":
        return
    yield {"rescale": not METHODS[name][3], "density": 0.45}
    yield {"density": [0.5, 0.7, 1.0]}
    if name.startswith("breadcrumbs"):
        yield {"gamma": 0.1}
        yield {"gamma": 0.5}
        yield {"gamma": [0.02, 0.2, 0.05], "density": 0.4}
    if name.startswith("della"):
        yield {"epsilon": 0.3}
        yield {"epsilon": [0.1, 0.25, 0.05], "density": 0.5}


def numbers(x):
    """As f32, in the nine digits that identify one."""
    return [float("%.9g" % v) for v in np.asarray(x, dtype=np.float32).ravel()]


def main():
    rng = np.random.default_rng(2024)
    sets, cases = {}, []
    for kind in ("real", "integer"):
        base = np.zeros((ROWS, COLS)) if kind == "integer" else rng.standard_normal((ROWS, COLS))
        factors = adapters(rng, kind == "integer")
        sets[kind] = [{"a": numbers(a), "b": numbers(b), "rank": len(a), "scaling": s} for (a, b), s in zip(factors, SCALINGS)]
        models = [base + s * (b @ a) for (a, b), s in zip(factors, SCALINGS)]
        for name, (sparsify, elect, normalize, rescale) in METHODS.items():
            for weights in ([1.0, 1.0, 1.0], [0.7, 0.2, 1.3], [0.8, -0.5, 0.3]):
                for given in options_of(name):
                    density = 1.0 if name == "task_arithmetic" else 0.6
                    p = {"weights": weights, "density": density, "gamma": 0.01, "epsilon": 0.15, "lambda": 1.0,
                         "normalize": normalize, "rescale": rescale, **given}
                    extra = {}
                    merged = task_arithmetic(base, models, p, sparsify, elect, rng, extra)
                    case = {"method": name, "set": kind, "weights": weights, "options": {**({} if name == "task_arithmetic" else {"density": density}), **given},
                            "delta": numbers(merged - base)}
                    if "masks" in extra:
                        case["masks"] = ["".join(str(int(v)) for v in m.ravel()) for m in extra["masks"]]
                    if "probabilities" in extra:
                        case["probabilities"] = [numbers(q) for q in extra["probabilities"]]
                    cases.append(case)
        for topk in (1.0, 0.5, 0.2):
            cases.append({"method": "sce", "set": kind, "weights": [1, 1, 1], "options": {"selectTopk": topk},
                          "delta": numbers(sce(base, models, topk) - base)})
    # One case per line.
    lines = ",\n".join(json.dumps(case) for case in cases)
    text = '{"rows": %d, "cols": %d, "sets": %s, "cases": [\n%s\n]}\n' % (ROWS, COLS, json.dumps(sets), lines)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden.json"), "w") as file:
        file.write(text)


main()
