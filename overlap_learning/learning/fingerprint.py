"""Fingerprints: what a run depends on, as text, so that another run can be told from it."""

import builtins
import contextlib
import copyreg
import decimal
import functools
import hashlib
import importlib
import importlib.util
import json
import os
import random
import sys
import types
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from overlap_learning.guides import guide
from overlap_learning.learning import code
from overlap_learning.learning.origins import by_name, is_made_up, library, this_package

#: jax's settings that change numbers.
SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_numpy_dtype_promotion",
    "jax_threefry_partitionable",
)
#: Names of versions: of a folder's files, and of what makes numbers.
_VERSIONS = {"schema", "overlap_learning", "python", "jax", "jaxlib"}
#: Texts and lists of numbers longer than this are entered as their hash.
_LONG = 120
#: More entries than this are no description any more.
_MOST = 200_000

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))
_CONTENTS = (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, complex, np.ndarray, deque)
_VIEWS = (type({}.keys()), type({}.values()), type({}.items()))
_SLOTS = (types.MemberDescriptorType, types.GetSetDescriptorType)
#: What classes and wrapped functions have of which no result depends.
_OF_NO_MATTER = {
    "__abstractmethods__", "__annotations__", "__annotate__", "__annotate_func__", "__annotations_cache__",
    "__classcell__", "__dict__", "__doc__", "__firstlineno__", "__module__", "__name__", "__orig_bases__",
    "__notes__", "__parameters__", "__qualname__", "__slotnames__", "__static_attributes__", "__weakref__", "_abc_impl",
}  # fmt: skip
#: Attributes of libraries' objects that fill with use.
_CACHES = {"_cache"}
#: What reads names that stand in no code: refused. What does so of one object: all of a module is looked at then.
_HIDDEN, _BY_TEXT = {"eval", "exec", "globals", "__import__"}, {"getattr", "vars", "attrgetter"}
_HIDDEN_ATTRIBUTES = {"import_module", "_getframe", "f_globals", "__globals__"}
_MODULES = {"sys", "modules"}
#: The same functions under whatever name they were given.
_HIDING = (eval, exec, globals, __import__, importlib.import_module, sys._getframe)
#: Under these names the code says which variable it reads.
_ENVIRONMENT = (os.environ, os.getenv)


def fingerprint(
    arguments: Mapping[str, Any], caller: str = "fingerprint", version: str | None = None
) -> dict[str, str]:
    """What a run depends on, as text by name: numbers as they are, arrays by their hash, functions by what they do.

    Two calls with the same fingerprint are the same run; where two differ, the names say in what. Followed are what a
    function closes over, its defaults and attributes, the globals and the attributes of modules that it reads, and so
    on through a person's own modules; the methods and attributes of own classes; and of any other object what its
    library would write down of it (what pickle and copy ask for). Libraries are entered by their version.

    Variables of the environment are entered where code names them, and decimal's context if it is not the default.
    Files and the clock are not seen.

    Args:
        arguments: by name.
        caller: the function that a person called.
        version: what that person says of all that can't be seen through; None: that is refused.

    Raises:
        ValueError: naming what can't be seen through, and where it is.
    """
    survey = _Survey(caller, version)
    found = survey.found
    found["python"] = f"{sys.version_info.major}.{sys.version_info.minor}"
    found["overlap_learning"] = this_package()
    for name in ("jax", "jaxlib"):
        found[name] = str(library(name))
    found |= {name: str(getattr(jax.config, name)) for name in SETTINGS}
    if version is not None:
        found["version"] = repr(version)
    if (context := _decimal_context(decimal.getcontext())) != _decimal_context(decimal.DefaultContext):
        found["decimal"] = context
    for name, value in arguments.items():
        survey.enter(value, name)
    survey.follow()
    return found


def changes(was: Mapping[str, str], now: Mapping[str, str]) -> str:
    """In what two fingerprints differ, in words (the first five, versions before all else); empty if they are one."""
    differing = {name for name in {*was, *now} if was.get(name) != now.get(name)}
    names = sorted(differing, key=lambda name: (name not in _VERSIONS, name))
    shown = [f"{name} was {was.get(name, 'not there')} and is {now.get(name, 'not there')}" for name in names]
    return "; ".join(shown[:5]) + (f", and {len(shown) - 5} more" if len(shown) > 5 else "")


def check_version(version: Any, caller: str) -> None:
    """Refuse what is no version of a person's own; None is none.

    Raises:
        ValueError: naming the caller.
    """
    if version is not None and not isinstance(version, str):
        raise ValueError(f"{caller}: version must be a text of your own, such as '1', or None, got {version!r}.")


class _Survey:
    """What was found on the way through objects.

    Globals and classes are entered once, under their names, whoever reads them; all else where it is.

    Attributes:
        found: texts by path.
    """

    def __init__(self, caller: str, version: str | None):
        self.caller, self.version = caller, version
        self.found: dict[str, str] = {}
        self._waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._known: set[Any] = set()
        self._refusal: ValueError | None = None
        #: The namespaces and classes of each name: two of the same name are told apart by their order.
        self._names: dict[str, list[Any]] = {}

    def follow(self) -> None:
        """Enter the globals and the classes that were met."""
        while self._waiting:
            enter, arguments = self._waiting.popleft()
            enter(*arguments)

    def enter(self, value: Any, path: str, around: tuple[int, ...] = (), names: frozenset[str] | None = None) -> None:
        """Enter a value, and all that it is made of, under a path.

        Args:
            value: anything.
            path: how it is reached.
            around: the objects that this one is part of.
            names: the attributes that are read of it, if it is a module; None: any.
        """
        if len(self.found) > _MOST:
            self._refuse(path, value, "it is made of too many parts")
        if id(value) in around:
            self.found[path] = f"itself, {len(around) - around.index(id(value))} up"
            return
        try:
            text = _text(value)
            if text is not None:
                self.found[path] = text
            elif isinstance(value, types.ModuleType):
                self._enter_module(value, path, names)
            elif isinstance(value, type):
                self._enter_reference(value, path)
            elif any(value is each for each in (*_HIDING, *_ENVIRONMENT)):
                self._refuse(path, value, "it reads what no code names")
            elif (known := by_name(value)) is not None:
                self.found[path] = known
            else:
                within = (*around, id(value))
                for part, content, read in self._parts(value, path):
                    self.enter(content, path + part, within, read)
        except RecursionError:
            self._refuse(path, value, "it is nested too deep")
        # An object of a person's own may raise anything when it is looked at.
        except Exception as error:
            if error is self._refusal:
                raise
            self._refuse(path, value, f"looking at it raises {type(error).__name__}: {error}")

    def _refuse(self, path: str, value: Any, why: str) -> None:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        if self.version is not None:
            # What it is, the person has said.
            self.found[path] = f"{kind}, as of this version"
            return
        self._refusal = ValueError(
            f"{self.caller}: can't see what {path} is ({kind}: {why}), on which results may depend, so that a run "
            "could not be told from another one. Make it inside the function; or pass version='1', a text of your own "
            f"that stands for all that can't be seen, and change the text whenever that changes.{guide('checkpoint')}"
        )
        raise self._refusal

    def _parts(self, value: Any, path: str) -> Iterator[tuple[str, Any, frozenset[str] | None]]:
        """What an object is made of: how it is reached, what it is, and what is read of it; its kind is entered."""
        if isinstance(value, types.FunctionType):
            yield from self._parts_of_function(value, path)
            return
        for part, content in self._parts_of_object(value, path):
            yield part, content, None

    # -- functions, modules and classes ------------------------------------------------------------------------------

    def _parts_of_function(
        self, function: types.FunctionType, path: str
    ) -> Iterator[tuple[str, Any, frozenset[str] | None]]:
        compiled, space = function.__code__, function.__globals__
        version = library(str(space.get("__name__")))
        read = code.reads(compiled)
        by_text = (read.names | read.attributes) & (_BY_TEXT | {"__dict__"})
        attributes = None if by_text else read.attributes
        if version is None:
            self.found[path] = f"function {code.digest(compiled)}"
            yield from ((f".{name}", content, None) for name, content in sorted(vars(function).items()))
        else:
            self.found[path] = f"{space['__name__']}.{function.__qualname__} {version}"
        for name, cell in zip(compiled.co_freevars, function.__closure__ or (), strict=True):
            content = _content(cell)
            if version is not None and type(content) is int and name in read.rebound:
                # Schedules of optax turn numbers of steps into floats when they are first called.
                content = float(content)
            yield f".{name}", content, attributes
        defaults = function.__defaults__ or ()
        named = compiled.co_varnames[: compiled.co_argcount][compiled.co_argcount - len(defaults) :]
        for name, default in {**dict(zip(named, defaults, strict=True)), **(function.__kwdefaults__ or {})}.items():
            yield f"({name}=)", default, None
        if version is None:
            self._meet_globals(function, read, attributes, path)

    def _meet_globals(
        self, function: types.FunctionType, read: code.Reads, attributes: frozenset[str] | None, path: str
    ) -> None:
        """Queue the globals that a person's own function reads."""
        space = function.__globals__
        hidden = sorted((read.names & _HIDDEN - space.keys()) | (read.attributes & _HIDDEN_ATTRIBUTES))
        if {*read.names, *read.attributes} >= _MODULES:
            hidden.append("sys.modules")
        if None in read.environment:
            hidden.append("the environment")
        for name in sorted(filter(None, read.environment)):
            self.found[f"environment {name}"] = _short(repr(os.environ.get(name)))
        if hidden:
            self._refuse(f"{path} ({hidden[0]})", function, f"it reads by {hidden[0]} what its code does not name")
        for name in sorted(read.names):
            if name in space or not hasattr(builtins, name):
                self._meet(space, name, attributes)
            elif self._is_placed(getattr(builtins, name)):
                self._meet(vars(builtins), name, attributes)
        for level, name in sorted(read.imports):
            self._meet_import(space, "." * level + name, attributes, path)

    def _meet_import(self, space: Mapping[str, Any], name: str, attributes: frozenset[str] | None, path: str) -> None:
        """Queue what a function's own `import` statement finds; it is imported now if that has not been done yet."""
        name = importlib.util.resolve_name(name, space.get("__package__") or "") if name.startswith(".") else name
        if library(name) is not None:
            return
        try:
            module = importlib.import_module(name)
        # The module is a person's own, and may raise anything.
        except Exception as error:
            self._refuse(f"{path} (import {name})", space, f"{type(error).__name__}: {error}")
            return
        self._enter_module(module, f"{path} (import {name})", attributes)

    def _meet(self, space: Mapping[str, Any], name: str, attributes: frozenset[str] | None) -> None:
        """Queue a global, once: a module again for other attributes of it."""
        value = space.get(name, _Nothing)
        if name in code.ENVIRONMENT and any(value is each for each in _ENVIRONMENT):
            return
        key = (id(space), name, attributes if isinstance(value, types.ModuleType) else None)
        if key not in self._known:
            self._known.add(key)
            path = f"{self._name(str(space.get('__name__')), space)}.{name}"
            self._waiting.append((self.enter, (value, path, (), attributes)))

    def _name(self, name: str, of: Any) -> str:
        known = self._names.setdefault(name, [])
        place = next((i for i, other in enumerate(known) if other is of), len(known))
        if place == len(known):
            known.append(of)
        return name if place == 0 else f"{name} ({place + 1})"

    def _enter_module(self, module: types.ModuleType, path: str, names: frozenset[str] | None) -> None:
        """A module by its name; queued is what is read of it."""
        space = vars(module)
        version = library(module.__name__)
        self.found[path] = f"module {module.__name__}" + ("" if version is None else f" {version}")
        if names is None:
            names = frozenset() if version else frozenset(name for name in space if not name.startswith("__"))
        for name in sorted(names & space.keys() - {"__name__", "__file__", "__version__"}):
            if version is None or self._is_placed(space[name]):
                self._meet(space, name, names)

    def _is_placed(self, value: Any) -> bool:
        """Whether what a library has under a name may have been put there: a number, or a person's own function."""
        if isinstance(value, types.ModuleType):
            return library(value.__name__) is not None
        own = isinstance(value, types.FunctionType) and library(str(value.__globals__.get("__name__"))) is None
        return own or isinstance(value, _PLAIN)

    def _enter_reference(self, kind: type, path: str) -> None:
        """A class by its name; a person's own is queued."""
        version = library(str(kind.__module__))
        name = f"{kind.__module__}.{kind.__qualname__}"
        if version is not None and not is_made_up(kind):
            self.found[path] = f"{name} {version}"
            return
        name = self._name(name, kind)
        self.found[path] = f"class {name}"
        if kind not in self._known:
            self._known.add(kind)
            self._waiting.append((self._enter_class, (kind, name)))

    def _enter_class(self, kind: type, path: str) -> None:
        for i, base in enumerate((type(kind), *kind.__bases__)):
            self._enter_reference(base, f"{path} (base {i})")
        for name, member in sorted(vars(kind).items()):
            if name not in _OF_NO_MATTER and not isinstance(member, _SLOTS):
                self.enter(member, f"{path}.{name}")

    # -- objects -----------------------------------------------------------------------------------------------------

    def _parts_of_object(self, value: Any, path: str) -> Iterable[tuple[str, Any]]:
        """The parts of an object that is neither plain nor a function, module or class."""
        kind = type(value)
        if kind is dict or kind is types.MappingProxyType:
            keys = [_text(key) for key in value]
            self.found[path] = _short(f"dict {keys}")
            plain = [(f"[{key}]", content) for key, content in zip(keys, value.values(), strict=True) if key]
            odd = [item for key, item in zip(keys, value.items(), strict=True) if not key]
            return plain + [(f"[item {i}]", item) for i, item in enumerate(odd)]
        if kind in (list, tuple) or kind in _VIEWS:
            texts = [_text(item) for item in value]
            if len(texts) > 20 and None not in texts:
                self.found[path] = f"{kind.__name__} [{len(texts)}] {_hash(json.dumps(texts))}"
                return ()
            self.found[path] = f"{kind.__name__} [{len(texts)}]"
            return [(f"[{i}]", item) for i, item in enumerate(value)]
        if kind in (set, frozenset):
            self.found[path] = _short(f"{kind.__name__} {sorted(self._aside(item, path) for item in value)}")
            return ()
        if kind is np.ndarray:
            # Of objects: others are plain.
            self.found[path] = f"{value.dtype} {list(value.shape)}"
            return [(f"[{i}]", item) for i, item in enumerate(value.flat)]
        if kind is types.MethodType:
            self.found[path] = "method"
            return [(".__func__", value.__func__), (".__self__", value.__self__)]
        if isinstance(value, BaseException):
            # Not what pickle writes, which libraries extend by its traceback.
            self._enter_reference(kind, path)
            return [(".args", value.args), *_attributes(value)]
        if isinstance(value, (staticmethod, classmethod)):
            self.found[path] = kind.__name__
            return [("", value.__func__)]
        if isinstance(value, functools.partial):
            self._enter_reference(kind, path)
            return [(".func", value.func), (".args", value.args), (".keywords", value.keywords), *_attributes(value)]
        if isinstance(value, property):
            self.found[path] = "property"
            return [(".get", value.fget), (".set", value.fset), (".delete", value.fdel)]
        if isinstance(value, functools.cached_property):
            self.found[path] = "cached property"
            return [(".func", value.func)]
        if isinstance(value, weakref.ReferenceType):
            self.found[path] = "weak reference"
            return [("()", value())]
        if isinstance(value, (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)):
            # A cache: what it holds comes and goes with others.
            self.found[path] = kind.__name__
            return ()
        if isinstance(value, jax.tree_util.PyTreeDef):
            data, inner = value.node_data(), value.children()
            self.found[path] = f"PyTreeDef of {len(inner)}"
            return [(".data", data), *((f"[{i}]", child) for i, child in enumerate(inner))]
        if hasattr(kind, "detach") and hasattr(kind, "numpy"):
            # A tensor of torch, of which pickle writes down where it lies.
            self._enter_reference(kind, path)
            return [(" values", value.detach().cpu().numpy())]
        wrapped = _namespace(value).get("__wrapped__")
        if wrapped is not None and not isinstance(_member(kind, "__call__"), types.FunctionType):
            # A function compiled or kept by C: it does what the function within does.
            self.found[path] = f"{kind.__module__}.{kind.__qualname__}"
            return [(".__wrapped__", wrapped)]
        return self._parts_of_instance(value, path)

    def _aside(self, value: Any, path: str) -> str:
        """A value in one text."""
        kept, self.found = self.found, {}
        try:
            self.enter(value, path)
            return json.dumps(self.found)
        finally:
            self.found = kept

    def _parts_of_instance(self, value: Any, path: str) -> list[tuple[str, Any]]:
        kind = type(value)
        self._enter_reference(kind, path)
        reduces = kind in copyreg.dispatch_table or any(
            _provider(kind, name) is not object for name in ("__reduce_ex__", "__reduce__", "__getstate__")
        )
        is_own = library(kind.__module__) is None
        if (
            reduces
            and is_own
            and any(
                name in vars(base)
                for base in kind.__mro__
                if library(base.__module__) is None
                for name in ("__reduce_ex__", "__reduce__", "__getstate__")
            )
        ):
            # It says itself what is written down of it, and may leave out what decides.
            return [*_attributes(value), *_contents(value)]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reducer = copyreg.dispatch_table.get(kind)
                reduced = value.__reduce_ex__(4) if reducer is None else reducer(value)
        # Any library may refuse in its own way.
        except Exception as error:
            self._refuse(path, value, str(error) or type(error).__name__)
            return []
        if not reduces:
            return [*_attributes(value), *_contents(value)]
        if isinstance(reduced, str):
            if callable(value) and library(str(getattr(value, "__module__", None))) is None:
                self._refuse(path, value, "its code is compiled")
                return []
            self.found[path] += f" {reduced}"
            return list(_attributes(value))
        return [*_reduced(reduced), *(_attributes(value) if is_own else ())]


def _decimal_context(context: decimal.Context) -> str:
    """What results of `decimal` depend on; its flags tell what happened."""
    traps = sorted(signal.__name__ for signal, is_set in context.traps.items() if is_set)
    return f"{context.prec} digits, {context.rounding}, {context.Emin} to {context.Emax}, {context.clamp}, {traps}"


class _Nothing:
    """Stands for a global that is not there."""


def _text(value: Any) -> str | None:
    """A value that is made of nothing else, as text; None for any other."""
    kind = type(value)
    if kind in _PLAIN:
        return _short(hex(value) if kind is int and value.bit_length() > 1000 else repr(value))
    if isinstance(value, jax.Array) and is_key(value):
        return f"{jax.random.key_impl(value)} {np.asarray(jax.random.key_data(value)).tolist()}"
    if isinstance(value, jax.Array) or kind is np.ndarray or isinstance(value, np.generic):
        array = np.asarray(value)
        if array.dtype.hasobject:
            return None
        of = "" if isinstance(value, jax.Array) else " of numpy"
        if array.ndim == 0 and array.dtype.names is None:
            # A number that was one of Python's takes on the dtype of what it meets.
            return f"{_dtype(array)} {array.item()!r}{of or ('' if getattr(value, 'weak_type', False) else ' strong')}"
        order = "" if array.flags.c_contiguous else " in Fortran's order" if array.flags.f_contiguous else " with steps"
        return f"{_dtype(array)} {list(array.shape)} {digest_of({'': array})[:12]}{order}{of}"
    if kind is np.random.RandomState and value is np.random.mtrand._rand:  # pyright: ignore[reportAttributeAccessIssue]
        return "numpy's global generator"
    if kind is random.Random and value is random._inst:  # pyright: ignore[reportAttributeAccessIssue]
        return "Python's global generator"
    return None


def _dtype(array: np.ndarray) -> str:
    """A dtype as people write it, with its order of bytes if that is not the machine's."""
    return str(array.dtype) if array.dtype.isnative and array.dtype.names is None else repr(array.dtype)


def _short(text: str) -> str:
    return text if len(text) <= _LONG else f"{text[:40]}... {_hash(text)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:12]


def _content(cell: types.CellType) -> Any:
    """What a closure holds; a function may close over a name that it has not set yet."""
    try:
        return cell.cell_contents
    except ValueError:
        return _Nothing


def _provider(kind: type, name: str) -> type:
    """The class that a method of another comes from."""
    return next((base for base in kind.__mro__ if name in vars(base)), object)


def _member(kind: type, name: str) -> Any:
    """What a class or one of its bases has under a name, as it is there."""
    return vars(_provider(kind, name)).get(name)


def _namespace(value: Any) -> dict[str, Any]:
    # Not by `vars`, which asks a person's own `__getattr__` where there is none.
    try:
        return dict(object.__getattribute__(value, "__dict__"))
    except AttributeError:
        return {}


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """The attributes that an object has of its own, in its dictionary and in slots; without what it keeps for speed."""
    kind = type(value)
    found = _namespace(value)
    for name in copyreg._slotnames(kind):  # pyright: ignore[reportAttributeAccessIssue]
        # Asked of the slot: `__getattr__` may raise anything where it is empty.
        with contextlib.suppress(AttributeError):
            found[name] = _member(kind, name).__get__(value, kind)
    for name in sorted(found, key=str):
        kept = _member(kind, name)
        of_cache = isinstance(kept, functools.cached_property) or (name in _CACHES and library(kind.__module__))
        if not of_cache and name not in _OF_NO_MATTER:
            yield f".{name}", found[name]


def _contents(value: Any) -> list[tuple[str, Any]]:
    """What an object of a class made from a builtin one holds as such."""
    if isinstance(value, tuple) and hasattr(type(value), "_fields"):
        return [(f".{name}", item) for name, item in zip(value._fields, tuple.__iter__(value), strict=True)]  # pyright: ignore[reportAttributeAccessIssue]
    for base in _CONTENTS:
        if isinstance(value, base):
            return [(" content", _plain(base, value))]
    return []


def _plain(base: Any, value: Any) -> Any:
    if base is np.ndarray:
        return value.view(np.ndarray)
    if base is dict:
        return dict(dict.items(value))
    if base.__name__ in ("str", "bytes", "int", "float", "complex"):
        return base.__add__(value, base())
    return {tuple: tuple, list: list, deque: list, bytearray: bytes}.get(base, frozenset)(base.__iter__(value))


def _reduced(reduced: tuple[Any, ...]) -> list[tuple[str, Any]]:
    """What pickle would write down of an object."""
    padded: tuple[Any, ...] = (*reduced, None, None, None, None)
    make, arguments, state, items, pairs = padded[:5]
    parts: list[tuple[str, Any]] = [(" by", make), *((f"({i})", item) for i, item in enumerate(arguments or ()))]
    states = state if isinstance(state, tuple) and len(state) == 2 else (state,)
    for own in states:
        if isinstance(own, dict):
            parts += [(f".{name}", content) for name, content in own.items() if name not in _CACHES]
        elif own is not None:
            parts.append((".state", own))
    parts += [(f"[{i}]", item) for i, item in enumerate(items or ())]
    return parts + [(f"[item {i}]", item) for i, item in enumerate(pairs or ())]


def digest_of(arrays: Mapping[str, Any]) -> str:
    """A checksum of arrays by name."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def is_key(leaf: Any) -> bool:
    """Whether an array holds random keys."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
