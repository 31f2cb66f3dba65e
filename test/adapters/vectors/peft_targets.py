"""Writes peft-targets.json: which modules PEFT targets, and with what rank and alpha, for many configs.

Runs PEFT's own functions, taken out of its sources so that torch is not needed:

    pip download --no-deps peft==0.21.0 && unzip peft-*.whl
    python3 peft_targets.py peft > peft-targets.json
"""

import ast
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

root = Path(sys.argv[1])


def take(path: str, *names: str) -> dict:
    """Defines the named functions and classes of a module, and nothing else of it."""
    tree = ast.parse((root / path).read_text())
    tree.body = [node for node in tree.body if getattr(node, "name", None) in names]
    scope = {"re": re}
    exec(compile(ast.unparse(tree), path, "exec", flags=__import__("__future__").annotations.compiler_flag), scope)
    return scope


other = take("utils/other.py", "match_target_against_key", "get_pattern_key")
tuners = take("tuners/tuners_utils.py", "check_target_module_exists", "_ExcludedModule")
tuners["match_target_against_key"] = other["match_target_against_key"]
is_target = tuners["check_target_module_exists"]
pattern_key = other["get_pattern_key"]

SUFFIXES = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
PATHS = [f"model.layers.{i}.{s}" for i in range(12) for s in SUFFIXES] + ["lm_head"]

CONFIGS = [
    {"target_modules": ["q_proj", "v_proj"]},
    {"target_modules": ["q_proj", "proj", "layers.1.mlp.up_proj", "mlp.gate_proj"]},
    {"target_modules": ["model.layers.0.self_attn.q_proj", "lm_head"]},
    {"target_modules": ["attn.q_proj", "_proj", "", "model"]},
    {"target_modules": []},
    {"target_modules": "q_proj"},
    {"target_modules": r".*q_proj"},
    {"target_modules": r".*\.(q_proj|down_proj)"},
    {"target_modules": r"^(?!.*lm_head).*layers\.1.*proj$"},
    {"target_modules": r"model\.layers\.(0|[5-9]|1\d)\.self_attn\.[qkv]_proj"},
    {"target_modules": r".*", "exclude_modules": r".*\.(mlp\..*|o_proj)"},
    {"target_modules": ["q_proj", "up_proj"], "exclude_modules": ["layers.3.self_attn.q_proj", "up_proj"]},
    {"target_modules": ["q_proj", "up_proj"], "exclude_modules": "up_proj"},
    {"target_modules": ["q_proj", "up_proj"], "exclude_modules": []},
    {"target_modules": ["q_proj", "lm_head"], "layers_to_transform": [0, 3, 11, 99]},
    {"target_modules": ["q_proj", "lm_head"], "layers_to_transform": 2},
    {"target_modules": ["q_proj", "lm_head"], "layers_to_transform": []},
    {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": ["h", "layers"]},
    {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": ["h"]},
    {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "model.layers"},
    {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "ayers"},
    {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": "l.yers"},
    {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": []},
    {"target_modules": ["q_proj", "lm_head"], "modules_to_save": ["lm_head", "layers.2"]},
    {"target_modules": ["q_proj"], "modules_to_save": ["self_attn|mlp"]},
    {"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"up_proj": 3, "q_proj": 5}},
    {"rank_pattern": {"layers.1.self_attn.q_proj": 4, "q_proj": 6}},
    {"rank_pattern": {"q_proj": 6, "layers.1.self_attn.q_proj": 4}},
    {"rank_pattern": {"model.layers.1.self_attn.q_proj": 4, "odel.layers.2.self_attn.q_proj": 5}},
    {"rank_pattern": {"^model.layers.0.self_attn.k_proj": 4, "^layers.1.self_attn.k_proj": 5}},
    {"rank_pattern": {r"layers\.\d\.mlp.*": 4, r".*\.1\d\..*": 7}},
    {"rank_pattern": {r"(q|k)_proj": 4, r"v_proj|o_proj": 7, "proj": 9}},
    {"rank_pattern": {"l.yers.3.mlp.up_proj": 4, "mlp": 5, "mlp.": 6, ".proj": 7}},
    {"rank_pattern": {"lm_head": 2, "m_head": 3}, "alpha_pattern": {"lm.head": 1.5}},
    {"rank_pattern": {"up_proj$": 2, "down_proj|$": 3}},
    {"rank_pattern": {"a)|(up_proj": 2}},
]

cases = []
for raw in CONFIGS:
    config = {"target_modules": ["q_proj"], "r": 8, "lora_alpha": 16, "rank_pattern": {}, "alpha_pattern": {}} | raw
    space = SimpleNamespace(**config, target_parameters=None)
    case = {"config": raw, "targeted": [i for i, p in enumerate(PATHS) if isinstance(is_target(space, p), (bool, re.Match)) and is_target(space, p)]}
    for field, default in (("rank_pattern", 8), ("alpha_pattern", 16)):
        pattern = config[field]
        if pattern:
            case[field] = [pattern.get(pattern_key(pattern.keys(), p), default) for p in PATHS]
    cases.append(case)

print("{")
print(f'"peft": "0.21.0", "r": 8, "lora_alpha": 16,\n"paths": {json.dumps(PATHS)},')
print('"cases": [\n' + ",\n".join(json.dumps(c) for c in cases) + "\n]}")
