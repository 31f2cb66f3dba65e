"""Loads adapters that Tureen exported into PEFT, and a folded model into transformers, and compares their logits with Tureen's.

Opt-in, needs Python: pip install torch transformers peft
    npm run build && python scripts/check-peft-export.py
"""
import json, pathlib, subprocess, sys, tempfile

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASE = ROOT / "test/golden/kitchen/micro"
IDS = [1, 5, 99, 200]
# global weights; other ranks in one layer; one layer only; one linear layer only beside a whole adapter
SOUPS = [
    {"a": 0.7, "b": -0.4},
    {"a": 1, "b": {"layers": [0, 1]}},
    {"b": {"layers": [0, 1]}},
    {"a": {"default": 0, "linears": {"model.layers.0.mlp.up_proj": 2}}, "b": 1},
]
BOUND = 1e-4  # f32 rounding of logits below 10 over two layers

SCRIPT = """
const { loadModel } = await import(ROOT + "/dist/index.js");
const model = await loadModel(BASE, { backend: "reference" });
for (const name of ["a", "b"]) await model.loadAdapter(`${BASE}/adapter_${name}`, { name });
const logits = [];
for (const [i, weights] of SOUPS.entries()) {
  await model.soup(weights).save(`${OUT}/${i}`, { format: "peft" });
  logits.push([...(await model.logits(IDS, { soup: weights }))]);
}
await model.saveFolded(SOUPS[0], OUT + "/folded");
console.log(JSON.stringify(logits));
"""


def last_logits(model):
    with torch.no_grad():
        return model.eval()(torch.tensor([IDS])).logits[0, -1]


with tempfile.TemporaryDirectory() as out:
    names = dict(ROOT=str(ROOT), BASE=str(BASE), OUT=out, IDS=IDS, SOUPS=SOUPS)
    script = "".join(f"const {k} = {json.dumps(v)};\n" for k, v in names.items()) + SCRIPT
    run = subprocess.run(["node", "--input-type=module", "--eval", script], capture_output=True, text=True, check=True)
    ours = [torch.tensor(row) for row in json.loads(run.stdout)]
    base = lambda path=BASE: AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    theirs = {i: last_logits(PeftModel.from_pretrained(base(), f"{out}/{i}")) for i in range(len(SOUPS))}
    theirs["folded"] = last_logits(base(f"{out}/folded"))
    worst = 0.0
    for name, logits in theirs.items():
        difference = float((logits - ours[0 if name == "folded" else name]).abs().max())
        worst = max(worst, difference)
        print(f"{name}: largest difference {difference:.1e}")
sys.exit(0 if worst < BOUND else 1)
