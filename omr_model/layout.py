"""What the files of a checkpoint and of an export are called; there is no torch here, which takes seconds to import."""

from __future__ import annotations

WEIGHTS, DESCRIPTION, RESUME = "model.safetensors", "checkpoint.json", "resume.pt"

# In an export, beside the first two:
ONNX_FOLDER = "onnx"
ATTENTION_FILE = "figures/attention.png"
METRICS_FILE = "metrics.json"
