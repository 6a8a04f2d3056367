#!/usr/bin/env bash
# torch 2.13.0, CPU with AVX-512: `torch.backends.mkldnn.matmul.fp32_precision` is documented as the precision of matrix products.
# A float32 `conv2d` follows it as well, but only while its input is small: a batch of one with at most 20480 numbers and a kernel of
# at most 3 x 3 is not given to oneDNN's convolution but unfolded and multiplied. With the switch at "bf16" (on a processor without
# bfloat16 products: other last digits, no less exact) the same convolution of the same input gives other bits, a slightly larger
# input the same bits. The switch is one for the process: a thread that sets it around its own product changes the last digits of
# convolutions in all other threads, so that "the same network, the same image" is not the same to the bit.
# Output seen:
#   12 x 16, 9216 numbers: bits change
#   20 x 21, 20160 numbers: bits change
#   21 x 21, 21168 numbers: same bits
#   40 x 60, 115200 numbers: same bits
set -euo pipefail
grep -q avx512f /proc/cpuinfo || { echo "This processor has no AVX-512: nothing to be seen."; exit 0; }
! grep -q amx_tile /proc/cpuinfo || { echo "This processor multiplies bfloat16 (AMX): other digits for another reason."; exit 0; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.3.5
"$folder/venv/bin/python" - <<'PYTHON'
import torch

torch.manual_seed(0)
conv, switch = torch.nn.Conv2d(48, 64, 3, padding=1), torch.backends.mkldnn.matmul
seen = []
for h, w in ((12, 16), (20, 21), (21, 21), (40, 60)):
    x = torch.rand(1, 48, h, w)
    with torch.no_grad():
        before = conv(x)
        setting, switch.fp32_precision = switch.fp32_precision, "bf16"
        after = conv(x)
        switch.fp32_precision = setting
    seen.append(torch.equal(before, after))
    print(f"{h} x {w}, {x.numel()} numbers: {'same bits' if seen[-1] else 'bits change'}")
    assert (before - after).abs().max() < 1e-5
assert seen == [False, False, True, True], "this has changed"
PYTHON
