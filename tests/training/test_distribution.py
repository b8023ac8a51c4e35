"""Neurons spread over devices and over processes: the numbers of one device, and what is exchanged."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from distribution_worker import N_TRIALS, learn

import overlap_learning as ol

WORKER = Path(__file__).with_name("distribution_worker.py")
# The flags of this process but for its number of devices.
FLAGS = " ".join(flag for flag in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in flag)
SECONDS = 600

# Sums over 24 neurons in another order: a few rounding errors per sum of order 1, carried through 20 time steps forth
# and back and 10 learning steps.
ROUNDING = 10 * 2 * 20 * np.finfo(float).eps


def start(*arguments, **environment):
    paths = [str(WORKER.parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "JAX_PLATFORMS": "cpu", **environment}
    command = [sys.executable, str(WORKER), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait(*processes):
    try:
        for process in processes:
            text, _ = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, text
    finally:
        for process in processes:
            process.kill()


def read(path):
    with np.load(path) as file:
        numbers = dict(file)
    return numbers, json.loads(str(numbers.pop("found")))


@pytest.fixture(scope="module")
def one_device():
    return learn(lambda network: network)[1]


@pytest.fixture(scope="module")
def four_devices(tmp_path_factory):
    path = tmp_path_factory.mktemp("devices") / "out.npz"
    wait(start(path, XLA_FLAGS=f"{FLAGS} --xla_force_host_platform_device_count=4"))
    return read(path)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    path = tmp_path_factory.mktemp("processes") / "out"
    # One device each, whatever this process has; what compiles fast is fast enough.
    environment = {"XLA_FLAGS": FLAGS, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    wait(*(start(path, rank, 2, f"localhost:{port}", **environment) for rank in (0, 1)))
    return [read(f"{path}_{rank}.npz") for rank in (0, 1)]


def check_same(numbers, expected):
    assert numbers.keys() == expected.keys()
    for name, values in expected.items():
        assert np.max(np.abs(numbers[name] - values)) <= ROUNDING, name
    # There was something to get wrong.
    assert np.max(np.abs(expected["gram"][-1] - expected["gram"][0])) > 0.05


def test_four_devices_learn_what_one_does(four_devices, one_device):
    numbers, found = four_devices
    assert found["spread"] == [4, [6, 4]]
    check_same(numbers, one_device)


def test_a_mesh_of_several_axes_of_any_kind_is_filled_by_neurons(four_devices):
    assert four_devices[1]["mesh"] == [6, 4]


def test_devices_exchange_sums_over_neurons_and_never_neurons(four_devices):
    collectives = four_devices[1]["collectives"]
    assert {kind for _, kind in collectives} == {"all-reduce"}
    sizes = [int(np.prod([int(n) for n in shape.split(",") if n])) for shape, _ in collectives]
    # Currents and outputs of all trials at a time (rank + n_out = n_in + rank = 2 each), or overlaps.
    assert max(sizes) <= max(2 * N_TRIALS, 4 * 4)
    assert 2 * N_TRIALS in sizes
    # Every device holds its own 6 of the 24 neurons in every array of the program.
    assert set(four_devices[1]["neurons in an array"]) == {6}


def test_neurons_that_do_not_divide_evenly_are_refused_with_a_number_that_does(four_devices):
    assert (
        "22 neurons can't be spread evenly over 4 devices; use a multiple of 4, such as 20"
        in four_devices[1]["refusal"]
    )


def test_two_processes_learn_what_one_does(two_processes, one_device):
    for numbers, found in two_processes:
        assert found["shape"] == [12, 4]
        check_same(numbers, one_device)


def test_processes_refuse_what_needs_all_neurons_in_one_and_say_what_to_do(two_processes):
    for _, found in two_processes:
        assert "spread over several processes" in found["save"]
        assert "solution.gathered() in every process" in found["save"]
        assert "checkpoint can't be written of neurons that are spread over several processes" in found["checkpoint"]


def test_a_traced_network_is_refused():
    network = ol.Network(jnp.ones((4, 4)), ol.Layout())
    with pytest.raises(ValueError, match=r"Network\.sharded: call it outside jit and vmap"):
        jax.jit(lambda n: n.sharded())(network)
