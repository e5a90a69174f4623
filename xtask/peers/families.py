"""Times each family's public shape, with random weights, beside transformers and (encoders) ONNX Runtime.

    families.py prepare FOLDER [SHAPE...]       writes models and exports, some 8 GiB
    families.py run FOLDER GRATING [SHAPE...]   measures, and prints a table for each family

Peers take their classes of transformers 5: GTE's by its own name, MiniCPM as Granite with a head of a language model, whose
equations are the same (xtask/goldens/README.md). Weights are random, so that nothing is to be had from scores.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import paired

ROOT = Path(__file__).resolve().parents[2]
# Shape, arguments of `cargo xtask models random`, peers, texts.
FAMILIES = {
    "ModernBERT": ("gte-modernbert", [], ["f32", "onnx-f32"], 16),
    "DeBERTa-v3": ("mxbai-base-v1", [], ["f32", "onnx-f32"], 16),
    "ELECTRA": ("electra-base", [], ["f32", "onnx-f32"], 16),
    "DistilBERT": ("distilbert-base", [], ["f32", "onnx-f32"], 16),
    "GTE": ("gte-multilingual", [], ["f32", "onnx-f32"], 16),
    "MiniCPM, 8 of 40 layers": ("bge-v2-minicpm", ["--layers", "8"], ["f32"], 8),
}
MAX_LENGTH = 192
WORDS = "grating splits light into several beams whose directions depend on the spacing and on the wavelength".split()


def folders(root, shape):
    return root / shape, root / f"{shape}-peer", root / f"{shape}-scratch"


def as_peers_read_it(own, peer):
    """The same weights and tokenizer under a configuration that transformers has a class for."""
    peer.mkdir()
    for path in own.iterdir():
        if path.name not in ("config.json", "grating.json"):
            (peer / path.name).symlink_to(path)
    # A field that is null is not what some classes expect.
    config = {key: value for key, value in json.loads((own / "config.json").read_text()).items() if value is not None}
    if config["model_type"] == "new":
        rope = {"rope_type": "default", "rope_theta": config.pop("rope_theta")}
        config.pop("rope_scaling", None)
        config |= {"architectures": ["GteForSequenceClassification"], "model_type": "gte", "rope_parameters": rope}
    if config["model_type"] == "minicpm":
        layers, width = config["num_hidden_layers"], config["hidden_size"] // config["num_attention_heads"]
        config |= {
            "architectures": ["GraniteForCausalLM"],
            "model_type": "granite",
            "attention_multiplier": width**-0.5,
            "embedding_multiplier": config["scale_emb"],
            "logits_scaling": 1.0,
            "residual_multiplier": config["scale_depth"] / layers**0.5,
            "tie_word_embeddings": True,
        }
        del config["auto_map"]
        prompt = {"prefix": "<s>", "body": "A: {query}\nB: {document}\n{instruction}", "suffix": "", "yes": "Yes", "no": "<s>"}
        prompt["default_instruction"] = "Given a query A and a passage B, determine whether the passage answers the query."
        (peer / "grating.json").write_text(json.dumps({"template": prompt}))
    (peer / "config.json").write_text(json.dumps(config))


def write_texts(path, count):
    """Texts of 60 to 120 words."""
    with open(path, "w") as out:
        for text in range(count):
            words = (WORDS[(text * 7 + at * (text % 5 + 1)) % len(WORDS)] for at in range(60 + text * 60 // count))
            out.write(json.dumps({"id": str(text), "text": " ".join(words)}) + "\n")


def chosen(shapes):
    return {family: of for family, of in FAMILIES.items() if not shapes or of[0] in shapes}


def prepare(root, shapes):
    root.mkdir(parents=True, exist_ok=True)
    for shape, arguments, peers, count in chosen(shapes).values():
        own, peer, scratch = folders(root, shape)
        for folder in (peer, scratch):
            shutil.rmtree(folder, ignore_errors=True)
        command = ["cargo", "xtask", "models", "random", "--shape", shape, "--out", str(own), "--force", *arguments]
        subprocess.run(command, check=True, cwd=ROOT)
        as_peers_read_it(own, peer)
        scratch.mkdir()
        write_texts(root / f"{shape}.jsonl", count)
        job = {"model": str(peer), "requests": [], "max_length": MAX_LENGTH, "threads": os.cpu_count()}
        job |= {"runs": 1, "enough_s": 1, "scratch": str(scratch), "prepare": True}
        for name in peers:
            if name.startswith("onnx"):
                script, variant = paired.SCRIPTS[name]
                command = [sys.executable, os.path.join(paired.FOLDER, script)]
                print(shape, paired.measured(command, json.dumps(job | {"variant": variant}))[0].strip(), file=sys.stderr)


def run(root, binary, shapes):
    for family, (shape, _, peers, _) in chosen(shapes).items():
        own, peer, scratch = folders(root, shape)
        rows = {f"GRATING {precision}": f"-m {own} --precision {precision}" for precision in ("full", "fast")}
        texts = str(root / f"{shape}.jsonl")
        print(f"\n{family} ({shape})\n", flush=True)
        print(paired.table(binary, str(peer), texts, MAX_LENGTH, 1, peers, rows, str(scratch)), flush=True)


match sys.argv[1:]:
    case ["prepare", folder, *shapes]:
        prepare(Path(folder).absolute(), shapes)
    case ["run", folder, binary, *shapes]:
        run(Path(folder).absolute(), binary, shapes)
    case _:
        sys.exit(__doc__)
