#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compile one kernel: glslang, spirv-opt, spirv-val, then the words as a C initialiser.

    compile.py --glslang G --opt O --val V [--include DIR]... --out FILE.h [--depfile FILE.d]
               SHADER.comp [-- OPTION...]

Options are those of a row of kernels.def: -DNAME[=VALUE] for the shader, --target-env=ENV where a
row needs another environment than vulkan1.1, --scalar-block-layout for the validator.
"""
import argparse
import array
import os
import subprocess
import sys
import tempfile


def run(step, command):
    """Run one tool; its words go to stderr only when it fails."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode != 0:
        sys.stderr.write(f"{step} failed: {' '.join(command)}\n{result.stdout}")
        sys.exit(1)


def split_options(options):
    defines, env, val = [], "vulkan1.1", []
    for option in options:
        if option.startswith("-D"):
            defines.append(option)
        elif option.startswith("--target-env="):
            env = option.split("=", 1)[1]
        elif option == "--scalar-block-layout":
            val.append(option)
        elif option:
            sys.exit(f"{option}: a kernel row may say -D..., --target-env=... or --scalar-block-layout")
    return defines, env, val


def read_words(spirv_path):
    words = array.array("I")
    with open(spirv_path, "rb") as f:
        data = f.read()
    words.frombytes(data[:len(data) // 4 * 4])
    if words.itemsize != 4 or not words or words[0] not in (0x07230203, 0x03022307):
        sys.exit(f"{spirv_path} is not SPIR-V")
    if words[0] == 0x03022307:
        words.byteswap()
    return words


def write_words(words, out_path):
    lines = [",".join(f"0x{w:08x}" for w in words[i:i + 10]) for i in range(0, len(words), 10)]
    with open(out_path, "w", encoding="ascii") as f:
        f.write(",\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser()
    for tool in ("glslang", "opt", "val", "out"):
        parser.add_argument("--" + tool, required=True)
    parser.add_argument("--include", action="append", default=[])
    parser.add_argument("--depfile")
    parser.add_argument("shader")
    arguments, options = sys.argv[1:], []
    if "--" in arguments:
        cut = arguments.index("--")
        arguments, options = arguments[:cut], arguments[cut + 1:]
    args = parser.parse_args(arguments)
    defines, env, val = split_options(options)

    with tempfile.TemporaryDirectory() as folder:
        plain = os.path.join(folder, "plain.spv")
        small = os.path.join(folder, "small.spv")
        deps = os.path.join(folder, "deps")
        run("glslang", [args.glslang, "-V", "--quiet", "--target-env", env, "-S", "comp"]
            + ["-I" + i for i in args.include] + defines
            + ["--depfile", deps, "-o", plain, args.shader])
        run("spirv-opt", [args.opt, "-O", "--target-env=" + env, plain, "-o", small])
        run("spirv-val", [args.val, "--target-env", env] + val + [small])
        write_words(read_words(small), args.out)
        if args.depfile:
            # The build tool wants its own output as the target, glslang wrote the temporary one.
            with open(deps, encoding="utf-8") as f:
                sources = f.read().split(": ", 1)[1]
            with open(args.depfile, "w", encoding="utf-8") as f:
                f.write(f"{args.out}: {sources}")


if __name__ == "__main__":
    main()
