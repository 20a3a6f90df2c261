"""A file that the Python library writes, for src/io/safetensors_test.cpp to write again byte for byte.

Made with safetensors 0.8.0 and torch 2.11.0:

    .venv-parity/bin/python tools/reference/safetensors_file.py tests/data/reference.safetensors
"""

import sys

import torch
from safetensors.torch import save_file

DTYPES = ["bool", "uint8", "int8", "float8_e5m2", "float8_e4m3fn", "float8_e8m0fnu", "float8_e4m3fnuz", "float8_e5m2fnuz",
          "int16", "uint16", "float16", "bfloat16", "int32", "uint32", "float32", "complex64", "float64", "int64", "uint64"]  # fmt: skip


def main():
    numbers = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    tensors = {f"{name}.weight": numbers.to(getattr(torch, name)) for name in DTYPES}
    tensors["a scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 4)
    tensors["odd length"] = torch.tensor([1, 2, 3], dtype=torch.uint8)
    tensors['quote " backslash \\ tab \t bell \x07 delete \x7f é 🙂'] = torch.tensor([1.0, -1.0])
    tensors["Z before a"] = torch.tensor([float("inf"), float("nan")])
    tensors["transposed"] = numbers.t().contiguous()
    save_file(tensors, sys.argv[1], metadata={"format": "pt"})


if __name__ == "__main__":
    main()
