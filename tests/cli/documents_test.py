"""The manual page and the completion say what the command's own --help says."""

import os
import pathlib
import re
import shutil
import subprocess
import unittest

SOURCE = pathlib.Path(__file__).parents[2]
BIN = pathlib.Path(os.environ["KINDRED_BIN"])
PAGE = BIN.parent / "share/man/man1/kindred.1"


def kindred(*args):
    return subprocess.run([BIN / "kindred", *args], check=True, capture_output=True, text=True).stdout


def completed(*words):
    """What the shell offers for the last of the words."""
    script = f"""source {BIN.parent}/share/bash-completion/completions/kindred
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _kindred; printf '%s\\n' "${{COMPREPLY[@]}}" """
    run = subprocess.run(["bash", "-c", script, "bash", BIN / "kindred", *words], check=True,
                         capture_output=True, text=True)
    return run.stdout.split()


class Page(unittest.TestCase):
    def test_the_page_has_every_command_and_option(self):
        page = PAGE.read_text(encoding="utf-8").replace("\\-", "-")
        for noun in re.findall(r"^  ([a-z][a-z-]*) ", kindred("--help"), re.MULTILINE):
            self.assertRegex(page, rf"(?m)^\.SS {noun}\b")
        for command in (("search",), ("train",), ("collection", "add"), ("up",)):
            section = page.partition(f".SS {' '.join(command)}\n")[2].partition("\n.SS ")[0]
            own = kindred(*command, "--help").partition("Options of every command:")[0]
            wanted = re.findall(r"(?m)^ {2,6}(?:-\w, )?(--[a-z0-9-]+)", own)
            self.assertGreater(len(wanted), 1, own)
            for option in wanted:
                self.assertIn(option, section)

    @unittest.skipUnless(shutil.which("groff"), "groff is not there")
    def test_the_page_is_one_that_troff_understands(self):
        said = subprocess.run(["groff", "-k", "-man", "-Tutf8", "-ww", PAGE], check=True, capture_output=True,
                              text=True)
        self.assertEqual(said.stderr, "")
        self.assertIn("User Commands", said.stdout)


class Completion(unittest.TestCase):
    def test_it_offers_commands_of_each_level(self):
        self.assertEqual(completed("coll"), ["collection"])
        self.assertEqual(completed("collection", "s"), ["show", "snapshot"])
        self.assertIn("import", completed("model", ""))

    def test_it_offers_options_behind_arguments(self):
        self.assertEqual(completed("search", "photo.jpg", "--min"), ["--min-score"])
        self.assertEqual(completed("collection", "add", "shop", "--attr"), ["--attribute"])

    def test_an_unknown_command_has_none(self):
        self.assertEqual(completed("nonsense", "--"), [])


unittest.main(verbosity=2)
