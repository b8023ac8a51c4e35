"""Fingerprints: whatever decides what a function returns is seen or refused, and nothing else is."""

import json
import os
import re
import subprocess
import sys

import jax
import optax
import pytest

from benchmarks.survival.programs import (
    CHANGED,
    HEAD,
    HELPERS,
    HIDDEN,
    PROGRAM,
    UNCHANGED,
    VALUES,
    WAYS,
    missed,
    of,
    program,
    taken_up,
)  # fmt: skip
from overlap_learning.learning import origins
from overlap_learning.learning.fingerprint import changes, fingerprint

#: Every value by two ways, some values by every way.
ROUTES = [(value, way) for value in VALUES for way in ("global", "attribute of a module")] + [
    (value, way) for value in ("float", "data frame", "weights") for way in list(WAYS)[2:]
]


@pytest.mark.parametrize(("value", "way"), ROUTES)
def test_another_value_is_seen_whatever_the_way_to_it(value, way):
    before, again, after = (
        of(*(text.replace("VALUE", expression) for text in WAYS[way]))
        for expression in (VALUES[value][0], *VALUES[value])
    )
    assert not changes(before, again)
    assert changes(before, after)


@pytest.mark.parametrize("case", CHANGED)
def test_another_program_is_seen_by_sweeps_and_checkpoints(case):
    assert not missed(CHANGED[case])
    assert not taken_up(CHANGED[case])


@pytest.mark.parametrize("case", UNCHANGED)
def test_the_same_program_is_the_same_run(case):
    changed = UNCHANGED[case](PROGRAM)
    assert changed != PROGRAM or case == "nothing"
    assert changes(of(PROGRAM, HELPERS), of(changed, HELPERS)) == ""


def test_a_schedule_that_has_been_called_is_the_same():
    """Optax rewrites what this one closes over at its first call."""
    before, schedule, other = (optax.cosine_decay_schedule(1.0, steps) for steps in (10, 10, 11))
    schedule(3)
    assert changes(fingerprint({"f": before}), fingerprint({"f": schedule})) == ""
    assert changes(fingerprint({"f": before}), fingerprint({"f": other}))


@pytest.mark.parametrize("case", HIDDEN)
def test_what_can_not_be_seen_is_refused_by_name_or_said_by_a_version(case):
    space = program(HIDDEN[case])
    with pytest.raises(ValueError, match=r"^sweep: can't see what (__main__\.v|f \(.*\)) is .*pass version='1'"):
        fingerprint({"f": space["f"]}, "sweep")
    one, other = (fingerprint({"f": space["f"]}, "sweep", version) for version in ("1", "2"))
    assert changes(one, other) == "version was '1' and is '2'"
    if hasattr(space.get("v"), "close"):
        space["v"].close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "rate = {}\nscaled = functools.partial(lambda r, x: r * x, rate)\nf = lambda x: scaled(x)",
            r"__main__\.scaled\.args\[0\] was 1 and is 2",
        ),
        (
            "class C:\n    def m(self): return {}\nc = C()\nf = lambda x: c.m()",
            r"__main__\.C\.m was function \w+ and is",
        ),
        ("o = optax.exponential_decay({}, 10, 0.9)\nf = lambda x: o(x)", r"__main__\.o\.init_value was 1 and is 2"),
    ],
)  # fmt: skip
def test_what_changed_is_named(text, words):
    assert re.match(words, changes(of(text.format(1)), of(text.format(2))))


def test_another_process_with_another_file_and_order_of_sets_is_the_same_run(tmp_path):
    more = "\nnames, made = {'a', 'b', 'c'}, optax.adam(1e-3)\nf = functools.partial(f, (names, made))\n"
    text = HEAD + "import helpers\n" + PROGRAM + more
    (tmp_path / "helpers.py").write_text(HEAD + HELPERS)
    (tmp_path / "study.py").write_text(
        text + "from overlap_learning.learning.fingerprint import fingerprint\nimport json\n"
        # Orbax is slow to import, and few runs need it.
        "assert not any(name.startswith('orbax') for name in sys.modules)\n"
        f"jax.config.update('jax_enable_x64', {jax.config.read('jax_enable_x64')})\n"
        "print(json.dumps(fingerprint({'f': f}, 'sweep')))"
    )
    command, environment = [sys.executable, str(tmp_path / "study.py")], os.environ | {"PYTHONHASHSEED": "1"}
    there = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(there.stdout) == of(PROGRAM + more, HELPERS)


def test_between_two_versions_of_the_package_its_source_tells_which_makes_the_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(origins, "__file__", str(tmp_path / "learning" / "origins.py"))
    versions = []
    for place, text in (("model/a.py", "1"), ("plot/a.py", "1"), ("model/a.py", "2"), ("model/b.py", "")):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(text)
        versions.append(origins.this_package.__wrapped__())
    assert versions[0] == versions[1]
    assert len(set(versions)) == 3
