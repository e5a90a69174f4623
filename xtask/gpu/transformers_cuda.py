"""transformers on the same card, resident, bf16, sdpa: transformers_cuda.py MODEL_FOLDER.

Random ids of the pools' sizes in one batch, logits of the last position alone; the least of four runs, milliseconds.
"""

import json
import sys
import time

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

folder = sys.argv[1]
config = AutoConfig.from_pretrained(folder)
decoder = any("CausalLM" in name for name in config.architectures)
kind = AutoModelForCausalLM if decoder else AutoModelForSequenceClassification
model = kind.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa").eval().cuda()
report = {}
for count, tokens in [(20, 256), (20, 512), (60, 512)]:
    ids = torch.randint(10, 1000, (count, tokens), device="cuda")
    arguments = {"logits_to_keep": 1, "use_cache": False} if decoder else {}
    torch.cuda.reset_peak_memory_stats()
    times = []
    with torch.inference_mode():
        for _ in range(5):
            torch.cuda.synchronize()
            start = time.perf_counter()
            model(input_ids=ids, **arguments).logits.float().cpu()
            times.append(1e3 * (time.perf_counter() - start))
    report[f"{count}x{tokens}"] = {
        "ms": round(min(times[1:]), 2),
        "peak_mib": torch.cuda.max_memory_allocated() >> 20,
    }
print(json.dumps({"torch": torch.__version__, "device": torch.cuda.get_device_name(), **report}))
