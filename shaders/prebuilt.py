#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SPIR-V made elsewhere, for hosts whose GLSL compiler is too old or missing (docs/building.md).

    prebuilt.py collect --shaders DIR --words DIR --made-by TEXT --out DIR [--absent NAME:WHY]...
        every row's words out of a build folder into NAME.spv and manifest.json; --prebuilt DIR
        takes the TEXT from the manifest there
    prebuilt.py dist ...
        the same as a script of `meson dist`: builds the words first, DIR lies in the archive
    prebuilt.py status --shaders DIR --prebuilt DIR
        a line for each row: NAME, a tab, and why it cannot be used, or nothing
    prebuilt.py words --shaders DIR --prebuilt DIR --row NAME --out FILE.h [--depfile FILE.d]
        one row as a C initialiser, as compile.py writes it

A row's key is a hash of what it is made of: its options, its file and all that includes. Another key
than the manifest's means another kernel, which is refused.
"""
import argparse
import array
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from compile import read_words, split_options, write_words  # noqa: E402

FORMAT = 1
MANIFEST = "manifest.json"
# Raised when compile.py makes other SPIR-V of the same sources.
RECIPE = "recipe 1"
ROW = re.compile(r'^KERNEL\(\s*(\w+)\s*,\s*([\w.]+)\s*,.*"([^"]*)"\s*\)$')
INCLUDE = re.compile(rb'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def read_rows(shaders):
    rows = {}
    for line in (shaders / "kernels.def").read_text(encoding="utf-8").splitlines():
        found = ROW.match(line.strip())
        if found:
            rows[found.group(1)] = (found.group(2), found.group(3).split())
    return rows


def read_sources(shaders, name):
    """The file and everything it may include, whatever the conditions around that say."""
    found, todo = {}, [name]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        path = next((p for p in (shaders / name, shaders / "lib" / name) if p.is_file()), None)
        if path is None:
            sys.exit(f"{name}: neither in {shaders} nor in its lib/")
        # Line ends are the checkout's own business.
        found[name] = (path, path.read_bytes().replace(b"\r\n", b"\n"))
        todo += [n.decode() for n in INCLUDE.findall(found[name][1])]
    return found


def key_of(row, sources):
    digest = hashlib.sha256()
    defines, env, val = split_options(row[1])
    for text in [RECIPE, row[0], env] + defines + val:
        digest.update(text.encode() + b"\0")
    for name in sorted(sources):
        digest.update(f"{name}\0{len(sources[name][1])}\0".encode() + sources[name][1])
    return digest.hexdigest()


def read_manifest(folder):
    """The manifest, or a string that says what is wrong with it."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT:
            return f"{path} has format {manifest['format']}: expected {FORMAT}"
        if not isinstance(manifest["rows"], dict):
            return f"{path} has no rows"
        return manifest
    except OSError as e:
        return f"{path}: {e.strerror}"
    except (ValueError, KeyError, TypeError):
        return f"{path} is damaged"


def reason(shaders, folder, manifest, name, row):
    """Why the row cannot be used, "" if it can; and the sources it was compared with."""
    sources = read_sources(shaders, row[0])
    if isinstance(manifest, str):
        return manifest, sources
    entry, path = manifest["rows"].get(name), folder / f"{name}.spv"
    if not isinstance(entry, dict):
        return f"{folder} has no {name}", sources
    if entry.get("key") != key_of(row, sources):
        return f"{path} is stale: its sources or options have changed since", sources
    try:
        data = path.read_bytes()
    except OSError as e:
        return f"{path}: {e.strerror}", sources
    if entry.get("sha256") != hashlib.sha256(data).hexdigest():
        return f"{path} is damaged: its hash is not the manifest's", sources
    return "", sources


def header_bytes(path):
    """SPIR-V again out of a header that write_words made; little endian, as it is everywhere."""
    words = array.array("I", (int(w, 16) for w in path.read_text(encoding="ascii").replace(
        "\n", "").split(",")))
    if sys.byteorder == "big":
        words.byteswap()
    return words.tobytes()


def collect(args):
    absent = [a.split(":", 1) for a in args.absent]
    if absent:
        name, why = absent[0]
        sys.exit(f"error: {len(absent)} kernels of this build have no SPIR-V, {name} for one: {why}. "
                 "An archive carries all of them: configure with a newer glslang first in PATH, or "
                 "with -Dprebuilt_shaders=DIR of a build that has one (ninja prebuilt-shaders)")
    shaders, out = pathlib.Path(args.shaders), pathlib.Path(args.out)
    made_by = args.made_by
    if args.prebuilt:
        manifest = read_manifest(pathlib.Path(args.prebuilt))
        made_by = manifest.get("made_by") if isinstance(manifest, dict) else None
    out.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: what lies there is replaced when everything is made.
    with tempfile.TemporaryDirectory(dir=out.parent) as work:
        new, entries = pathlib.Path(work) / "new", {}
        new.mkdir()
        for name, row in sorted(read_rows(shaders).items()):
            data = header_bytes(pathlib.Path(args.words) / f"{name}.spv.h")
            (new / f"{name}.spv").write_bytes(data)
            entries[name] = {"key": key_of(row, read_sources(shaders, row[0])),
                             "sha256": hashlib.sha256(data).hexdigest()}
        manifest = {"format": FORMAT, "made_by": made_by, "rows": entries}
        (new / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        if out.exists():
            shutil.move(out, pathlib.Path(work) / "old")
        shutil.move(new, out)
    print(f"{len(entries)} kernels in {out}, made by {made_by}")


def dist(args):
    """meson dist: the archive's own folder, from words that are up to date with the archive."""
    if not args.absent:
        ninja = next(filter(None, map(shutil.which, ("ninja", "ninja-build", "samu"))), "ninja")
        build = os.environ["MESON_BUILD_ROOT"]
        made = pathlib.Path(os.path.relpath(args.words, build))
        subprocess.run([ninja, "-C", build, "--quiet"] +
                       [(made / f"{name}.spv.h").as_posix() for name in read_rows(
                           pathlib.Path(args.shaders))], check=True)
    root = pathlib.Path(os.environ["MESON_PROJECT_DIST_ROOT"]) / "shaders"
    # An archive of a commit, words of the tree: a tree with changes would make an archive whose own
    # SPIR-V is stale in it.
    here = pathlib.Path(args.shaders)
    for name, row in read_rows(here).items():
        if read_rows(root).get(name) != row or key_of(row, read_sources(here, row[0])) != key_of(
                row, read_sources(root, row[0])):
            sys.exit(f"error: {name} is another kernel in the archive than in the tree: commit first")
    args.out = root / "prebuilt"
    collect(args)


def status(args):
    shaders, folder = pathlib.Path(args.shaders), pathlib.Path(args.prebuilt)
    manifest = read_manifest(folder)
    for name, row in read_rows(shaders).items():
        print(f"{name}\t{reason(shaders, folder, manifest, name, row)[0]}")


def words(args):
    shaders, folder = pathlib.Path(args.shaders), pathlib.Path(args.prebuilt)
    row = read_rows(shaders)[args.row]
    why, sources = reason(shaders, folder, read_manifest(folder), args.row, row)
    if why:
        sys.exit(f"error: {why}")
    spirv = folder / f"{args.row}.spv"
    write_words(read_words(spirv), args.out)
    if args.depfile:
        paths = [str(p) for p, _ in sources.values()] + [str(spirv), str(folder / MANIFEST)]
        with open(args.depfile, "w", encoding="utf-8") as f:
            f.write(f"{args.out}: " + " ".join(p.replace(" ", "\\ ") for p in paths) + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("step", choices=["collect", "dist", "status", "words"])
    for name in ("shaders", "words", "made-by", "out", "prebuilt", "row", "depfile"):
        parser.add_argument("--" + name)
    parser.add_argument("--absent", action="append", default=[])
    args = parser.parse_args()
    {"collect": collect, "dist": dist, "status": status, "words": words}[args.step](args)


if __name__ == "__main__":
    main()
