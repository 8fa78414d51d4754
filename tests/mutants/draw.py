"""Draw mutants of the method's files by a rule and a seed.

A mutant changes one comparison, sign, operator, truth value or number. The rule leaves out what no
test of behaviour should pin: annotations, messages of errors and warnings, texts, declarations of
parts, and the tables of settings (`knob`), whose defaults the generated reference page pins.

Candidates are ranked by a hash of the seed and of what they change, so that a line that is added
elsewhere leaves the sample as it is.
"""

from __future__ import annotations

import ast
import copy
import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "harmony_parts"
ROOMS = (
    *("branches", "denoisers", "interaction", "layers", "style"),
    *("tasks", "flow", "train", "data", "metrics"),
)
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
}
UNREAD = {"knob", "warn", "part", "Field", "RunError", "TypeVar", "print", "say"}


@attrs.frozen
class Mutant:
    """`old` becomes `new` in the `statement` at `line` of a file of the package.

    `place` is the number of the candidate among all of the file's.
    """

    file: str
    line: int
    statement: str
    old: str
    new: str
    place: int
    which: int  # of several equal changes of a statement

    @property
    def name(self) -> str:
        """What it is called in tables and in the list of equivalent mutants: no line number."""
        again = f" ({self.which + 1})" if self.which else ""
        return f"{self.file}: {self.statement}: {self.old} -> {self.new}{again}"

    def source(self) -> str:
        """The file with the change, without its comments."""
        tree = ast.parse((PACKAGE / self.file).read_text(encoding="utf-8"))
        node, field, changed = list(_changes(tree))[self.place][:3]
        assert ast.unparse(node) == self.old, f"{self.file} has changed since it was drawn"
        setattr(node, field, changed)
        return ast.unparse(ast.fix_missing_locations(tree))


def mutants(file: Path) -> list[Mutant]:
    """All mutants of a file, by the rule."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found, seen = [], Counter[tuple[str, str, str]]()
    for place, (node, field, changed, statement) in enumerate(_changes(tree)):
        old, text = ast.unparse(node), _text(statement)
        after = copy.copy(node)
        setattr(after, field, changed)
        key = (text, old, ast.unparse(after))
        name = file.relative_to(PACKAGE).as_posix()
        found.append(Mutant(name, node.lineno, *key, place, seen[key]))  # type: ignore[attr-defined]
        seen[key] += 1
    return found


def draw(room: str, count: int, seed: int) -> list[Mutant]:
    """`count` mutants of a folder's files, or all if there are fewer, in a random order."""
    files = [file for file in sorted((PACKAGE / room).glob("*.py")) if file.stem != "hooks"]
    every = [mutant for file in files for mutant in mutants(file)]
    return sorted(every, key=lambda m: hashlib.sha256(f"{seed}:{m.name}".encode()).digest())[:count]


def _changes(tree: ast.Module) -> Iterator[tuple[ast.AST, str, object, ast.stmt]]:
    """(node, field, its other value, statement) of each candidate, in the order of the file."""
    for statement in ast.walk(tree):
        if isinstance(statement, ast.stmt) and not isinstance(
            statement, ast.Raise | ast.Import | ast.ImportFrom | ast.Assert
        ):
            for node in _expressions(statement):
                for field, value in _others(node):
                    yield node, field, value, statement


def _expressions(node: ast.AST) -> Iterator[ast.expr]:
    """The expressions of a statement that decide what it computes, without inner statements."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.stmt | ast.JoinedStr):
                continue
            if isinstance(child, ast.Call) and _called(child) in UNREAD:
                continue
            if isinstance(child, ast.expr):
                yield child
            yield from _expressions(child)


def _called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _others(node: ast.expr) -> Iterator[tuple[str, object]]:
    """(field, other value) of an expression."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield "ops", [COMPARISONS[type(node.ops[0])]()]
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield "op", OPERATORS[type(node.op)]()
    elif isinstance(node, ast.BoolOp):
        yield "op", ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "op", ast.UAdd()
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "value", not node.value
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield "value", node.value + 1
    elif isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield "value", 2 * node.value if node.value else 1.0


def _text(statement: ast.stmt) -> str:
    """A statement in a line: of one with a body, its head."""
    head = copy.copy(statement)
    for body in ("body", "orelse", "handlers", "finalbody", "decorator_list"):
        if getattr(head, body, None):
            setattr(head, body, [])
    return " ".join(ast.unparse(head).split())[:160]
