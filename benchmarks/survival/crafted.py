"""Crafted files: a saved solution in which somebody changed something, with a checksum that is right again."""

import contextlib
import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import h5py
import jax
import numpy as np

import overlap_learning as ol
from overlap_learning.learning.files import SEAL

#: More elements than any memory holds.
HUGE = 10**13
NOT_POSSIBLE = (
    AttributeError, ArithmeticError, IndexError, KeyError, MemoryError, OSError, RuntimeError, TypeError, ValueError,
    Warning,
)  # fmt: skip
SECRET = b"what stands in another file of this machine"


def saved() -> list[ol.Solution]:
    """Solutions whose files are changed: of the theory and of every neuron."""
    model, task = ol.Model(ol.Layout(), ol.Linear()), ol.tasks.exponential_filter(duration=2.0, dt=0.1)
    start = ol.Overlaps.from_entries(model.layout, zu=0.1, vm=0.1)
    rule = ol.GradientDescent(0.01, 6, save_every=2)
    network = ol.Network.sample(start, 8, key=jax.random.key(0))
    return [ol.integrate(model, task, start, rule), ol.train(model, task, network, rule)]


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


def seal(path: Path) -> None:
    """End a file with the checksum of what is in it."""
    content = path.read_bytes().partition(SEAL)[0]
    path.write_bytes(content + SEAL + hashlib.sha256(content).hexdigest().encode())


def outcome(path: Path) -> str:
    """What loading gives: "refused" with words that name the file, "sound", or what is wrong."""
    try:
        solution = ol.load(path)
    except ValueError as error:
        text = str(error)
        return "refused" if text.startswith("load: ") and (repr(str(path)) in text or "pass it" in text) else text
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return unsound(solution) or "sound"


def unsound(solution: ol.Solution) -> str:
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


def _schema(file, name, draw):
    file.attrs["overlap_learning_schema"] = draw.choice(
        [1, 3, -1, 2.0, 2.5, "2", "two", np.array([2, 2]), b"\0", np.nan]
    )


CHANGES: list[Callable[[h5py.File, str, random.Random], None]] = [
    _shape, _kind, _odd_kind, _value, _value, _external, _virtual, _filter, _huge, _soft_link, _external_link, _alias,
    _group, _absent, _other_name, _more, _attribute, _attribute, _no_attribute, _reference, _model, _schema,
]  # fmt: skip
