#!/bin/sh
# What a machine with a card is asked in a few minutes: whether the kernels are right on it, and how fast they are.
# Needs NVIDIA's driver. Where python3 has torch and transformers, those are measured beside it on the same card.
# run.sh [OUT [SHAPE...]]: reports go to OUT (default: out beside this file).
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/out}
[ $# -gt 0 ] && shift
shapes=${*:-qwen3-0.6b bge-reranker-v2-m3}
mkdir -p "$out"
export GRATING_GOLDENS="$here/goldens"
failed=0

nvidia-smi >"$out/nvidia-smi.txt" 2>&1 || echo "no nvidia-smi on this machine"
timeout 120 "$here/card" --ignored --skip figures --nocapture >"$out/conformance.txt" 2>&1 || failed=1
tail -n 3 "$out/conformance.txt"

for shape in $shapes; do
    model="$out/models/$shape"
    [ -d "$model" ] || "$here/xtask" models random --shape "$shape" --out "$model" || { failed=1; continue; }
    GRATING_FIGURES="$model" timeout 100 "$here/card" --ignored figures --nocapture --test-threads 1 \
        >"$out/$shape.txt" 2>&1 || failed=1
    grep '^{' "$out/$shape.txt" | tee "$out/$shape.json"
    if python3 -c 'import torch, transformers; assert torch.cuda.is_available()' 2>/dev/null; then
        timeout 100 python3 "$here/transformers_cuda.py" "$model" >"$out/$shape-transformers.json" \
            2>"$out/$shape-transformers.txt" || echo "transformers failed on $shape"
        cat "$out/$shape-transformers.json"
    fi
done
exit $failed
