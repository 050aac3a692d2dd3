#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""test_bad_masks.py RAPT: every wrong mask, and every array of a mask that is missing, misshapen or not asked for,
is answered with exit 2, one line on stderr and no file, by `rapt attend` and `rapt mask` alike. No device."""
import sys

sys.dont_write_bytecode = True
from refusing import attend, finish, refused, table, tensor


def mask(what, pattern, *more):
    """`rapt mask` of the 6 queries, 10 keys and 4 heads that attend has."""
    refused(what, pattern, "--q", "6", "--kv", "10", "--heads", "4", "--block-q", "16", "--block-kv", "16", *more,
            command="mask")


def everywhere(what, pattern, expression, *more):
    attend(what, pattern.replace("@", "--mask"), "--mask", expression, *more)
    mask(what, pattern.replace("@", "--expr"), "--expr", expression, *more)


# --- expressions: the message points at the column
JUNK = [("causal &", "column 9"), ("& causal", "column 1"), ("causal causal", "column 8"), ("(causal", "column 8"),
        ("causal)", "column 7"), ("window", "column 7"), ("window(1)", "column 9"), ("window(1, 2, 3)", "column 12"),
        ("window(a, 0)", "column 8"), ("nonsense", "column 1"), ("causal()", "column 7"), ("!", "column 2"),
        ("causal | | full", "column 10"), ("causal ! full", "column 8"), ("causal && full", "column 9"),
        ("~causal", "column 1"), ("dilated(4)", "column 10"), ("tree(1)", "column 5"), ("segments()", "column 9"),
        (") & (causal", "column 1"), ("window(-2, 0)", ""), ("chunked(0)", ""), ("chunked(-4)", ""),
        ("sink_tokens(-1)", ""), ("dilated(0, 2)", ""), ("dilated(4, 0)", ""), ("window(99999999999, 0)", ""),
        ("(" * 3000 + "causal" + ")" * 3000, ""), ("causal &" * 5000 + " causal", "")]
for expression, where in JUNK:
    everywhere("junk", rf"@: .*{where}", expression)
    attend("junk before a shorthand", rf"--mask: .*{where}", "--mask", expression, "--causal")

# --- arrays that are missing, or not asked for
ARRAYS = {
    "prefix": ["--prefix", table("prefix.npy", [3])],
    "bidirectional": ["--bidirectional", table("flags.npy", [1] * 10, "u1")],
    "bitmap": ["--bitmap", tensor("bits.npy", 6, 10, dtype="b1", value=True)],
    "tree": ["--parents", table("parents.npy", [-1] * 6)],
}
SEGMENTS = ["--segments-q", table("sq.npy", [1] * 6), "--segments-kv", table("skv.npy", [1] * 10)]
BLOCKS = ["--blocks", tensor("map.npy", 2, 3, dtype="u1", value=1), "--block-shape", "4,4"]
for leaf, (option, file) in ARRAYS.items():
    everywhere("missing", rf"mentions `{leaf}`: {option} is missing", leaf)
    everywhere("missing behind others", rf"mentions `{leaf}`: {option} is missing", f"causal | !(full & {leaf})")
    everywhere("not asked for", rf"{option}: the mask does not mention `{leaf}`", "causal", option, file)
    attend("not asked for, no mask", rf"{option}: the mask does not mention `{leaf}`", option, file)
    everywhere("no such file", rf"{option} none.npy: cannot be opened", leaf, option, "none.npy")
    everywhere("given twice", rf"{option} is given twice", leaf, option, file, option, file)
everywhere("no segments", r"mentions `segments`: --segments-q is missing", "segments")
everywhere("segments of keys alone", r"--segments-q is missing", "segments", *SEGMENTS[2:])
everywhere("segments of queries alone", r"--segments-kv is missing", "segments", *SEGMENTS[:2])
everywhere("segments not asked for", r"--segments-q: the mask does not mention `segments`", "full", *SEGMENTS)
everywhere("no blocks", r"mentions `blocks`: --blocks is missing", "blocks")
everywhere("no block shape", r"mentions `blocks`: --block-shape is missing", "blocks", *BLOCKS[:2])
everywhere("blocks not asked for", r"--blocks: the mask does not mention `blocks`", "full", *BLOCKS)
everywhere("shape not asked for", r"--block-shape: the mask does not mention `blocks`", "full", *BLOCKS[2:])
everywhere("missing for some heads", r"mentions `bitmap`: --bitmap is missing", "causal", "--mask-head", "h1: bitmap")

# --- shapes and types
everywhere("prefix length", r"--prefix .*\[2\]|--q has 1 sequence, --prefix has 2", "prefix", "--prefix",
           table("bad.npy", [0, 1]))
everywhere("segments of queries", r"--segments-q bad.npy has the shape \[5\]: .*query token, \[6\]", "segments",
           "--segments-q", table("bad.npy", [1] * 5), *SEGMENTS[2:])
everywhere("segments of keys", r"--segments-kv bad.npy has the shape \[11\]: .*key, \[10\]", "segments", *SEGMENTS[:2],
           "--segments-kv", table("bad.npy", [1] * 11))
everywhere("segments of two axes", r"--segments-q .*shape \[2, 3\]", "segments", "--segments-q",
           table("bad.npy", [1] * 6, shape=(2, 3)), *SEGMENTS[2:])
everywhere("segments of 64 bits", r"--segments-q bad.npy: elements are .*expected i4", "segments", "--segments-q",
           table("bad.npy", [1] * 6, "i8"), *SEGMENTS[2:])
everywhere("flags", r"--bidirectional bad.npy has the shape \[6\]: .*key, \[10\]", "bidirectional", "--bidirectional",
           table("bad.npy", [1] * 6, "u1"))
for dtype in ("i4", "f4", "u4"):
    everywhere("flags of another type", r"expected u1 or b1", "bidirectional", "--bidirectional",
               table("bad.npy", [1] * 10, dtype))
for shape in ((10, 6), (60,), (3, 6, 10), (4, 10, 6), (1, 4, 6, 10), (0, 6, 10)):
    everywhere("bitmap", r"--bitmap bad.npy has the shape .*: expected \[6, 10\] or \[4, 6, 10\]", "bitmap", "--bitmap",
               tensor("bad.npy", *shape, dtype="u1", value=1))
everywhere("bitmap of floats", r"--bitmap bad.npy: elements are f4, expected u1 or b1", "bitmap", "--bitmap",
           tensor("bad.npy", 6, 10))
for shape in ((6,), (3, 2, 3), (2, 0), (0, 3), (1, 1, 2, 3)):
    everywhere("blocks", r"--blocks bad.npy has the shape .*: expected \[nQ,nK\], \[1,nQ,nK\] or \[4,nQ,nK\]", "blocks",
               "--blocks", tensor("bad.npy", *shape, dtype="b1", value=True), "--block-shape", "4,4")
for value in ("4", "4,", "4,x", "4,4,4", "9999999999,4"):
    everywhere("block shape", r"--block-shape: '.*' is not two whole numbers", "blocks", *BLOCKS[:3], value)
for value in ("0,4", "4,0", "-4,4"):
    everywhere("block shape", r"--block-shape: '.*': a block has one position", "blocks", *BLOCKS[:3], value)
for parents, why in (([-1, 0, 1, 2, 3, 9], "parents"), ([-2] * 6, "parents"), ([0] * 6, "parents"),
                     ([1, 0, -1, -1, -1, -1], "parents"), ([-1] * 11, "parents|tree")):
    everywhere("parents", why, "tree", "--parents", table("bad.npy", parents))
everywhere("parents of two axes", r"--parents .*shape \[6, 1\]", "tree", "--parents",
           table("bad.npy", [-1] * 6, shape=(6, 1)))
attend("parents of several sequences", r"--parents bad.npy has the shape \[5\]: .*query token, \[6\]", "--mask", "tree",
       "--cu-q", table("cu.npy", [0, 3, 6]), "--parents", table("bad.npy", [-1] * 5))
attend("bitmap of two sequences", r"--bitmap is for one sequence, the batch has 2", "--mask", "bitmap",
       "--cu-q", table("cu.npy", [0, 3, 6]), *ARRAYS["bitmap"])

# --- heads
for text in ("", "h0", "h0 causal", "h: causal", "h0-: causal", "h0-h1-h2: causal", ": causal",
             "h-1: causal", "h0,h1: causal", "heads: causal", "h9999999999: causal"):
    everywhere("junk heads", r"--mask-head(: '.*' is not 'h0: EXPR' or 'h0-h3: EXPR'|: the value is empty)",
               "causal", f"--mask-head={text}")
everywhere("no such head", r"--mask-head: h4-h4: there are heads h0 to h3", "causal", "--mask-head", "h4: full")
everywhere("no such heads", r"--mask-head: h2-h4: there are", "causal", "--mask-head", "h2-h4: full")
everywhere("heads the wrong way round", r"--mask-head: h3-h2", "causal", "--mask-head", "h3-h2: full")
everywhere("two masks of one head", r"--mask-head: head h2 has two masks", "causal", "--mask-head", "h0-h2: full",
           "--mask-head", "h2: causal")
everywhere("no mask of heads", r"--mask-head: .*column 5", "causal", "--mask-head", "h0: ")
everywhere("junk of heads", r"--mask-head: .*column 15", "causal", "--mask-head", "h0-h2: causal ~ full")

# --- `rapt mask` alone
refused("no expression", r"--expr is missing", "--q", "5", command="mask")
refused("no length", r"--q is missing", "--expr", "causal", command="mask")
for option in ("--q", "--kv", "--heads", "--block-q", "--block-kv"):
    for value in ("0", "-1", "1.5", "x", "99999999999"):
        refused("junk count", rf"{option}: '.*' is not a whole number", "--expr", "full", *(
            ["--q", "9"] if option != "--q" else []), option, value, command="mask")
for option in ("--block-q", "--block-kv"):
    for value in ("24", "255"):
        refused("block", rf"{option}: {value} is not a power of two", "--expr", "full", "--q", "9", option, value,
                command="mask")
    for value in ("8", "512"):
        refused("block", rf"{option}: '{value}' is not a whole number from 16 to 256", "--expr", "full", "--q", "9",
                option, value, command="mask")
for option in ("--q-pos0", "--kv-pos0"):
    for value in ("x", "1.5", "99999999999", "1073741824", "-1073741824", "2147483647"):
        refused("position", r"pos", "--expr", "full", "--q", "9", option, value, command="mask")
# 4.1 GiB, asked for before any of it is written; and twice the queries, where one array is beyond the limit
for tokens in (501000, 1000000):
    refused("table beyond 4 GiB", r"no memory for \d{9,} blocks of a table: fewer queries, or larger blocks, would do",
            "--expr", "causal", "--q", tokens, "--kv", tokens, "--block-q", "16", "--block-kv", "16", command="mask")
refused("table beyond 2^32 blocks", r"lists 2\^32 blocks or more: fewer queries, or larger blocks, would do", "--expr",
        "causal", "--q", "1600000", "--kv", "1600000", "--block-q", "16", "--block-kv", "16", command="mask")
refused("picture nowhere", r"--png none/x.png: (cannot be written|this build has no cairo)", "--expr", "full", "--q", "9",
        "--png", "none/x.png", command="mask")
finish()
