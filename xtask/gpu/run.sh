#!/bin/sh
# What a machine with a card is asked in four minutes: whether the kernels are right on it, and how fast they are.
# Needs NVIDIA's driver. Where python3 has torch and transformers, those are measured beside it on the same card.
# run.sh [OUT [SHAPE...]]: reports go to OUT (default: out beside this file), models with planted weights that are made
# for it to OUT/models. GRATING_SECONDS is the time for all of it; what has no time left is named and left out.
set -u
here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here/out}
[ $# -gt 0 ] && shift
shapes=${*:-qwen3-0.6b bge-v2-m3 qwen3-8b qwen3-4b}
end=$(($(date +%s) + ${GRATING_SECONDS:-240}))
mkdir -p "$out"
export GRATING_GOLDENS="$here/goldens"
failed=0

# Runs a command within the seconds that are left, at most so many.
within() {
    left=$((end - $(date +%s)))
    [ "$left" -gt 0 ] || return 124
    [ "$left" -lt "$1" ] || left=$1
    shift
    timeout "$left" "$@"
}

# Says what has not come to its end, and why.
missed() {
    failed=1
    if [ "$2" = 124 ]; then echo "$1: no time left"; else echo "$1: failed, see $3"; fi
}

nvidia-smi >"$out/nvidia-smi.txt" 2>&1 || echo "no nvidia-smi on this machine"
within 120 "$here/card" --ignored --skip figures --nocapture >"$out/conformance.txt" 2>&1
code=$?
# Where there is no card to run on, no weights are made for it.
if grep -m 1 -o -e 'no CUDA driver found.*' -e 'there is no CUDA device .*' -e '[^"]* has compute capability .*' \
    -e 'CUDA: opening the device failed.*' -e 'CUDA: looking for devices failed.*' "$out/conformance.txt"; then
    exit 1
fi
grep '^test result' "$out/conformance.txt"
[ $code = 0 ] || missed conformance $code "$out/conformance.txt"

for shape in $shapes; do
    model="$out/models/$shape"
    if [ ! -d "$model" ]; then
        within 100 "$here/xtask" models planted --shape "$shape" --dtype bf16 "$model" >"$out/$shape-model.txt" 2>&1
        code=$?
        [ $code = 0 ] || { missed "weights of $shape" $code "$out/$shape-model.txt"; continue; }
    fi
    export GRATING_FIGURES="$model"
    within 100 "$here/card" --ignored figures --nocapture --test-threads 1 >"$out/$shape.txt" 2>&1
    code=$?
    grep '^{' "$out/$shape.txt" | tee "$out/$shape.json"
    [ $code = 0 ] || missed "$shape" $code "$out/$shape.txt"
    if python3 -c 'import torch, transformers; assert torch.cuda.is_available()' 2>/dev/null; then
        within 100 python3 "$here/transformers_cuda.py" "$model" >"$out/$shape-transformers.json" \
            2>"$out/$shape-transformers.txt"
        code=$?
        cat "$out/$shape-transformers.json"
        [ $code = 0 ] || missed "transformers on $shape" $code "$out/$shape-transformers.txt"
    fi
done
exit $failed
