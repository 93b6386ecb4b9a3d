"""What the documents say, without running it: blocks are run or marked, commands and options are there, links
lead somewhere, and what is made from the protos is up to date."""

import functools
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import unittest

import blocks

BIN = pathlib.Path(os.environ["KINDRED_BIN"])
TEXTS = blocks.documents()
KINDS = (*blocks.COMMANDS, "json", "")
SHELL = {"do", "then", "else", "!", "|", "||", "&&", ";", "(", "$("}


@functools.cache
def help_of(program, *command):
    run = subprocess.run([BIN / program, *command, "--help"], check=False, capture_output=True, text=True)
    return run.stdout if run.returncode == 0 else None


def complaint(words):
    """What is wrong with the command that these words are, or None."""
    program, *rest = words
    command = []
    while program == "kindred" and rest and (not command or "\nCommands:\n" in (help_of(program, *command) or "")):
        if not re.fullmatch(r"[a-z][a-z-]*", rest[0]):
            break
        command.append(rest.pop(0))
    text = help_of(program, *command)
    if text is None or (command and f"Usage: {' '.join([program, *command])}" not in text):
        return f"there is no command {' '.join([program, *command])}"
    there = set(re.findall(r"(?m)^ +(?:(-\w), )?(--[a-z0-9-]+)?", text))
    options = {option for pair in there for option in pair} | {"--help", "--version"}
    for word in rest:
        option = re.match(r"--[a-z0-9-]+|-[a-zA-Z]\b", word)
        if option and option[0] not in options:
            return f"{' '.join([program, *command])} has no option {option[0]}"
    return None


def commands_in(shell):
    """The words of each command of ours in a piece of shell, one list each."""
    lexer = shlex.shlex(re.sub(r"\\\n", " ", shell).replace("\n", "\n; "), posix=True, punctuation_chars="|&;()")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    found, words = [], []
    for token in [*lexer, ";"]:
        if set(token) <= set("|&;()"):
            while words and (words[0] in SHELL or re.match(r"\w+=", words[0])):
                words.pop(0)
            if words and (words[0] == "kindred" or words[0].startswith("kindred-")):
                found.append(words)
            words = []
        else:
            words.append(token)
    return found


def slug(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower().strip()).replace(" ", "-")


def headings(text):
    return re.findall(r"(?m)^#+ (.*)$", blocks.prose(text))


class Blocks(unittest.TestCase):
    def test_each_is_run_or_says_that_it_is_an_illustration(self):
        for name, text in TEXTS.items():
            self.assertEqual(len(re.findall(r"(?m)^```", text)) % 2, 0, f"{name}: a fence is not closed")
            for block in blocks.blocks(name, text):
                with self.subTest(str(block)):
                    self.assertIn(block.kind, KINDS)
                    if block.kind in blocks.COMMANDS and not block.illustration:
                        self.assertEqual(len(block.words), 1, "what stands behind the fence")
                        self.assertTrue(name in blocks.RUN or name in blocks.ELSEWHERE,
                                        "no test runs this block: mark it ```sh illustration")
                    if not block.kind:
                        self.assertNotRegex(block.text, r"(?m)^(\$ |kindred |curl |make )",
                                            "a command in a block that is none: ```sh")

    def test_those_that_another_test_runs_are_read_by_it(self):
        for name, test in blocks.ELSEWHERE.items():
            self.assertIn(pathlib.PurePath(name).name, (blocks.SOURCE / test).read_text(encoding="utf-8"))
            self.assertIn(name, TEXTS)

    def test_commands_and_options_are_there(self):
        seen = 0
        for name, text in TEXTS.items():
            shell = [(str(block), part) for block in blocks.blocks(name, text) for part, _ in block.commands()]
            shell += [(f"{name}, in the text", code) for code in re.findall(r"`(kindred [^`]+)`", blocks.prose(text))
                      if not re.search(r"[…\[{|]", code)]
            for place, part in shell:
                for words in commands_in(part):
                    seen += 1
                    with self.subTest(place, command=" ".join(words)):
                        self.assertIsNone(complaint(words))
        self.assertGreater(seen, 100)

    def test_make_has_the_targets(self):
        targets = (blocks.SOURCE / "Makefile").read_text(encoding="utf-8")
        for name, text in TEXTS.items():
            for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.MULTILINE):
                rule = "bench-%" if target.startswith("bench-") else target
                self.assertRegex(targets, rf"(?m)^(?:[\w-]+ )*{rule}(?: [\w-]+)*:", f"{name}: make {target}")

    def test_a_wrong_command_is_noticed(self):
        wrong = "kindred serch x --collection shop\nkindred search x --colection shop | kindred job lst\n" \
                "X=1 kindred-draw --sise 3 out"
        self.assertEqual(len([words for words in commands_in(wrong) if complaint(words)]), 4)
        right = "for i in 1 2; do kindred search x -k 5 \\\n  --where 'a<=3'; done # kindred nonsense"
        self.assertEqual([complaint(words) for words in commands_in(right)], [None])


class Links(unittest.TestCase):
    def test_each_leads_to_a_file_and_a_heading(self):
        for name, text in TEXTS.items():
            for link in re.findall(r"\]\(([^)\s]+)\)", blocks.prose(text)):
                if re.match(r"[a-z]+:", link):
                    continue
                path, _, anchor = link.partition("#")
                target = (blocks.SOURCE / name).parent / path if path else blocks.SOURCE / name
                with self.subTest(name, link=link):
                    self.assertTrue(target.exists(), "there is no such file")
                    if anchor:
                        there = [slug(one) for one in headings(target.read_text(encoding="utf-8"))]
                        self.assertEqual(there.count(anchor), 1, "one heading has this anchor")

    def test_paths_in_the_text_are_there(self):
        for name, text in TEXTS.items():
            for path in re.findall(r"`((?:docs|lib|services|proto|tests|tools|deploy|bench)/[\w./-]+)`", text):
                with self.subTest(name, path=path):
                    path = re.sub(r"/NAME\.\w+$", "", path)
                    self.assertTrue((blocks.SOURCE / path).exists(), "there is no such file")

    def test_the_index_has_every_document(self):
        linked = set(re.findall(r"\]\(([\w-]+\.md)\)", TEXTS["docs/README.md"]))
        there = {pathlib.PurePath(name).name for name in TEXTS if name.startswith("docs/")} - {"README.md"}
        self.assertEqual(linked, there)


class Reference(unittest.TestCase):
    def test_each_metric_is_defined(self):
        proto = (blocks.SOURCE / "proto/kindred/v1/gateway.proto").read_text(encoding="utf-8")
        message = re.search(r"message Metrics \{(.*?)^\}", proto, re.DOTALL | re.MULTILINE)[1]
        fields = re.findall(r"(?m)^  \w+ (\w+) = \d+;", message)
        self.assertGreater(len(fields), 15)
        for field in fields:
            self.assertIn(f"`{field}`", TEXTS["docs/metrics.md"])

    def test_docs_protos_is_what_the_protos_say(self):
        with tempfile.TemporaryDirectory() as work:
            made = pathlib.Path(work, "protos.md")
            subprocess.run([sys.executable, blocks.SOURCE / "tools" / "docs" / "protos.py", made], check=True)
            self.assertEqual(made.read_text(encoding="utf-8"), TEXTS["docs/protos.md"],
                             "docs/protos.md is out of date: make docs")


unittest.main(verbosity=2)
