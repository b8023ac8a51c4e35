"""Code: what a function's compiled code does, as text, and the names that it reads."""

import bisect
import dataclasses
import dis
import functools
import hashlib
import json
import types
from typing import Any

#: Set in the body of a class by the compiler: where it stands and what it is called.
_ABOUT_CLASS = {"__doc__", "__firstlineno__", "__qualname__", "__module__"}
_READS_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
#: A method of a module is called in other instructions if the module is imported in the same cell.
_HOW_TO_CALL, _SAME = {"PUSH_NULL", "PRECALL", "EXTENDED_ARG", "CACHE"}, {"LOAD_METHOD": "LOAD_ATTR"}
#: What reads variables of the environment.
ENVIRONMENT = {"environ", "getenv"}
_READS_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR", "IMPORT_FROM"}


@dataclasses.dataclass(frozen=True)
class Reads:
    """What code reads by name, with that of the functions in it.

    Attributes:
        names: of globals.
        attributes: of whatever objects.
        imports: (level, module) of the `import` statements.
        rebound: names that it sets of those around it, or of functions in it.
        environment: variables of the environment; None among them: one that the code does not name.
    """

    names: frozenset[str]
    attributes: frozenset[str]
    imports: frozenset[tuple[int, str]]
    rebound: frozenset[str]
    environment: frozenset[str | None]


def digest(code: types.CodeType) -> str:
    """A hash of what compiled code does: without lines, comments and documentation, and the same in every process."""
    return hashlib.sha256(json.dumps(_steps(code)).encode()).hexdigest()[:12]


@functools.lru_cache(maxsize=1024)
def reads(code: types.CodeType) -> Reads:
    """The names that code reads."""
    names, attributes, imports, rebound, environment = set(), set(), set(), set(), set()
    steps = [step for step in dis.get_instructions(code) if step.opname not in _HOW_TO_CALL]
    for i, step in enumerate(steps):
        if step.opname in _READS_GLOBAL:
            names.add(step.argval)
        elif step.opname in _READS_ATTRIBUTE:
            attributes.add(step.argval)
        elif step.opname == "STORE_DEREF":
            rebound.add(step.argval)
        elif step.opname == "IMPORT_NAME":
            # Before it stand the level and what is imported from the module.
            imports.add((steps[i - 2].argval, step.argval))
            attributes.update(steps[i - 1].argval or ())
            attributes.update(step.argval.split("."))
        if step.opname in _READS_GLOBAL | _READS_ATTRIBUTE and step.argval in ENVIRONMENT:
            environment.add(_variable(steps, i))
    for inner in (reads(constant) for constant in code.co_consts if isinstance(constant, types.CodeType)):
        names |= inner.names
        attributes |= inner.attributes
        imports |= inner.imports
        environment |= inner.environment
    if "os" not in names and not names & ENVIRONMENT and not any(module == "os" for _, module in imports):
        environment.clear()
    return Reads(*map(frozenset, (names, attributes, imports, rebound, environment)))


def _variable(steps: list[dis.Instruction], i: int) -> str | None:
    """The variable of the environment that is read where `environ` or `getenv` is, if the code names it."""
    after = [step for step in steps[i + 1 : i + 3] if step.argval not in ("get", "copy")]
    if after and after[0].opname == "CONTAINS_OP":
        # `"A" in os.environ`, with `os` in between or not.
        after = [step for step in steps[max(i - 2, 0) : i] if step.opname == "LOAD_CONST"]
    named = bool(after) and after[0].opname == "LOAD_CONST" and isinstance(after[0].argval, str)
    return after[0].argval if named else None


def _steps(code: types.CodeType) -> list[Any]:
    """The instructions with their arguments resolved: places in tables move with the documentation."""
    whole = dis.Bytecode(code)
    steps: list[dis.Instruction] = []
    for step in whole:
        if step.opname == "STORE_NAME" and step.argval in _ABOUT_CLASS:
            steps.pop()
        elif step.opname not in _HOW_TO_CALL:
            steps.append(step)
    offsets = [step.offset for step in steps]
    found = []
    for step in steps:
        is_jump = step.opcode in dis.hasjrel or step.opcode in dis.hasjabs
        argument = bisect.bisect_left(offsets, step.argval) if is_jump else _constant(step.argval)
        found.append([_SAME.get(step.opname, step.opname), argument])
    entries: Any = getattr(whole, "exception_entries", ())
    handled = [
        [*(bisect.bisect_left(offsets, place) for place in (entry.start, entry.end, entry.target)), entry.depth]
        for entry in entries
    ]
    arguments = [code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _SIGNATURE]
    return [arguments, list(code.co_varnames), found, handled]


#: Whether there are *args and **kwargs, and whether it is a generator or a coroutine.
_SIGNATURE = 0x4 | 0x8 | 0x20 | 0x80 | 0x200


def _constant(value: Any) -> Any:
    if isinstance(value, types.CodeType):
        return _steps(value)
    if isinstance(value, tuple):
        return [_constant(item) for item in value]
    if isinstance(value, frozenset):
        return ["set", *sorted(json.dumps(_constant(item)) for item in value)]
    return [type(value).__name__, repr(value)]
