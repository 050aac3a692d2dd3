#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PyTorch's scaled_dot_product_attention, for `rapt bench --peers`. bench/README.md has the
conversation on standard input and output.

    peer_torch.py cpu-f32 | cpu-bf16 | flash | cudnn | efficient  N-THREADS

The CPU kinds convert Q, K and V once, before anything is timed; the others are back ends of an NVIDIA
card and run in f16. Values that PyTorch has no type for (q8_0) are converted likewise."""
import os
import sys
import time

answers = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)  # whatever else is printed goes to standard error


def answer(word, text=""):
    answers.write(f"{word} {' '.join(str(text).split())[:200]}\n".encode("utf-8", "replace"))
    answers.flush()


def read(n_bytes):
    data = bytearray(n_bytes)
    view, got = memoryview(data), 0
    while got < n_bytes:
        n = sys.stdin.buffer.readinto(view[got:])
        if not n:
            sys.exit(1)
        got += n
    return data


class Case:
    """One problem: for every sequence the arguments of a call."""

    def __init__(self, torch, line, dtype, device):
        words = line.split()[1:]
        self.heads, self.kv_heads, self.dim = (int(word) for word in words[:3])
        kv_type, self.mask, self.block = words[3], words[4], int(words[5])
        lengths = [int(word) for word in words[7:]]
        self.q_len, self.kv_len = lengths[0::2], lengths[1::2]
        n_q, n_kv = sum(self.q_len), sum(self.kv_len)
        row = self.dim // 32 * 34 if kv_type == "q8_0" else 2 * self.dim
        self.torch = torch
        q = torch.frombuffer(read(n_q * self.heads * self.dim * 4), dtype=torch.float32)
        q = q.view(n_q, self.heads, self.dim).to(device, dtype)
        k, v = (self.values(read(n_kv * self.kv_heads * row), kv_type).view(n_kv, self.kv_heads, self.dim)
                .to(device, dtype) for _ in range(2))
        self.map = None
        if self.mask == "blocks":
            n = -(-self.kv_len[0] // self.block)
            self.map = torch.frombuffer(read(n * n), dtype=torch.uint8).view(n, n)
        self.calls = []
        at_q = at_kv = 0
        for b, (m, n) in enumerate(zip(self.q_len, self.kv_len)):
            self.calls.append(self.call(q[at_q:at_q + m], k[at_kv:at_kv + n], v[at_kv:at_kv + n], b))
            at_q, at_kv = at_q + m, at_kv + n

    def values(self, data, kv_type):
        torch = self.torch
        if kv_type != "q8_0":
            return torch.frombuffer(data, dtype=torch.float16)
        blocks = torch.frombuffer(data, dtype=torch.uint8).view(-1, 34)
        scale = blocks[:, :2].contiguous().view(torch.float16).float()
        return blocks[:, 2:].contiguous().view(torch.int8).float() * scale

    def call(self, q, k, v, b):
        """Token-major rows become views [1, heads, tokens, dim]. The heads of one row that share a K/V head
        become rows: the same sum, and one pass over K and V."""
        torch, m, n = self.torch, self.q_len[b], self.kv_len[b]
        k, v = (x.transpose(0, 1).unsqueeze(0) for x in (k, v))
        if m == 1 and self.map is None:
            return q.view(1, self.kv_heads, self.heads // self.kv_heads, self.dim), k, v, {}
        extra = {"enable_gqa": True} if self.heads != self.kv_heads else {}
        if self.map is not None:
            allowed = self.map.bool().repeat_interleave(self.block, 0).repeat_interleave(self.block, 1)
            extra["attn_mask"] = self.dense(allowed[n - m:n, :n], q)
        elif self.mask == "causal" and m == n:
            extra["is_causal"] = True
        elif self.mask == "causal":
            extra["attn_mask"] = self.dense(torch.ones(m, n, dtype=torch.bool).tril(n - m), q)
        return q.transpose(0, 1).unsqueeze(0), k, v, extra

    def dense(self, allowed, q):
        mask = self.torch.zeros(allowed.shape, dtype=q.dtype)
        return mask.masked_fill_(~allowed, float("-inf")).to(q.device)

    def run(self):
        attend = self.torch.nn.functional.scaled_dot_product_attention
        with self.torch.inference_mode():
            self.out = [attend(q, k, v, **extra) for q, k, v, extra in self.calls]

    def result(self):
        parts = []
        for out, m in zip(self.out, self.q_len):
            if out.shape[2] == m and out.shape[1] == self.heads:
                out = out.transpose(1, 2)
            parts.append(out.reshape(m, self.heads * self.dim).float().cpu())
        whole = self.torch.cat(parts).contiguous()
        return memoryview(whole.numpy()).cast("B")


def lines_of(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def processor_has(flag):
    return f" {flag} " in lines_of("/proc/cpuinfo").replace("\n", " ")


def blas():
    """Whose matrix products it found: Debian's PyTorch runs on the reference BLAS, ten times slower, until
    another one is installed."""
    loaded = lines_of("/proc/self/maps")
    for name, title in (("libmkl", "MKL"), ("libopenblas", "OpenBLAS"), ("openblas", "OpenBLAS"),
                        ("libblis", "BLIS"), ("libblas.so", "reference BLAS (install libopenblas0-openmp)")):
        if name in loaded:
            return title
    return "its own BLAS"


def backend_of(torch, kind):
    kinds = torch.nn.attention.SDPBackend
    return {"flash": kinds.FLASH_ATTENTION, "cudnn": kinds.CUDNN_ATTENTION,
            "efficient": kinds.EFFICIENT_ATTENTION}[kind]


def converse(torch, kind, about):
    cuda = not kind.startswith("cpu")
    dtype = {"cpu-f32": torch.float32, "cpu-bf16": torch.bfloat16}.get(kind, torch.float16)
    case = None

    def timed(word):
        start = time.perf_counter()
        case.run()
        if cuda:
            torch.cuda.synchronize()
        answer(word, f"{time.perf_counter() - start:.9f}")

    answer("peer", about)
    for line in iter(sys.stdin.buffer.readline, b""):
        word = line.split()[0]
        try:
            if word == b"case":
                case = None  # its memory first
                case = Case(torch, line.decode(), dtype, "cuda" if cuda else "cpu")
                timed("ready")
            elif word == b"run":
                timed("ran")
            elif word == b"result":
                data = case.result()
                answer("result")
                answers.write(data)
                answers.flush()
        except RuntimeError as error:  # PyTorch's way to say that a back end does not do a shape
            answer("cannot", error)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    kind, n_threads = sys.argv[1], int(sys.argv[2])
    try:
        import torch
    except ImportError as error:
        return answer("cannot", f"PyTorch is not installed: {error}")
    if kind.startswith("cpu"):
        if kind == "cpu-bf16" and not processor_has("amx_bf16"):
            return answer("cannot", "this processor has no AMX, without which bf16 is slower than f32")
        torch.set_num_threads(n_threads)
        return converse(torch, kind, f"PyTorch {torch.__version__} SDPA, {kind[4:]}, {blas()}, "
                        f"threads: {n_threads}")
    if not torch.cuda.is_available():
        return answer("cannot", "this PyTorch sees no NVIDIA card")
    with torch.nn.attention.sdpa_kernel(backend_of(torch, kind)):
        converse(torch, kind, f"PyTorch {torch.__version__} SDPA {kind}, {torch.cuda.get_device_name()}")
    return None


if __name__ == "__main__":
    main()
