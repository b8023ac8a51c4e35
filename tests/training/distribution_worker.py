"""One learning run on neurons that are spread over devices or processes. Run as a program by test_distribution.py."""

import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np

N_TRIALS = 3


def parts():
    import overlap_learning as ol

    model = ol.Model(ol.Layout(), ol.Erf())
    task = ol.tasks.flip_flop(key=jax.random.key(0), n_trials=N_TRIALS, duration=4.0, dt=0.2)
    start = ol.Overlaps.random(model.layout, key=jax.random.key(0), scale=0.2)
    network = ol.Network.sample(start, 24, key=jax.random.key(1))
    rule = ol.GradientDescent(0.5, 10, save_every=5, momentum=0.5, clip_norm=0.3, label_noise=0.1)
    return model, task, network, rule


def learn(spread):
    """Numbers of a run, by name."""
    import overlap_learning as ol

    model, task, network, rule = parts()
    solution = ol.train(model, task, spread(network), rule, key=jax.random.key(3))
    whole = solution.gathered()
    return solution, {
        "gram": np.asarray(solution.overlaps.gram),
        "loss": np.asarray(solution.loss),
        "vectors": np.asarray(whole.final.vectors),
        "outputs": np.asarray(ol.simulate(model, solution.final, task)),
        "saved overlaps": whole.to_xarray()["overlaps"].to_numpy(),
    }


def refusal(function):
    try:
        function()
    except ValueError as error:
        return str(error)
    return ""


def on_devices(out):
    """Learning on several devices; the collective operations in the compiled gradient, and its largest array."""
    import overlap_learning as ol
    from overlap_learning.neurons.arrays import Neurons
    from overlap_learning.neurons.learner import NeuronLearner

    solution, numbers = learn(lambda network: network.sharded())
    model, task, network, rule = parts()
    # Of a mesh with more axes, of the kind that jax makes by default.
    spread = network.sharded(jax.make_mesh((2, 2), ("a", "b")))
    learner = NeuronLearner(model, Neurons(model.layout.rates(None)), spread.weights)

    @jax.jit
    def step(learner, position):
        loss, gradient = learner.gradient(position, task)
        memory = jax.tree.map(jnp.zeros_like, position)
        position, _ = rule.update(learner, position, gradient, memory, jnp.asarray(0.5), loss)
        return loss, position, learner.observe(position)

    program = step.lower(learner, Neurons(spread.vectors)).compile().as_text()
    kinds = "all-gather|all-to-all|collective-permute|collective-broadcast|reduce-scatter|all-reduce"
    learned = solution.final.vectors
    found = {
        "spread": [len(learned.addressable_shards), list(learned.sharding.shard_shape(learned.shape))],
        "collectives": re.findall(rf"= \w+\[([\d,]*)\]\S* ({kinds})(?:-start)?\(", program),
        "neurons in an array": [int(n) for n in re.findall(r"f64\[(?:\d+,)*(24|6)(?:,\d+)*\]", program)],
        "refusal": refusal(lambda: ol.Network(network.vectors[:22], network.layout).sharded()),
        "mesh": list(spread.vectors.sharding.shard_shape((24, 4))),
    }
    np.savez(out, found=json.dumps(found), **numbers)


def in_processes(out, rank, n_processes, address):
    """Learning as one of several processes."""
    import overlap_learning as ol

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, n_processes, rank)
    solution, numbers = learn(lambda network: network.sharded())
    model, task, network, rule = parts()
    found = {
        "shape": list(solution.final.vectors.addressable_shards[0].data.shape),
        "save": refusal(lambda: solution.to_xarray()),
        "checkpoint": refusal(
            lambda: ol.train(model, task, network.sharded(), rule, jax.random.key(3), checkpoint=ol.Checkpoint(out))
        ),
    }
    np.savez(f"{out}_{rank}.npz", found=json.dumps(found), **numbers)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    if len(sys.argv) == 2:
        on_devices(sys.argv[1])
    else:
        in_processes(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
