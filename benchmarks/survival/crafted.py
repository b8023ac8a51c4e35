"""Crafted files: a saved solution, fit or sweep in which somebody changed something, its checksum right again."""

import contextlib
import dataclasses
import hashlib
import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np

import overlap_learning as ol
from overlap_learning import fitting
from overlap_learning.fitting.contents import ARRAYS, COURSE, DEVIANCE, READOUT
from overlap_learning.fitting.result import Fit
from overlap_learning.learning.files import SEAL

#: More elements than any memory holds.
HUGE = 10**13
NOT_POSSIBLE = (
    AttributeError, ArithmeticError, IndexError, KeyError, MemoryError, OSError, RuntimeError, TypeError, ValueError,
    Warning,
)  # fmt: skip
SECRET = b"what stands in another file of this machine"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file that this package reads.

    Args:
        save: write one.
        outcome: what reading gives: "refused" with words that name the file, "sound", or what is wrong.
    """

    save: Callable[[Path], None]
    outcome: Callable[[Path], str]


def _solutions() -> list[ol.Solution]:
    model, task = ol.Model(ol.Layout(), ol.Linear()), ol.tasks.exponential_filter(duration=2.0, dt=0.1)
    start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
    rule = ol.GradientDescent(0.01, 6, save_every=2)
    network = ol.Network.sample(start, 8, key=jax.random.key(0))
    return [ol.integrate(model, task, start, rule), ol.train(model, task, network, rule)]


def a_fit(n_seeds: int = 2) -> Fit:
    """A fit of one component, with numbers of no recordings."""
    n_trials, n_times, n, draw = 4, 5, 6, np.random.default_rng(0).normal
    sizes = {"trial": n_trials, "time": n_times, "unit": n, "neuron": n, "component": 1, "extra": 0}
    sizes |= {"condition_name": 2, "direction": 1}

    def drawn(dimensions: dict[str, tuple[str, ...]]) -> dict[str, jax.Array]:
        return {name: jnp.asarray(draw(size=(n_seeds, *map(sizes.get, dims)))) for name, dims in dimensions.items()}

    def each(values) -> jax.Array:
        return jnp.broadcast_to(jnp.asarray(values), (n_seeds, *np.shape(values)))

    networks = fitting.TensorNetwork(
        **drawn(ARRAYS),
        readout=drawn(READOUT),
        times=each(np.linspace(0, 1, n_times)),
        conditions=each(np.arange(n_trials) % 2),
        time_constant=each(0.3),
        activation=ol.Tanh(),
        decoder=fitting.Orthonormal(),
        solver=fitting.Diffrax(),
    )
    part = np.arange(n_trials * n_times * n).reshape(n_trials, n_times, n) % 3
    masks = fitting.Masks(part == 0, part == 1, part == 2, np.where(part == 2, 0, -1))
    return Fit(
        networks=networks, best=1, step=np.arange(3), course={name: draw(size=(n_seeds, 3)) for name in COURSE},
        deviance={name: draw(size=n_seeds) for name in DEVIANCE}, block_deviance=draw(size=1), block_null=draw(size=1),
        block_sizes=np.array([part.size // 3]), results=("successful",) * n_seeds, curvature=np.ones((n_trials, 1, 1)),
        prior=fitting.GaussianProcess(), likelihood=fitting.Gaussian(), inputs=fitting.Inputs(), masks=masks,
        level=0.5, trial_ids=np.arange(n_trials), condition_names=("a", "b"), epochs=None,
    )  # fmt: skip


def _points(a: float) -> dict[str, object]:
    return {"x": a, "series": ("t", a * np.arange(3.0)), "name": "odd" if a > 1 else "even", "n": 3}


def _sweep(folder: Path):
    return ol.sweep(_points, {"a": [0.5, 1.0, 1.5]}, folder=folder, progress=False)


def _save_points(path: Path) -> None:
    folder = path.with_suffix(".sweep")
    _sweep(folder)
    path.write_bytes(next(folder.glob("*.nc")).read_bytes())


def craft(content: bytes, path: Path, seed: int) -> str:
    """Write a file with one to three changes to `path`; what they are."""
    draw = random.Random(seed)
    path.write_bytes(content.partition(SEAL)[0])
    done = []
    with h5py.File(path, "r+") as file:
        for _ in range(draw.randint(1, 3)):
            change, name = draw.choice(CHANGES), draw.choice(list(file) or [""])
            # Some changes do not fit each other, or the variable.
            with contextlib.suppress(*NOT_POSSIBLE):
                change(file, name, draw)
                done.append(f"{change.__name__.strip('_')} of {name}")
    seal(path)
    return ", ".join(done)


def damage(content: bytes, path: Path, seed: int) -> None:
    """Write a file in which one to eight bytes are others."""
    draw, changed = random.Random(seed), bytearray(content.partition(SEAL)[0])
    for _ in range(draw.randint(1, 8)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    path.write_bytes(changed)
    seal(path)


def seal(path: Path) -> None:
    """End a file with the checksum of what is in it."""
    content = path.read_bytes().partition(SEAL)[0]
    path.write_bytes(content + SEAL + hashlib.sha256(content).hexdigest().encode())


def _outcome(path: Path, load: Callable[[Path], Any], caller: str, unsound: Callable[[Any], str]) -> str:
    try:
        return unsound(load(path)) or "sound"
    except ValueError as error:
        text = str(error)
        return "refused" if text.startswith(f"{caller}: ") and (repr(str(path)) in text or "pass it" in text) else text
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _outcome_of_points(path: Path) -> str:
    """A sweep goes on with what it can read, and says of the rest that it is computed again."""
    # The folder of the saved sweep, in which the file is changed.
    folder = next(path.parent.glob("*.sweep"))
    whole = _sweep(folder)
    place = next(folder.glob("*.nc"))
    content = place.read_bytes()
    place.write_bytes(path.read_bytes())
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = _sweep(folder)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        for file in folder.glob("*.nc"):
            file.unlink()
        place.write_bytes(content)
    refused = any("computed again" in str(each.message) and place.name in str(each.message) for each in said)
    if refused:
        return "refused" if found.identical(whole) else "not the same after it was computed again"
    form = [{name: (v.dims, v.shape, v.dtype.kind) for name, v in d.variables.items()} for d in (found, whole)]
    return "sound" if form[0] == form[1] else f"another form: {form[0]}"


def _unsound_fit(fit: Fit) -> str:
    """What no saved fit can be; empty if there is nothing."""
    str(fit)
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves((fit.network, fit.curvature, fit.block_deviance))]
    if any(SECRET[:8] in array.tobytes() for array in arrays):
        return "it has bytes of another file"
    if not all(np.all(np.isfinite(array)) for array in arrays):
        return "it is not finite"
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(fit)]
    return "" if shapes == [np.shape(leaf) for leaf in jax.tree.leaves(a_fit())] else f"shapes {shapes}"


def _unsound(solution: ol.Solution) -> str:
    """What no saved solution can be; empty if there is nothing."""
    time, loss = np.asarray(solution.time), np.asarray(solution.loss)
    if solution.model is None:
        return "" if loss.shape == time.shape and np.all(np.isfinite(loss)) else "the loss is not finite"
    gram, final = np.asarray(solution.overlaps.gram), solution.final
    d = solution.model.layout.size
    final_gram = np.asarray(final.gram if isinstance(final, ol.Overlaps) else final.overlaps.gram)
    if SECRET[:8] in loss.tobytes() + gram.tobytes() + final_gram.tobytes():
        return "it has bytes of another file"
    if loss.shape != time.shape or gram.shape != (*time.shape, d, d) or final_gram.shape != (d, d):
        return f"shapes {time.shape} {loss.shape} {gram.shape} {final_gram.shape}"
    for name, array in (("time", time), ("loss", loss), ("gram", gram), ("final", final_gram)):
        if not np.all(np.isfinite(array[np.isfinite(time)] if array.shape[:1] == time.shape else array)):
            return f"{name} is not finite"
    for array in (gram, final_gram):
        if not np.allclose(array, np.swapaxes(array, -1, -2), rtol=0, atol=1e-9 * np.max(np.abs(array))):
            return "a Gram matrix is not symmetric"
    str(solution)
    return ""


def _report() -> ol.Validation:
    theory, full = _solutions()
    deviation = np.zeros((1, 1, *np.shape(ol.validation.finite_size.entries(theory))))
    return ol.Validation(theory, (8,), deviation, np.asarray(full.loss)[None, None], 1, np.ones(1))


def _unsound_report(report: ol.Validation) -> str:
    """What no saved report can be; empty if there is nothing."""
    str(report)
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(report)]
    if any(SECRET[:8] in array.tobytes() for array in arrays):
        return "it has bytes of another file"
    own = [[(a.shape, a.dtype) for a in (r.deviation, r.loss, r.tolerance)] for r in (report, _report())]
    return _unsound(report.theory) or ("" if own[0] == own[1] else f"another form: {own[0]}")


KINDS = {
    "theory": Kind(
        lambda path: _solutions()[0].save(path), lambda path: _outcome(path, ol.load, "load", _unsound),
    ),
    "neurons": Kind(
        lambda path: _solutions()[1].save(path), lambda path: _outcome(path, ol.load, "load", _unsound),
    ),
    "fit": Kind(
        lambda path: a_fit().save(path), lambda path: _outcome(path, fitting.load, "fitting.load", _unsound_fit)
    ),
    "report": Kind(
        lambda path: _report().save(path),
        lambda path: _outcome(path, ol.Validation.load, "Validation.load", _unsound_report),
    ),
    "points of a sweep": Kind(_save_points, _outcome_of_points),
}  # fmt: skip


def outcome(kind: str, path: Path) -> str:
    """What reading a file of a kind gives."""
    return KINDS[kind].outcome(path)


# -- changes -----------------------------------------------------------------------------------------------------------


def _replaced(file: h5py.File, name: str, **how) -> None:
    attributes = {key: file[name].attrs[key] for key in ("long_name", "units") if key in file[name].attrs}
    del file[name]
    file.create_dataset(name, **how).attrs.update(attributes)


def _shape(file, name, draw):
    old = file[name]
    _replaced(file, name, data=np.zeros(draw.choice([(), (0,), (1,), (3, 3), (*old.shape, 2), (7,) * old.ndim]), "f8"))


def _kind(file, name, draw):
    kind = draw.choice(["i8", "f4", "u1", "S5", "c16", "V7", "?", h5py.string_dtype(), "f2", "i1"])
    _replaced(file, name, data=np.zeros(file[name].shape, kind))


def _odd_kind(file, name, draw):
    kind = draw.choice([
        h5py.ref_dtype, h5py.regionref_dtype, h5py.vlen_dtype("f8"), h5py.enum_dtype({"a": 1}),
        h5py.opaque_dtype(np.dtype("M8[ns]")), np.dtype([("r", "f8"), ("j", "i8")]), np.dtype(("f8", (2,))),
    ])  # fmt: skip
    _replaced(file, name, shape=file[name].shape, dtype=kind)


def _value(file, name, draw):
    array = file[name][()]
    flat = np.array(array).reshape(-1)
    flat[draw.randrange(flat.size)] = draw.choice([np.nan, np.inf, -np.inf, -1, 99, 1e300, 1e-300, 0])
    file[name][...] = flat.reshape(np.shape(array))


def _external(file, name, draw):
    secret = Path(file.filename).with_name("secret")
    secret.write_bytes(SECRET * 100)
    shape = file[name].shape
    _replaced(file, name, shape=shape, dtype="f8", external=[(str(secret), 0, 8 * int(np.prod(shape)))])


def _virtual(file, name, draw):
    layout = h5py.VirtualLayout(file[name].shape, "f8")
    layout[...] = h5py.VirtualSource(draw.choice([".", "other.h5"]), "loss", file[name].shape)
    del file[name]
    file.create_virtual_dataset(name, layout)


def _filter(file, name, draw):
    how = draw.choice([{"compression": "gzip"}, {"shuffle": True}, {"fletcher32": True}, {"scaleoffset": 2}])
    _replaced(file, name, data=np.ones(file[name].shape or (1,)), chunks=True, **how)


def _huge(file, name, draw):
    how = draw.choice([{}, {"chunks": (1024,)}, {"chunks": (1024,), "compression": "gzip"}, {"fillvalue": 1.0}])
    _replaced(file, name, shape=(HUGE,), dtype="f8", **how)


def _soft_link(file, name, draw):
    del file[name]
    file[name] = h5py.SoftLink(draw.choice(["/loss", "/", "/no", f"/{name}"]))


def _external_link(file, name, draw):
    del file[name]
    file[name] = h5py.ExternalLink(draw.choice([file.filename, "/etc/passwd", "other.h5"]), "/loss")


def _alias(file, name, draw):
    other = draw.choice(list(file))
    del file[name]
    file[name] = file[other]


def _group(file, name, draw):
    del file[name]
    file.create_group(name)
    file[name]["loss"] = file["/"] if draw.random() < 0.5 else file["loss"]


def _absent(file, name, draw):
    del file[name]


def _other_name(file, name, draw):
    file.move(name, draw.choice(["x", "final_", "stat_", "saved_x", "LOSS", f"{name} ", "final_bulk", "\u00e9" * 300]))


def _more(file, name, draw):
    extra = draw.choice(["final_bulk", "final_bulk_data", "final_means", "final_vectors", "vectors", "bulk", "stat_x"])
    file[extra] = np.full(draw.choice([(2, 2), (4,), (8, 4), ()]), draw.choice([1.0, np.nan]))


def _attribute(file, name, draw):
    of = draw.choice([file, file[name]])
    key = draw.choice([*of.attrs, "scale_factor", "units", "_FillValue", "dtype", "coordinates", "missing_value"])
    values = [
        2.0,
        "days since 2000-01-01",
        "object",
        b"\xff\xfe",
        np.zeros(3),
        "loss gram",
        h5py.Empty("f8"),
        "a" * 9999,
    ]
    of.attrs[key] = draw.choice(values)


def _no_attribute(file, name, draw):
    of = draw.choice([file, file[name]])
    del of.attrs[draw.choice(list(of.attrs))]


def _reference(file, name, draw):
    file[name].attrs.create(draw.choice(["DIMENSION_LIST", "x"]), file["loss"].ref, dtype=h5py.ref_dtype)


def _model(file, name, draw):
    about = json.loads(file.attrs["model"])
    key = draw.choice(list(about))
    about[key] = draw.choice([None, 1, "Tanh", [], {}, [["a"]], -1, 1e400, "no such"])
    odd = {"n_in": 1, "n_out": 1, "rank": draw.choice([2, -1, 2**31 - 1, 10**30, True, "1", None, 0])}
    if draw.random() < 0.5:
        about["layout"] = odd
    if draw.random() < 0.2:
        about |= {
            "activation": "Tanh",
            "quadrature": [draw.choice(["Trapezoid", "eval"]), draw.choice([10**12, 3, "x"])],
        }
    if draw.random() < 0.1:
        about["bulk"] = draw.choice([{"ensemble": "RandomBulk", "g": -1.0}, {"ensemble": "os"}, {"g": 1.0}, 3])
    file.attrs["model"] = draw.choice([json.dumps(about)] * 5 + ["[" * 100_000, "null", "{", "3", '"a"'])


def _described(file, name, draw):
    """Something within what the file says of itself."""
    texts = [key for key in file.attrs if str(file.attrs[key]).startswith("{") and key not in ("model", "versions")]
    key = draw.choice(texts)
    about = json.loads(file.attrs[key])
    places = []

    def find(value):
        for at in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, at))
            find(value[at])

    find(about)
    value, at = draw.choice(places)
    odd = [None, -1, 10**30, 1e400, "no such", [], {}, ["a"], {"kind": "Erf"}, {"diffrax": "Solution"}, True, 2.5]
    value[at] = draw.choice(odd)
    file.attrs[key] = json.dumps(about)


def _schema(file, name, draw):
    key = draw.choice([key for key in file.attrs if key.endswith("schema")])
    file.attrs[key] = draw.choice([1, 3, -1, 2.0, 2.5, "2", "two", np.array([2, 2]), b"\0", np.nan])


CHANGES: list[Callable[[h5py.File, str, random.Random], None]] = [
    _shape, _kind, _odd_kind, _value, _value, _external, _virtual, _filter, _huge, _soft_link, _external_link, _alias,
    _group, _absent, _other_name, _more, _attribute, _attribute, _no_attribute, _reference, _model, _described,
    _described, _schema,
]  # fmt: skip
