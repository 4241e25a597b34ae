"""
Mutants of a module: its source with one small change each, the kind of slip that a test should notice.

Left alone, because a change there is no change of behaviour: annotations, docstrings, decorators, type declarations
(`NewType`, what stands under `TYPE_CHECKING`), and the wording of messages in `raise`.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}

WIDEST = 90
"""Characters of code in the name of a mutant."""

Change = Callable[[Any], Any]
"""Takes a copy of a node and returns what stands in its place; None where a statement goes."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed module: `where` (`sealer.Sealer.open`), `line` and `what` say how, `source` is the whole changed text."""

    where: str
    line: int
    what: str
    source: str

    @property
    def module(self) -> str:
        return self.where.split(".")[0]

    @property
    def name(self) -> str:
        return f"{self.where}:{self.line} {self.what}"


def mutants_of(module: str, source: str) -> list[Mutant]:
    """Every mutant of a module, in order of lines; two changes that give the same code are one mutant."""
    tree = ast.parse(source)
    skipped, owners = _skipped(tree), _owners(tree, module)
    found: dict[str, Mutant] = {ast.unparse(tree): Mutant(module, 0, "unchanged", source)}
    for place, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        for change in _changes(node):
            changed = copy.deepcopy(tree)
            target = next(each for number, each in enumerate(ast.walk(changed)) if number == place)
            before = ast.unparse(target)
            replacement = change(target)
            _replace(changed, target, replacement)
            text = ast.unparse(ast.fix_missing_locations(changed))
            what = _shown(before, ast.unparse(replacement) if replacement else None)
            found.setdefault(text, Mutant(owners[id(node)], getattr(node, "lineno", 0), what, text))
    return sorted(list(found.values())[1:], key=lambda mutant: (mutant.line, mutant.what))


def _shown(before: str, after: str | None) -> str:
    """The change in words: both texts, or what differs in them with a little around it where they are long."""
    before = " ".join(before.split())
    if after is None:
        return f"{_cut(before)} -> nothing"
    after = " ".join(after.split())
    if len(before) <= WIDEST:
        return f"{before} -> {after}"
    same = _same_letters(before, after)
    same_behind = min(_same_letters(before[::-1], after[::-1]), min(len(before), len(after)) - same)
    start, end = max(0, same - 20), max(0, same_behind - 20)
    was, is_now = (text[start : len(text) - end] for text in (before, after))
    return f"{_cut(before, 30)}: {was} -> {is_now}"


def _same_letters(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _cut(text: str, width: int = WIDEST) -> str:
    return text if len(text) <= width else f"{text[:width]} ..."


def _owners(tree: ast.AST, module: str) -> dict[int, str]:
    """The function or class that each node, by identity, stands in."""
    found = {id(tree): module}
    for node in ast.walk(tree):
        for inner in ast.iter_child_nodes(node):
            inside = isinstance(inner, ast.FunctionDef | ast.ClassDef)
            found[id(inner)] = f"{found[id(node)]}.{inner.name}" if inside else found[id(node)]
    return found


def _skipped(tree: ast.AST) -> set[int]:
    """The nodes, by identity, whose change nothing at run time would show."""
    roots: list[ast.AST] = []
    for node in ast.walk(tree):
        match node:
            case ast.AnnAssign():
                roots.append(node.annotation)
            case ast.arg(annotation=ast.AST() as annotation):
                roots.append(annotation)
            case ast.FunctionDef() | ast.ClassDef():
                roots += node.decorator_list
                roots += [node.returns] if isinstance(node, ast.FunctionDef) and node.returns else []
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                roots.append(node)
            case ast.Expr(value=ast.Constant()):
                roots.append(node)
            case ast.Assign(value=ast.Call(func=ast.Name(id="NewType"))):
                roots.append(node)
            case ast.Raise(exc=ast.Call(args=[ast.Constant() as message, *_])):
                roots.append(message)
            case ast.Raise(cause=ast.AST() as cause):
                roots.append(cause)
    return {id(inner) for root in roots for inner in ast.walk(root)}


def _changes(node: ast.AST) -> list[Change]:
    made = [change for kind, changes in _CHANGES.items() if isinstance(node, kind) for change in changes(node)]
    if isinstance(node, ast.Expr | ast.Raise | ast.Continue | ast.AugAssign):
        made.append(lambda _: None)
    return made


def _of_constant(node: ast.Constant) -> Iterator[Change]:
    if node.value is not None and node.value is not ...:
        yield lambda it: _with(it, value=_other(it.value))


def _of_compare(node: ast.Compare) -> Iterator[Change]:
    for number, operator in enumerate(node.ops):
        for other in _COMPARED[type(operator)]:
            yield lambda it, at=number, other=other: _with(it, ops=[*it.ops[:at], other(), *it.ops[at + 1 :]])


def _of_bool_op(node: ast.BoolOp) -> Iterator[Change]:
    yield lambda it: _with(it, op=ast.Or() if isinstance(it.op, ast.And) else ast.And())
    yield from _dropped(node, "values")


def _of_not(node: ast.UnaryOp) -> Iterator[Change]:
    if isinstance(node.op, ast.Not):
        yield lambda it: it.operand


def _of_computation(node: ast.BinOp | ast.AugAssign) -> Iterator[Change]:
    if type(node.op) in _COMPUTED:
        yield lambda it: _with(it, op=_COMPUTED[type(it.op)]())


def _of_choice(_node: ast.IfExp) -> Iterator[Change]:
    yield lambda it: it.body
    yield lambda it: it.orelse


def _of_if(_node: ast.If) -> Iterator[Change]:
    yield lambda it: _with(it, test=ast.Constant(True))
    yield lambda it: _with(it, test=ast.Constant(False))


def _of_return(node: ast.Return) -> Iterator[Change]:
    if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
        yield lambda it: _with(it, value=ast.Constant(None))


def _of_handler(node: ast.ExceptHandler) -> Iterator[Change]:
    for number in range(len(node.type.elts) if isinstance(node.type, ast.Tuple) else 0):
        yield lambda it, number=number: _with(it, type=_without(it.type, "elts", number))


def _of_set(node: ast.Set) -> Iterator[Change]:
    yield from _dropped(node, "elts") if len(node.elts) > 1 else ()


def _of_call(node: ast.Call) -> Iterator[Change]:
    yield from _dropped(node, "keywords")


def _of_case(node: ast.match_case) -> Iterator[Change]:
    if node.guard is not None:
        yield lambda it: _with(it, guard=None)


def _of_comprehension(node: ast.comprehension) -> Iterator[Change]:
    yield from _dropped(node, "ifs")


def _dropped(node: ast.AST, field: str) -> Iterator[Change]:
    for number in range(len(getattr(node, field))):
        yield lambda it, number=number: _without(it, field, number)


_CHANGES: dict[Any, Callable[[Any], Iterator[Change]]] = {
    ast.Constant: _of_constant,
    ast.Compare: _of_compare,
    ast.BoolOp: _of_bool_op,
    ast.UnaryOp: _of_not,
    ast.BinOp | ast.AugAssign: _of_computation,
    ast.IfExp: _of_choice,
    ast.If: _of_if,
    ast.Return: _of_return,
    ast.ExceptHandler: _of_handler,
    ast.Set: _of_set,
    ast.Call: _of_call,
    ast.match_case: _of_case,
    ast.comprehension: _of_comprehension,
}


def _other(value: object) -> object:
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "~"
        case bytes():
            return value + b"~"
    raise TypeError(type(value))


def _with(node: Any, **fields: Any) -> Any:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _without(node: Any, field: str, number: int) -> Any:
    parts = getattr(node, field)
    left = [*parts[:number], *parts[number + 1 :]]
    if isinstance(node, ast.BoolOp) and len(left) == 1:
        return left[0]
    return _with(node, **{field: left})


def _replace(tree: ast.AST, target: ast.AST, replacement: ast.AST | None) -> None:
    """Put `replacement`, or `pass` for None, where `target` stands."""
    new = ast.Pass() if replacement is None else replacement
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is target:
                setattr(parent, name, new)
                return
            if isinstance(value, list):
                for number, each in enumerate(value):
                    if each is target:
                        value[number] = new
                        return
