"""Writes python-regex.json: what Python's re answers, for curated and random patterns.

    python3 python_regex.py > python-regex.json
"""

import json
import random
import re
import sys
import warnings

warnings.simplefilter("ignore")

NAMES = [
    "model.layers.0.self_attn.q_proj",
    "model.layers.3.self_attn.v_proj",
    "model.layers.11.mlp.down_proj",
    "model.layers.27.mlp.gate_proj",
    "model.embed_tokens",
    "lm_head",
    "q_proj",
    "q_projx",
    "Model.Layers.1.MLP.Up_Proj",
    "visual.blocks.2.attn.q_proj",
]
SHORT = ["", "a", "b", "ab", "ba", "aab", "a.b", "a1", "1", "a_b", "b]", "A", "aB", "}", "{1}", "a-b", "^", "\\", "a\n", "\n"]

# As found in adapter configs, and corners of the syntax.
CURATED = [
    r".*\.(q_proj|v_proj)",
    r"^(?!.*(visual|lm_head)).*(q_proj|v_proj)$",
    r"^(model)(?=\.).*\.(up_proj|down_proj|q_proj)$",
    r"(?:.*?(?:language|text|model).*?(?:self_attn|mlp).*?(?:q_proj|down_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:self_attn|mlp)\.(?:(?:q_proj|v_proj)))",
    r"model\.layers\.(0|[1-9]|1[0-9])\.self_attn\.[qkv]_proj",
    r"model\.layers\.\d+\..*proj",
    r".*q_proj",
    r"q_proj",
    r".*",
    r"(?i)model\.layers\.\d+\.mlp\.up_proj",
    r"(?<=model\.).*",
    r".*(?<!self_attn\.)q_proj",
    r".*(?<=attn\.)q_proj",
    r"(a+)+b",
    r"(a|aa)+$",
    r"(a*)*b?",
    r"a{2}b",
    r"a{1,2}b",
    r"a{,2}b",
    r"a{1,}b",
    r"a{2,1}",
    r"a{x}",
    r"a{}",
    r"{1}",
    r"a**",
    r"a*?b",
    r"a+?b",
    r"a??b",
    r"*a",
    r"a|*b",
    r"(*a)",
    r"^*",
    r"[]b]+",
    r"[^]]+",
    r"[a-]+b?",
    r"[a-b]+",
    r"[b-a]",
    r"[\d_a]+",
    r"[\w.]+",
    r"[^\W\d]+",
    r"[",
    r"[a",
    r"(a",
    r"a)",
    r"a\Z",
    r"\Aa",
    r"\ba\b",
    r"a\Bb",
    r"\x61b",
    r"\u0061b",
    r"\q",
    r"\-a",
    r"a\-b",
    r"\.",
    r"a.b",
    r"a\n",
    r"a$",
    r"a.",
    r"a\s",
    r"(?P<x>a)b",
    r"(?:a|)b",
    r"(|a)(b|)",
    r"()",
    r"()*a",
    r"(?#note)ab",
    r"(?=a)a",
    r"(?!a)b",
    r"(?=a)*a",
    r"(?:(?=a)a)*b",
    r"a\\",
    r"\\",
    "\\",
    r"(?i)AB",
    r"(?i)[a-b]+",
    r"(?i)[^a]",
    r"(?s).+",
    r"(?a)\w+",
    r"[.]",
    r"[\\]",
    r"[\b]",
    r"[a\-b]+",
    r"((((a))))",
    r"a||b",
    r"|",
    r"",
]


def random_pattern(rng: random.Random, depth: int) -> str:
    roll = rng.random()
    if depth <= 0 or roll < 0.35:
        return rng.choice(["a", "b", ".", r"\.", "1", "[ab]", "[^a]", r"\w", r"\d", r"\b", "^", "$", "_", "B", "(?=a)", "(?!b)", "(?<=a)"])
    if roll < 0.6:
        return "".join(random_pattern(rng, depth - 1) for _ in range(rng.randint(1, 3)))
    if roll < 0.75:
        return "(" + "|".join(random_pattern(rng, depth - 1) for _ in range(rng.randint(1, 3))) + ")"
    group = rng.choice(["(", "(?:", "(?=", "(?!"]) + random_pattern(rng, depth - 1) + ")"
    return group + rng.choice(["*", "+", "?", "*?", "{2}", "{1,2}", "{,1}", "{0,3}", ""])


def answer(pattern: str) -> dict:
    entry = {"pattern": pattern}
    try:
        regex = re.compile(pattern)
    except re.error:
        return entry | {"error": True}
    texts = NAMES + SHORT
    return entry | {
        "full": [i for i, text in enumerate(texts) if regex.fullmatch(text)],
        "start": [i for i, text in enumerate(texts) if regex.match(text)],
    }


rng = random.Random(1)
patterns = list(dict.fromkeys(CURATED + [random_pattern(rng, 4) for _ in range(700)]))[:500]
document = {"python": sys.version.split()[0], "texts": NAMES + SHORT, "cases": [answer(p) for p in patterns]}
print("{")
print(f'"python": {json.dumps(document["python"])},')
print(f'"texts": {json.dumps(document["texts"])},')
print('"cases": [')
print(",\n".join(json.dumps(case) for case in document["cases"]))
print("]}")
