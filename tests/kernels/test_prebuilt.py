#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""shaders/prebuilt.py on a table of two rows: what it packs comes back word for word, and what is
stale, damaged or missing is refused by name. Needs no GLSL compiler."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = sys.argv.pop(1)
HEADERS = {"one": "0x07230203,0x00010300,\n0x00000001\n", "two": "0x07230203,0x0000abcd\n"}


class Prebuilt(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        (self.root / "lib").mkdir()
        self.table()
        self.write("a.comp", '#version 450\n#include "deep.glsl"\n')
        self.write("b.comp", "#version 450\n")
        self.write("lib/deep.glsl", '#if 0\n#include "deeper.glsl"\n#endif\n')
        self.write("lib/deeper.glsl", "int x;\n")
        for name, text in HEADERS.items():
            self.write(f"{name}.spv.h", text)
        self.packed = self.root / "packed"
        self.assertEqual(self.run_step("collect", "--words", self.root, "--made-by", "X 1", "--out",
                                       self.packed).returncode, 0)

    def tearDown(self):
        self.folder.cleanup()

    def table(self, options="-DKV_TYPE=2"):
        self.write("kernels.def", f'KERNEL(one, a.comp, NONE, 0, 0, "{options}")\n'
                                  'KERNEL(two, b.comp, some_probe, A | B, 0, "")\n')

    def write(self, name, text):
        (self.root / name).write_text(text, encoding="utf-8", newline="")

    def run_step(self, step, *options):
        return subprocess.run([sys.executable, SCRIPT, step, "--shaders", self.root] + list(options),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def status(self):
        result = self.run_step("status", "--prebuilt", self.packed)
        self.assertEqual(result.returncode, 0, result.stdout)
        return dict(line.split("\t") for line in result.stdout.splitlines())

    def refused(self, word, row="one"):
        self.assertIn(word, self.status()[row])
        out = self.root / "out.h"
        result = self.run_step("words", "--prebuilt", self.packed, "--row", row, "--out", out)
        self.assertEqual(result.returncode, 1)
        self.assertIn(word, result.stdout)
        self.assertFalse(out.exists())

    def test_round_trip(self):
        self.assertEqual(self.status(), {"one": "", "two": ""})
        for row, text in HEADERS.items():
            out, deps = self.root / "out.h", self.root / "out.d"
            result = self.run_step("words", "--prebuilt", self.packed, "--row", row, "--out", out,
                                   "--depfile", deps)
            self.assertEqual(result.returncode, 0, result.stdout)
            self.assertEqual(out.read_text().replace("\n", ""), text.replace("\n", ""))
            self.assertEqual("deeper.glsl" in deps.read_text(), row == "one")
        self.assertEqual((self.packed / "two.spv").read_bytes().hex(), "03022307cdab0000")

    def test_line_ends_do_not_count(self):
        self.write("lib/deeper.glsl", "int x;\r\n")
        self.assertEqual(self.status()["one"], "")

    def test_an_include_of_an_include_changes(self):
        self.write("lib/deeper.glsl", "int y;\n")
        self.refused("stale")
        self.assertEqual(self.status()["two"], "")

    def test_options_change(self):
        self.table("-DKV_TYPE=3")
        self.refused("stale")

    def test_damage(self):
        self.write("packed/one.spv", "????")
        self.refused("damaged")

    def test_missing(self):
        (self.packed / "one.spv").unlink()
        self.refused("No such file")
        manifest = json.loads((self.packed / "manifest.json").read_text())
        del manifest["rows"]["two"]
        self.write("packed/manifest.json", json.dumps(manifest))
        self.refused("has no two", "two")

    def test_manifest(self):
        self.write("packed/manifest.json", '{"format": 1')
        self.refused("damaged")
        self.write("packed/manifest.json", '{"format": 2, "rows": {}}')
        self.refused("format 2")

    def test_absent_rows_make_no_folder(self):
        out = self.root / "other"
        result = self.run_step("collect", "--words", self.root, "--made-by", "X 1", "--out", out,
                               "--absent", "two:X 1 has no GL_Y")
        self.assertEqual(result.returncode, 1)
        self.assertIn("two for one: X 1 has no GL_Y", result.stdout)
        self.assertFalse(out.exists())


if __name__ == "__main__":
    unittest.main()
