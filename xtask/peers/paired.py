"""Times grating and peers in turn on the same texts, and prints a Markdown table.

    paired.py [--processor-time] GRATING MODEL TEXTS.jsonl MAX_LENGTH ROUNDS PEER,PEER... NAME=ARGS...

PEER is a variant of transformers_peer.py (f32, bf16, int8), `sentence-transformers`, `candding`, `onnx-f32`,
`onnx-int8`, `openvino-f32` or `openvino-int8`; NAME=ARGS is a row for grating with those arguments, split as a shell does. Every
round runs each row once: grating as a fresh process that answers one request, a peer as a fresh process that answers one
or two after a batch to warm up, whose times are those of the requests alone. So whatever else the machine does falls on all of
them. The ratio is to the first peer, the median over the rounds.

With --processor-time everybody has one thread, and seconds are those of the processor: for a machine that is busy. Of grating they
are the whole process's, with starting and loading.

On a processor that has more, `--isa avx2` holds grating to AVX2, ONEDNN_MAX_CPU_ISA=AVX2 OpenVINO, and
that with ATEN_CPU_CAPABILITY=avx2, FBGEMM_ENABLE_INSTRUCTIONS=AVX2 and MKL_ENABLE_INSTRUCTIONS=AVX2 torch; without the last two its
products of int8, and on Intel's processors those of f32, take all that there is. ONNX Runtime cannot be held so.
"""

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile

FOLDER = os.path.dirname(os.path.abspath(__file__))
QUERY = "what is the capital"
SCRIPTS = {
    "sentence-transformers": ("sentence_transformers_peer.py", ""),
    "candding": ("candding_peer.py", ""),
    "onnx-f32": ("onnx_peer.py", "f32"),
    "onnx-int8": ("onnx_peer.py", "int8"),
    "openvino-f32": ("openvino_peer.py", "f32"),
    "openvino-int8": ("openvino_peer.py", "int8"),
}


def measured(command, text):
    """Standard output of a process that ended well, its peak of resident memory in MiB and its seconds of the processor."""
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as out:
        given.write(text)
        given.seek(0)
        process = subprocess.Popen(command, stdin=given, stdout=out, stderr=subprocess.PIPE, text=True)
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{shlex.join(command)}: {errors[-2000:]}")
        out.seek(0)
        return out.read(), usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


def ours(binary, arguments, max_length, texts, processor_time):
    command = [binary, "rerank", "-q", QUERY, "--json", "--no-prune", "-k", "10"]
    command += ["--max-length", str(max_length), *shlex.split(arguments), texts]
    if processor_time:
        command += ["--threads", "1"]
    out, peak, processor = measured(command, "")
    return [processor if processor_time else json.loads(out)["stats"]["total_ms"] / 1e3], peak


def answers(name, job):
    """What a peer answers to each request, and its peak of resident memory in MiB."""
    script, variant = SCRIPTS.get(name, ("transformers_peer.py", name))
    command = [sys.executable, os.path.join(FOLDER, script)]
    if script in ("onnx_peer.py", "openvino_peer.py"):
        measured(command, json.dumps(job | {"variant": variant, "prepare": True}))
    out, peak, _ = measured(command, json.dumps(job | {"variant": variant}))
    answer = json.loads(out.strip().splitlines()[-1])
    if "skip" in answer:
        sys.exit(f"{name}: {answer['skip']}")
    return answer["requests"], peak


def peer(name, job):
    requests, peak = answers(name, job)
    return requests[0]["seconds"], peak


def table(binary, model, texts, max_length, rounds, peers, rows, scratch, processor_time=False):
    """The table, measured; `rows` are names and arguments. Exports that lie in `scratch` are taken as they are."""
    seconds, peaks = {}, {}
    with open(texts) as lines:
        request = {"query": QUERY, "texts": [json.loads(line)["text"] for line in lines]}
    job = {
        "model": model, "requests": [request], "max_length": max_length,
        "threads": 1 if processor_time else os.cpu_count(), "processor_time": processor_time,
        "runs": 2, "enough_s": 10, "scratch": scratch, "prepare": False,
    }
    for _ in range(rounds):
        for name, arguments in rows.items():
            times, peak = ours(binary, arguments, max_length, texts, processor_time)
            seconds.setdefault(name, []).append(times)
            peaks.setdefault(name, []).append(peak)
        for name in peers:
            times, peak = peer(name, job)
            seconds.setdefault(name, []).append(times)
            peaks.setdefault(name, []).append(peak)
    base = [statistics.median(times) for times in seconds[peers[0]]]
    lines = ["| system | s | fastest, slowest | ratio | peak MiB |", "| --- | --- | --- | --- | --- |"]
    for name, rounds_of in seconds.items():
        times = sum(rounds_of, [])
        ratio = statistics.median(statistics.median(t) / b for t, b in zip(rounds_of, base))
        lines.append(
            f"| {name} | {statistics.median(times):.2f} | {min(times):.2f}, {max(times):.2f} "
            f"| {ratio:.2f} | {statistics.median(peaks[name]):.0f} |"
        )
    return "\n".join(lines)


def main():
    arguments = sys.argv[1:]
    processor_time = arguments[:1] == ["--processor-time"]
    if len(arguments) < 7 + processor_time:
        sys.exit(__doc__)
    binary, model, texts, max_length, rounds, peers, *rows = arguments[processor_time:]
    rows = dict(row.split("=", 1) for row in rows)
    with tempfile.TemporaryDirectory() as scratch:
        print(table(binary, model, texts, int(max_length), int(rounds), peers.split(","), rows, scratch, processor_time))


if __name__ == "__main__":
    main()
