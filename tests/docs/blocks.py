"""The documents' fenced blocks, and which test runs which.

A block of `sh`, `console` or `python` is run by a test, or says that it is not: ```sh illustration.
In a console block a line that begins with "$ " is a command, and what follows is its output.
"""

import dataclasses
import pathlib
import re

SOURCE = pathlib.Path(__file__).resolve().parents[2]
# run_test.py runs these, in the order of the text.
RUN = ("README.md", "docs/tutorial.md", "docs/catalogue.md", "docs/search.md", "docs/collections.md",
       "docs/exchange.md", "docs/operating.md", "docs/http.md")
# Other tests run these.
ELSEWHERE = {"docs/clients.md": "tests/e2e/collections_test.py"}
COMMANDS = ("sh", "console", "python")


@dataclasses.dataclass
class Block:
    """A fenced block: where it is, the words behind its fence, its text."""
    document: str
    line: int
    words: list
    text: str

    @property
    def kind(self):
        return self.words[0] if self.words else ""

    @property
    def illustration(self):
        return self.words[1:] == ["illustration"]

    def commands(self):
        """Of sh and console: (command, its output or None), continued lines joined."""
        if self.kind == "console":
            for part in re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]:
                command, output = re.match(r"((?:[^\n]*\\\n)*[^\n]*\n)(.*)", part, re.DOTALL).groups()
                yield command, output
        elif self.kind == "sh":
            yield self.text, None

    def __str__(self):
        return f"{self.document}:{self.line}"


def documents():
    """{path from the source's root: text} of all that people read."""
    paths = sorted([*SOURCE.glob("*.md"), *SOURCE.glob("docs/*.md")])
    return {str(path.relative_to(SOURCE)): path.read_text(encoding="utf-8") for path in paths}


def blocks(document, text):
    fences = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    return [Block(document, text.count("\n", 0, found.start()) + 1, found[1].split(), found[2])
            for found in fences.finditer(text)]


def prose(text):
    """The text without its blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
