"""Runs the documents: the commands of their blocks, in the order of the text, as a reader would.

A document's commands share one shell and one folder. Where a console block shows output, what comes must
have the same shape: the same lines, but for numbers, paths and the rows of tables, which are the machine's.

README, tutorial and catalogue start and end a stack of their own. The others speak of a stack that is
there: one with a model `best` and collections `shop` and `shop-2` of drawn products.
"""

import os
import re
import shutil
import subprocess
import unittest

import blocks
import kindred

# Smaller numbers than a reader takes, and what stands for something of the reader's own.
INSTEAD = {
    "README.md": [
        ("kindred-draw products ", "kindred-draw --products 2 --size 64 products "),
        ("kindred model init --name plain ", "kindred model init --name plain --image-size 32 "),
        ("--image-size 96 --epochs 8", "--image-size 32 --epochs 1"),
    ],
    "docs/tutorial.md": [
        ("--size 96", "--size 64"), ("--image-size 64", "--image-size 32"), ("--epochs 8", "--epochs 1")],
    "docs/catalogue.md": [
        ("--size 96", "--size 64"), ("--image-size 64", "--image-size 32"), ("--epochs 8", "--epochs 1")],
    "docs/operating.md": [("shop FILE ", 'shop "$(ls "$DATA/snapshots")" ')],
    "docs/http.md": [
        ("127.0.0.1:7780", "$HTTP"), ('"/data/photos"', '"\'"$PWD"\'/products"'), ("jobs/ID/", "jobs/$JOB/")],
}
MARK = "=== block "
SHOWN = 60  # lines of a document's errors


def shape(text):
    """Lines without what differs from machine to machine and run to run."""
    rows = False
    lines = []
    for line in text.strip().splitlines():
        words = line.split()
        rows = bool(words) and (rows or re.fullmatch(r"[A-Z][A-Z0-9@ -]+", line.strip()) is not None)
        if rows:
            lines.append("a row" if re.search(r"[a-z0-9]", line) else " ".join(words))
        else:
            lines.append(" ".join("#" if re.search(r"[\d/…]", word) else word for word in words))
    return lines


class Documents(unittest.TestCase):
    maxDiff = None

    def work(self, name, stack):
        """A folder for the document's commands, and their environment."""
        place = stack.data.parent / "work"
        place.mkdir(exist_ok=True)
        env = {key: value for key, value in os.environ.items() if not key.startswith("KINDRED_")}
        env.update(PATH=f"{kindred.BIN}:{env['PATH']}", XDG_DATA_HOME=str(stack.data.parent),
                   DATA=str(stack.data), LC_ALL="C.UTF-8")
        self.assertIn(name, blocks.RUN)
        return place, env

    def follow(self, name, stack, **more):
        """Runs all of a document's blocks that aren't illustrations."""
        place, env = self.work(name, stack)
        text = (blocks.SOURCE / name).read_text(encoding="utf-8")
        parts = []  # (block, what to run, output or None)
        for block in blocks.blocks(name, text):
            if block.kind == "python" and not block.illustration:
                parts.append((block, f"/usr/bin/python3 - <<'END'\n{block.text}END", None))
            elif not block.illustration:
                parts += [(block, command, output) for command, output in block.commands()]
        self.assertTrue(parts, f"{name} has nothing to run")
        script = "curl() { command curl --silent --show-error --fail-with-body \"$@\"; }\n"
        script += "".join(f"printf '\\n{MARK}{i}\\n'; echo '{MARK}{block}' >&2\n{command}\n"
                          for i, (block, command, _) in enumerate(parts))
        for old, new in INSTEAD.get(name, []):
            self.assertIn(old, script, f"{name} no longer says what is replaced here")
            script = script.replace(old, new)
        done = subprocess.run(["bash", "-eu", "-o", "pipefail", "-c", script], cwd=place,
                              env={**env, **more}, check=False, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=400)
        told = "\n".join([*done.stdout.splitlines()[-10:], *done.stderr.splitlines()[-SHOWN:]])
        self.assertEqual(done.returncode, 0, f"{name}:\n{told}")
        came = re.split(rf"^{MARK}\d+\n", done.stdout, flags=re.MULTILINE)[1:]
        self.assertEqual(len(came), len(parts))
        for (block, command, output), printed in zip(parts, came):
            if output is not None:
                with self.subTest(str(block), command=command):
                    self.assertEqual(shape(printed), shape(output), printed)

    def test_readme(self):
        self.follow("README.md", kindred.Stack("readme/kindred"))

    def test_tutorial(self):
        self.follow("docs/tutorial.md", kindred.Stack("tutorial/kindred"))

    def test_catalogue(self):
        self.follow("docs/catalogue.md", kindred.Stack("catalogue/kindred"))

    def test_what_speaks_of_a_stack_that_is_there(self):
        stack = kindred.Stack("there/kindred").up()
        place = stack.data.parent / "work"
        place.mkdir()
        products = kindred.draw(place / "products", products=2, views=10, size=64)
        photo = kindred.listing(products, "test")[0][3]
        for name in ("photo.jpg", "chair.jpg", "a.jpg", "b.jpg"):
            shutil.copy(products / photo, place / name)
        stack.ok("model", "init", "--name", "best", "--image-size", 32)
        for name in ("shop", "shop-2"):
            job = stack.ok("index", products, "--model", "best", "--collection", name)["id"]
        stack.ok("collection", "alias", "live", "shop")
        http = stack.facts()["services"]["gateway"]["http"]
        for name in ("search", "collections", "exchange", "http", "operating"):
            with self.subTest(name):
                self.follow(f"docs/{name}.md", stack, HTTP=http, JOB=job)
        stack.down()

    def test_a_difference_is_noticed(self):
        said = "collection shop: 576 images indexed with model trained\nRANK  SCORE\n   1  0.99\n"
        self.assertEqual(shape(said), shape(said.replace("576", "12").replace("0.99", "0.1")))
        for other in (said.replace("indexed", "added"), said.replace("SCORE", "POINTS"), said + "   2  0.98\n"):
            self.assertNotEqual(shape(said), shape(other))


if __name__ == "__main__":
    kindred.main()
