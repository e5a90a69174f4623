"""One script, one import changed: `CrossEncoder.rank` of grating and of sentence-transformers, time and peak memory.

    one_import.py MODEL TEXTS.jsonl COUNT,COUNT... ROUNDS SYSTEM,SYSTEM...

SYSTEM is `grating`, `grating-fast`, or a backend of sentence-transformers: `torch`, `onnx`, `openvino` (which export the
model in a run before). Each round runs every system in a fresh process on the first COUNT texts: it loads, answers once to
warm up, then once more, which is timed. MODEL is a folder with a classification head, or `default` for grating alone.
"""

import json
import os
import statistics
import subprocess
import sys
import time

QUERY = "what is the capital"


def child(system, model, texts):
    """What users write, in one process."""
    began = time.perf_counter()
    if system.startswith("grating"):
        from grating import CrossEncoder

        settings = {"precision": "fast"} if system.endswith("fast") else {}
        encoder = CrossEncoder(None if model == "default" else model, **settings)
    else:
        from sentence_transformers import CrossEncoder

        settings = {"torch_dtype": "float32"} if system == "torch" else {}
        folder = model if system == "torch" else exported(system, model)
        encoder = CrossEncoder(folder, device="cpu", backend=system, model_kwargs=settings)
    loaded = time.perf_counter() - began
    encoder.rank(QUERY, texts[:20], show_progress_bar=False)
    began = time.perf_counter()
    ranked = encoder.rank(QUERY, texts, show_progress_bar=False)
    seconds = time.perf_counter() - began
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))
    print(json.dumps({"load": loaded, "seconds": seconds, "peak": peak, "best": [r["corpus_id"] for r in ranked[:10]]}))


def exported(system, model):
    """A folder with the model in the backend's form, made once."""
    folder = f"{model.rstrip('/')}-{system}"
    if not os.path.exists(folder):
        from sentence_transformers import CrossEncoder

        CrossEncoder(model, device="cpu", backend=system).save_pretrained(folder)
    return folder


def main(model, file, counts, rounds, systems):
    with open(file) as lines:
        texts = [json.loads(line)["text"] for line in lines]
    for count in map(int, counts.split(",")):
        found = {system: [] for system in systems.split(",")}
        for system in found:
            if system in ("onnx", "openvino"):
                exported(system, model)
        for _ in range(int(rounds)):
            for system, runs in found.items():
                command = [sys.executable, __file__, "--child", system, model]
                given = json.dumps(texts[:count])
                done = subprocess.run(command, input=given, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(f"{system}: {done.stderr[-2000:]}")
                runs.append(json.loads(done.stdout.strip().splitlines()[-1]))
        first = next(iter(found.values()))
        print(f"\n{count} texts\n\n| system | load | rank | ratio | peak | same top 10 |\n| --- | ---: | ---: | ---: | ---: | ---: |")
        for system, runs in found.items():
            ratio = statistics.median(run["seconds"] / of["seconds"] for run, of in zip(runs, first))
            same = len(set(runs[0]["best"]) & set(first[0]["best"]))
            median = {key: statistics.median(run[key] for run in runs) for key in ("load", "seconds", "peak")}
            print(
                f"| {system} | {median['load']:.2f} s | {median['seconds']:.3f} s | {ratio:.2f} "
                f"| {median['peak']:.0f} MiB | {same} |"
            )


if __name__ == "__main__":
    if sys.argv[1] == "--child":
        child(*sys.argv[2:], json.load(sys.stdin))
    else:
        main(*sys.argv[1:])
