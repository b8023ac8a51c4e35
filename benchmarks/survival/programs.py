"""Programs: a function that a person might sweep, and changes that change its results, or do not."""

import decimal
import json
import types

import overlap_learning as ol
from overlap_learning.learning.checkpoint import Checkpoint, Store
from overlap_learning.learning.fingerprint import changes, fingerprint

HEAD = """
import collections, dataclasses, datetime, decimal, enum, fractions, functools, operator, pathlib, random, sys, types
import equinox as eqx, jax, jax.numpy as jnp, numpy as np, optax, pandas as pd, scipy, xarray
import scipy.interpolate, scipy.sparse, scipy.stats
import overlap_learning as ol
"""
LIBRARIES: dict = {}
exec(HEAD, LIBRARIES)


def program(text, helpers=""):
    """The namespace of a program, with a module `helpers` of the same person's beside it."""
    module = types.ModuleType("helpers")
    vars(module).update(LIBRARIES | {"__name__": "helpers"})
    exec(helpers, vars(module))
    space = LIBRARIES | {"__name__": "__main__", "helpers": module}
    exec(text, space)
    return space


def of(text, helpers=""):
    with decimal.localcontext():
        return fingerprint({"f": program(text, helpers)["f"]}, "sweep")


def store(text, helpers=""):
    """The checkpoints of a training whose activation is `f`."""
    with decimal.localcontext():
        # Unchecked: `f` need not be made of jax operations to be told from another.
        activation = object.__new__(ol.Activation)
        object.__setattr__(activation, "phi", program(text, helpers)["f"])
        object.__setattr__(activation, "quadrature", ol.model.Trapezoid())
        return Store(Checkpoint("never-made"), "train", model=ol.Model(ol.Layout(), activation), rule=RULE)


RULE = ol.GradientDescent(0.1, 10)


#: Pairs of expressions that a result may depend on.
VALUES = {
    "float": ("1.0", "2.0"),
    "sign of zero": ("0.0", "-0.0"),
    "number and integer": ("1.0", "1"),
    "huge integer": ("10**5000", "10**5000 + 1"),
    "text": ("'a' * 500", "'a' * 499 + 'b'"),
    "list": ("[1.0] * 30", "[1.0] * 29 + [2.0]"),
    "order of a dict": ("{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}"),
    "set": ("{'a', 'b'}", "{'a', 'c'}"),
    "set of tuples": ("{(1, 'a')}", "{(1, 'b')}"),
    "fraction": ("fractions.Fraction(1, 3)", "fractions.Fraction(2, 3)"),
    "decimal": ("decimal.Decimal('0.1')", "decimal.Decimal('0.2')"),
    "date": ("datetime.date(2026, 1, 1)", "datetime.date(2026, 1, 2)"),
    "path": ("pathlib.Path('a')", "pathlib.Path('b')"),
    "range": ("range(3)", "range(4)"),
    "slice": ("slice(3)", "slice(4)"),
    "deque": ("collections.deque([1], 3)", "collections.deque([1], 4)"),
    "defaultdict": ("collections.defaultdict(list)", "collections.defaultdict(dict)"),
    "array": ("np.arange(3.0)", "np.arange(3.0) + 1"),
    "dtype of an array": ("np.ones(3)", "np.ones(3, np.float32)"),
    "order of bytes": ("np.array([1.0])", "np.array([1.0]).byteswap().view('>f8')"),
    "order of an array": ("np.ones((2, 2))", "np.ones((2, 2), order='F')"),
    "array of objects": ("np.array([None, 'a'])", "np.array([None, 'b'])"),
    "dtype": ("np.dtype('f4')", "np.dtype('f8')"),
    "structured array": ("np.zeros(1, [('a', 'f8')])", "np.zeros(1, [('b', 'f8')])"),
    "mask": ("np.ma.array([1., 2.], mask=[0, 1])", "np.ma.array([1., 2.], mask=[1, 0])"),
    "hidden number": ("np.ma.array([1., 2.], mask=[0, 1])", "np.ma.array([1., 3.], mask=[0, 1])"),
    "jax array": ("jnp.ones(2)", "jnp.zeros(2)"),
    "key": ("jax.random.key(0)", "jax.random.key(1)"),
    "generator": ("np.random.default_rng(0)", "np.random.default_rng(1)"),
    "python's generator": ("random.Random(0)", "random.Random(1)"),
    "data frame": ("pd.DataFrame({'a': [1.0]})", "pd.DataFrame({'a': [2.0]})"),
    "column": ("pd.DataFrame({'a': [1.0]})", "pd.DataFrame({'b': [1.0]})"),
    "index": ("pd.Series([1.0], index=['a'])", "pd.Series([1.0], index=['b'])"),
    "xarray": ("xarray.DataArray([1.0], dims='t')", "xarray.DataArray([2.0], dims='t')"),
    "dimension": ("xarray.DataArray([1.0], dims='t')", "xarray.DataArray([1.0], dims='x')"),
    "coordinate": ("xarray.Dataset(coords={'t': [1.0]})", "xarray.Dataset(coords={'t': [2.0]})"),
    "sparse matrix": ("scipy.sparse.eye_array(3).tocsr()", "scipy.sparse.eye_array(3, k=1).tocsr()"),
    "interpolant": ("scipy.interpolate.interp1d([0, 1], [0, 1])", "scipy.interpolate.interp1d([0, 1], [0, 2])"),
    "spline": (
        "scipy.interpolate.CubicSpline([0, 1, 2], [0, 1, 0])",
        "scipy.interpolate.CubicSpline([0, 1, 2], [0, 1, 1])",
    ),
    "distribution": ("scipy.stats.norm(0, 1)", "scipy.stats.norm(0, 2)"),
    "schedule": ("optax.exponential_decay(1.0, 10, 0.9)", "optax.exponential_decay(1.0, 10, 0.8)"),
    "pieces of a schedule": (
        "optax.piecewise_constant_schedule(1.0, {5: 0.5})",
        "optax.piecewise_constant_schedule(1.0, {6: 0.5})",
    ),
    "optimiser": ("optax.adam(1e-3)", "optax.adam(1e-3, b1=0.8)"),
    "weights": ("eqx.nn.Linear(1, 1, key=jax.random.key(0))", "eqx.nn.Linear(1, 1, key=jax.random.key(1))"),
    "activation": ("ol.Activation(jnp.tanh)", "ol.Activation(jax.nn.relu)"),
    "own activation": ("ol.Activation(lambda h: h * 1.0)", "ol.Activation(lambda h: h * 2.0)"),
    "task": ("ol.tasks.exponential_filter(0.2)", "ol.tasks.exponential_filter(0.3)"),
    "stream": (
        "ol.tasks.stream(ol.tasks.decision_making, noise=0.1)",
        "ol.tasks.stream(ol.tasks.decision_making, noise=0.2)",
    ),
    "rule": ("ol.GradientDescent(0.1, 10)", "ol.GradientDescent(0.2, 10)"),
    "function": ("lambda x: x + 1", "lambda x: x + 2"),
    "partial": ("functools.partial(pow, 2)", "functools.partial(pow, 3)"),
    "operator": ("operator.itemgetter(0)", "operator.itemgetter(1)"),
    "bound method": ("[1.0].index", "[2.0].index"),
    "compiled": ("jax.jit(lambda x: x + 1)", "jax.jit(lambda x: x + 2)"),
    "compiled by equinox": ("eqx.filter_jit(lambda x: x + 1)", "eqx.filter_jit(lambda x: x + 2)"),
    "mapped": ("jax.vmap(jnp.sum, in_axes=0)", "jax.vmap(jnp.sum, in_axes=1)"),
    "mapped by equinox": ("eqx.filter_vmap(jnp.sum, in_axes=0)", "eqx.filter_vmap(jnp.sum, in_axes=1)"),
    "gradient": ("jax.grad(lambda x: x**2)", "jax.grad(lambda x: x**3)"),
    "cached": ("functools.lru_cache(lambda x: x + 1)", "functools.lru_cache(lambda x: x + 2)"),
    "vectorised": ("np.vectorize(lambda x: x + 1)", "np.vectorize(lambda x: x + 2)"),
    "array of numpy or jax": ("np.ones(2)", "jnp.ones(2)"),
    "weak type": ("jnp.asarray(1.0)", "jnp.asarray(1.0, float)"),
    "method of a generator": ("np.random.default_rng(0).normal", "np.random.default_rng(1).normal"),
    "class made by a library": (
        "dataclasses.make_dataclass('C', [('a', int, 1)])",
        "dataclasses.make_dataclass('C', [('a', int, 2)])",
    ),
    "list within itself": ("(lambda a: a.append(a) or [a])([])", "(lambda a: a.append([a]) or a)([])"),
    "library's function": ("np.sin", "np.cos"),
    "namespace": ("types.SimpleNamespace(a=1)", "types.SimpleNamespace(a=2)"),
    "view of a dict": ("types.MappingProxyType({'a': 1})", "types.MappingProxyType({'a': 2})"),
}  # fmt: skip

#: Programs in which `f` depends on VALUE, and what is in the module `helpers`.
WAYS = {
    "global": ("v = VALUE\ndef f(x): return v", ""),
    "attribute of a module": ("def f(x): return helpers.v", "v = VALUE"),
    "closure": ("def make(v): return lambda x: v\nf = make(VALUE)", ""),
    "default": ("def f(x, v=VALUE): return v", ""),
    "argument of a partial": ("f = functools.partial(lambda v, x: v, VALUE)", ""),
    "helper in a module": ("def f(x): return helpers.g(x)", "v = VALUE\ndef g(x): return v"),
    "attribute of a class": ("class C:\n    v = VALUE\ndef f(x): return C.v", ""),
    "slot": ("class C: __slots__ = ('v',)\nc = C()\nc.v = VALUE\ndef f(x): return c.v", ""),
}

CLASS = "class C:\n    {}\nc = C()\ndef f(x): return c.m(x)"
#: Pairs of programs that do something else; `|` parts the program from the module `helpers`.
CHANGED = {
    "constant": ("f = lambda x: x + 1", "f = lambda x: x + 2"),
    "operator": ("f = lambda x: x + 1", "f = lambda x: x - 1"),
    "comparison": ("f = lambda x: x < 1", "f = lambda x: x <= 1"),
    "function that is called": ("f = lambda x: jnp.sin(x)", "f = lambda x: jnp.cos(x)"),
    "constant of an inner function": ("f = lambda x: (lambda y: y + 1)(x)", "f = lambda x: (lambda y: y + 2)(x)"),
    "set in code": ("f = lambda x: x in {1, 2}", "f = lambda x: x in {1, 3}"),
    "sign of a zero in code": ("f = lambda x: x + 0.0", "f = lambda x: x + -0.0"),
    "default by keyword": ("def f(x, *, a=1): return a", "def f(x, *, a=2): return a"),
    "order of arguments": ("def f(x, a=1, b=1): return a", "def f(x, b=1, a=1): return a"),
    "generator": ("def f(x): return [x]", "def f(x): yield [x]"),
    "handled error": (
        "def f(x):\n    try: return x.y\n    except KeyError: return 0",
        "def f(x):\n    try: return x.y\n    except Exception: return 0",
    ),
    "attribute by its text, by a module": (
        "f = lambda x: operator.attrgetter('v')(helpers)|v = 1",
        "f = lambda x: operator.attrgetter('v')(helpers)|v = 2",
    ),
    "attribute of a function": ("def f(x): return f.a\nf.a = 1", "def f(x): return f.a\nf.a = 2"),
    "method": (CLASS.format("def m(self, x): return x"), CLASS.format("def m(self, x): return -x")),
    "static method": (
        CLASS.format("@staticmethod\n    def m(x): return x"), CLASS.format("@staticmethod\n    def m(x): return -x"),
    ),
    "class method": (
        CLASS.format("@classmethod\n    def m(cls, x): return x"),
        CLASS.format("@classmethod\n    def m(cls, x): return -x"),
    ),
    "property": (
        CLASS.format("@property\n    def m(self): return abs"), CLASS.format("@property\n    def m(self): return int"),
    ),
    "cached property": (
        CLASS.format("@functools.cached_property\n    def m(self): return abs"),
        CLASS.format("@functools.cached_property\n    def m(self): return int"),
    ),
    "partial method": (
        CLASS.format("m = functools.partialmethod(pow, 2)"), CLASS.format("m = functools.partialmethod(pow, 3)"),
    ),
    "special method": (
        "class C:\n    def __call__(self, x): return x\nf = C()",
        "class C:\n    def __call__(self, x): return -x\nf = C()",
    ),
    "bound method": (
        "class C:\n    def __init__(self, a): self.a = a\n    def m(self, x): return self.a\nf = C(1).m",
        "class C:\n    def __init__(self, a): self.a = a\n    def m(self, x): return self.a\nf = C(2).m",
    ),
    "base of a class": (
        "class A: m = 1\nclass B: m = 2\nclass C(A): pass\nf = lambda x: C.m",
        "class A: m = 1\nclass B: m = 2\nclass C(B): pass\nf = lambda x: C.m",
    ),
    "method of a base": (
        "class A:\n    def m(self): return 1\nclass C(A): pass\nf = lambda x: C().m()",
        "class A:\n    def m(self): return 2\nclass C(A): pass\nf = lambda x: C().m()",
    ),
    "class of an object": (
        "class A: m = 1\nclass B: m = 2\na = A()\nf = lambda x: a.m",
        "class A: m = 1\nclass B: m = 2\na = B()\nf = lambda x: a.m",
    ),
    "metaclass": (
        "class M(type):\n    m = 1\nclass C(metaclass=M): pass\nf = lambda x: C.m",
        "class M(type):\n    m = 2\nclass C(metaclass=M): pass\nf = lambda x: C.m",
    ),
    "field of a dataclass": (
        "@dataclasses.dataclass\nclass C:\n    a: float = 1.0\nf = lambda x: C().a",
        "@dataclasses.dataclass\nclass C:\n    a: float = 2.0\nf = lambda x: C().a",
    ),
    "equinox module": (
        "class C(eqx.Module):\n    a: float\n    def __call__(self, x): return self.a * x\nf = C(1.0)",
        "class C(eqx.Module):\n    a: float\n    def __call__(self, x): return self.a + x\nf = C(1.0)",
    ),
    "member of an enumeration": (
        "class C(enum.Enum):\n    a = 1\nf = lambda x: C.a.value",
        "class C(enum.Enum):\n    a = 2\nf = lambda x: C.a.value",
    ),
    "named tuple": (
        "C = collections.namedtuple('C', 'a b')\nc = C(1, 2)\nf = lambda x: c.a",
        "C = collections.namedtuple('C', 'b a')\nc = C(1, 2)\nf = lambda x: c.a",
    ),
    "list of an own class": (
        "class C(list):\n    def __reduce__(self): return C, ()\nc = C([1])\nf = lambda x: c[0]",
        "class C(list):\n    def __reduce__(self): return C, ()\nc = C([2])\nf = lambda x: c[0]",
    ),
    "what a class keeps from pickle": (
        "class C:\n    def __getstate__(self): return {}\nc = C()\nc.a = 1\nf = lambda x: c.a",
        "class C:\n    def __getstate__(self): return {}\nc = C()\nc.a = 2\nf = lambda x: c.a",
    ),
    "attribute of an array of an own class": (
        "class C(np.ndarray): pass\nc = np.ones(1).view(C)\nc.a = 1\nf = lambda x: c.a",
        "class C(np.ndarray): pass\nc = np.ones(1).view(C)\nc.a = 2\nf = lambda x: c.a",
    ),
    "decorator": (
        "def d(g): return lambda x: g(x) + 1\n@d\ndef f(x): return x",
        "def d(g): return lambda x: g(x) + 2\n@d\ndef f(x): return x",
    ),
    "function within a library's decorator": (
        "def d(g):\n    @functools.wraps(g)\n    def h(x): return g(x)\n    return h\n@d\ndef f(x): return x",
        "def d(g):\n    @functools.wraps(g)\n    def h(x): return -g(x)\n    return h\n@d\ndef f(x): return x",
    ),
    "registered function": (
        "@functools.singledispatch\ndef f(x): return x\n@f.register\ndef _(x: int): return 1",
        "@functools.singledispatch\ndef f(x): return x\n@f.register\ndef _(x: int): return 2",
    ),
    "derivative": (
        "@jax.custom_jvp\ndef f(x): return x\nf.defjvp(lambda p, t: (p[0], t[0]))",
        "@jax.custom_jvp\ndef f(x): return x\nf.defjvp(lambda p, t: (p[0], -t[0]))",
    ),
    "name that is not there yet": ("f = lambda x: later(x)", "f = lambda x: later(x)\nlater = abs"),
    "name that hides a builtin": ("f = lambda x: abs(x)", "f = lambda x: abs(x)\nabs = int"),
    "global of a global's global": (
        "a = 1\ndef g(x): return a\ndef h(x): return g(x)\ndef f(x): return h(x)",
        "a = 2\ndef g(x): return a\ndef h(x): return g(x)\ndef f(x): return h(x)",
    ),
    "function that reads itself": (
        "a = 1\ndef f(x): return f(x - a) if x else 0", "a = 2\ndef f(x): return f(x - a) if x else 0",
    ),
    "module under another name": ("h = helpers\nf = lambda x: h.a|a = 1", "h = helpers\nf = lambda x: h.a|a = 2"),
    "module in a list": ("h = [helpers]\nf = lambda x: h[0].a|a = 1", "h = [helpers]\nf = lambda x: h[0].a|a = 2"),
    "attribute by its text": (
        "f = lambda x: getattr(helpers, 'a')|a = 1", "f = lambda x: getattr(helpers, 'a')|a = 2",
    ),
    "module within a module": (
        "f = lambda x: helpers.b.a|b = types.ModuleType('b')\nb.a = 1",
        "f = lambda x: helpers.b.a|b = types.ModuleType('b')\nb.a = 2",
    ),
    "variable of the environment": (
        "import os\nos.environ['SURVIVAL'] = '1'\nf = lambda x: os.environ['SURVIVAL']",
        "import os\nos.environ['SURVIVAL'] = '2'\nf = lambda x: os.environ['SURVIVAL']",
    ),
    "variable of the environment, asked for": (
        "import os\nos.environ['SURVIVAL'] = '1'\ndef f(x): return [os.getenv('SURVIVAL')]",
        "import os\nos.environ['SURVIVAL'] = '2'\ndef f(x): return [os.getenv('SURVIVAL')]",
    ),
    "variable of the environment, in a helper": (
        "import os\nos.environ['SURVIVAL'] = '1'\nf = lambda x: helpers.g()|from os import environ\n"
        "def g(): return 'SURVIVAL' in environ",
        "import os\ndel os.environ['SURVIVAL']\nf = lambda x: helpers.g()|from os import environ\n"
        "def g(): return 'SURVIVAL' in environ",
    ),
    "digits of decimals": (
        "f = lambda x: 1 / decimal.Decimal(3)", "decimal.getcontext().prec = 10\nf = lambda x: 1 / decimal.Decimal(3)",
    ),
    "class that finds attributes in itself": (
        "class C(dict):\n    def __getattr__(self, name): return self[name]\nc = C(v=1)\nf = lambda x: c.v",
        "class C(dict):\n    def __getattr__(self, name): return self[name]\nc = C(v=2)\nf = lambda x: c.v",
    ),
    "class that has any attribute": (
        "class C:\n    def __getattr__(self, name): return self.__dict__['v']\nc = C()\nc.v = 1\nf = lambda x: c.v",
        "class C:\n    def __getattr__(self, name): return self.__dict__['v']\nc = C()\nc.v = 2\nf = lambda x: c.v",
    ),
    "empty slot of a class whose __getattr__ raises": (
        "class C:\n    __slots__ = ('v', 'w')\n    def __getattr__(self, name): return {}[name]\nc = C()\nc.v = 1\n"
        "f = lambda x: c.v",
        "class C:\n    __slots__ = ('v', 'w')\n    def __getattr__(self, name): return {}[name]\nc = C()\nc.v = 2\n"
        "f = lambda x: c.v",
    ),
    "class in a module": (
        "f = lambda x: helpers.C().m()|class C:\n    def m(self): return 1",
        "f = lambda x: helpers.C().m()|class C:\n    def m(self): return 2",
    ),
}  # fmt: skip

PROGRAM = """rate, table = 0.5, {"a": 1, "b": 2}
class C:
    gain = 2.0
    def __init__(self, a): self.a = a
    def m(self, x): return self.gain * self.a * x
    @functools.cached_property
    def kept(self): return self.a + 1
def g(x):
    return np.sin(0.0) + rate * x + table["a"]
c = C(3.0)
cached = functools.lru_cache(g)
def f(x):
    def inner(y): return helpers.h(y) + c.m(y)
    return inner(g(x)) + cached(x)
"""
HELPERS = "def h(x): return x + k\nk = 1"


#: What is done to the program that changes nothing of what `f` returns.
UNCHANGED = {
    "nothing": lambda text: text,
    "comment": lambda text: text.replace("def g(x):", "def g(x):  # the gain"),
    "comment between lines": lambda text: text.replace("    return np", "    # the gain\n    return np"),
    "empty lines": lambda text: "\n\n\n" + text.replace("\ndef", "\n\n\ndef"),
    "broken line": lambda text: text.replace("rate * x", "(rate\n\n      * x)"),
    "brackets": lambda text: text.replace("rate * x", "(rate * x)"),
    "quotes": lambda text: text.replace('"a"', "'a'"),
    "indent": lambda text: text.replace("    return np", "        return np"),
    "documentation": lambda text: text.replace("    return np", '    """The gain."""\n    return np'),
    "documentation of the inner function": lambda text: text.replace(
        "inner(y): return", "inner(y):\n        'Inner.'\n        return"
    ),
    "documentation of a class": lambda text: text.replace("class C:\n", "class C:\n    'Holds a gain.'\n"),
    "documentation of a method": lambda text: text.replace(
        "m(self, x): return", "m(self, x):\n        'Gain.'\n        return"
    ),
    "documentation of the program": lambda text: "'A program.'\n" + text,
    "annotation": lambda text: text.replace("def g(x):", "def g(x: float) -> float:"),
    "annotation of a method": lambda text: text.replace("m(self, x)", "m(self, x: float) -> float"),
    "annotation of an attribute": lambda text: text.replace("gain = 2.0", "gain: float = 2.0"),
    "number written otherwise": lambda text: text.replace("0.5", "5e-1"),
    "sum of constants": lambda text: text.replace("3.0", "(1.0 + 2.0)"),
    "global that f does not read": lambda text: text + "other = 3\n",
    "function that f does not call": lambda text: text + "def other(x): return x\n",
    "class that f does not use": lambda text: text + "class D: pass\n",
    "module imported in the cell": lambda text: "import numpy as np\n" + text,
    "import": lambda text: "import math, json\n" + text,
    "order of definitions": lambda text: text.replace("c = C(3.0)\n", "") + "c = C(3.0)\n",
    "cell run again": lambda text: text + text.partition("cached =")[0],
    "class defined again": lambda text: text + text[text.index("class C") : text.index("def g")],
    "object made again": lambda text: text + "c = C(3.0)\n",
    "module assigned again": lambda text: text + "helpers = helpers\n",
    "value kept by a cached property": lambda text: text + "c.kept\n",
    "value kept by a cache": lambda text: text + "cached(1.0)\n",
    "function that was run": lambda text: text + "f(1.0)\n",
    "function compiled before": lambda text: text + "jax.jit(g)(1.0)\n",
    "value set and set back": lambda text: text + "rate = 0.7\nrate = 0.5\n",
    "equal dict": lambda text: text.replace('{"a": 1, "b": 2}', "dict(a=1, b=2)"),
    "random numbers drawn by all": lambda text: text + "np.random.rand(); random.random()\n",
    "variable of the module that is not read": lambda text: text + "helpers.other = 3\n",
}  # fmt: skip


#: What no text can hold, and what code reads without naming it.
HIDDEN = {
    "lock": "import threading\nv = threading.Lock()\nf = lambda x: v",
    "generator": "v = (i for i in 'ab')\nf = lambda x: next(v)",
    "file": "v = open('/dev/null')\nf = lambda x: v.read()",
    "device": "v = jax.devices()[0]\nf = lambda x: v",
    "frame": "v = sys._getframe()\nf = lambda x: v",
    "memory": "v = memoryview(b'a')\nf = lambda x: v",
    "variable of a context": "import contextvars\nv = contextvars.ContextVar('v')\nf = lambda x: v.get()",
    "all names": "f = lambda x: globals()['v']",
    "module by its name": "f = lambda x: sys.modules['helpers'].v",
    "text that is run": "f = lambda x: eval('v')",
    "module by its text": "import importlib\nf = lambda x: importlib.import_module('helpers').v",
    "module by its text, of another name": "from importlib import import_module as v\nf = lambda x: v('helpers').v",
    "text that is run, of another name": "v = eval\nf = lambda x: v('w')",
    "variable of the environment that has no name": "import os\nv = 'A'\nf = lambda x: os.environ[v]",
    "environment under another name": "import os\nv = os.environ\nf = lambda x: v['A']",
    "environment as a whole": "import os\nf = lambda x: dict(os.environ)",
    "object that can't be looked at": (
        "class C:\n    @property\n    def __dict__(self): raise KeyError('no')\nv = C()\nf = lambda x: v"
    ),
    "module that is not there": "def f(x):\n    import no_such_module",
}


def cases() -> dict[str, tuple[str, str]]:
    """Pairs of programs that do not do the same, by name."""
    found = {}
    for value, pair in VALUES.items():
        for way, texts in WAYS.items():
            found[f"{value}, {way}"] = tuple("|".join(texts).replace("VALUE", each) for each in pair)
    return found | CHANGED


def missed(pair: tuple[str, str]) -> bool:
    """Whether two programs that do not do the same are taken for one another."""
    try:
        before, after = (of(*text.split("|")) for text in pair)
    except ValueError:
        return False
    return not changes(before, after)


def taken_up(pair: tuple[str, str]) -> bool:
    """Whether a training with one function goes on from the checkpoints of one with another."""
    try:
        before, after = (store(*text.split("|")) for text in pair)
        # As they come back from the disk.
        after.compare(json.loads(json.dumps(before.about)))
    except ValueError:
        return False
    return True


def confused(case: str) -> bool:
    """Whether two programs that do the same are taken for others."""
    return bool(changes(of(PROGRAM, HELPERS), of(UNCHANGED[case](PROGRAM), HELPERS)))


def unrefused(case: str) -> bool:
    """Whether what can't be seen is passed over."""
    try:
        of(HIDDEN[case])
    except ValueError:
        return False
    return True
