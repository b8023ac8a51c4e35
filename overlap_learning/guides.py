"""Guides: the sections of the documentation that errors and warnings end with."""

#: Where a section is. Pages have no address on the web: a path in a clone of the repository.
PLACE = "docs/{page}.md#{anchor}"
#: Sections by topic: page and anchor.
GUIDES = {
    "activation": ("how-to/own-activation", "what-the-theory-asks-of-it"),
    "bulk": ("how-to/random-connectivity", "any-task-every-connection"),
    "checkpoint": ("how-to/check-at-full-n", "long-runs"),
    "closure": ("how-to/trust", "let-the-closure-be-chosen"),
    "cluster": ("how-to/sweeps", "on-a-cluster"),
    "failure": ("how-to/learning-rules", "when-learning-fails"),
    "file": ("how-to/save-and-load", "netcdf"),
    "float64": ("faq", "why-must-jax-be-switched-to-64-bits"),
    "infeasible": ("how-to/equivalence", "a-pair-with-the-same-behaviour"),
    "means": ("how-to/trust", "activations-that-are-not-odd"),
    "network": ("how-to/own-network", "from-vectors-and-from-matrices"),
    "neurons": ("how-to/own-network", "do-its-overlaps-do-what-it-does"),
    "points": ("how-to/sweeps", "points-that-fail"),
    "recordings": ("how-to/fit-recordings", "the-data"),
    "refused": ("what-it-can", "learning"),
    "stream": ("how-to/own-task", "fresh-trials-at-every-step"),
    "sweep": ("how-to/sweeps", "long-sweeps"),
    "task": ("how-to/own-task", "from-arrays"),
    "ties": ("how-to/own-network", "outputs-that-are-fed-back"),
    "trust": ("how-to/trust", "ask-the-solution"),
}


def guide(topic: str) -> str:
    """The last line of a message, such as "See docs: docs/how-to/trust.md#ask-the-solution".

    Args:
        topic: one of `GUIDES`.
    """
    page, anchor = GUIDES[topic]
    return f"\nSee docs: {PLACE.format(page=page, anchor=anchor)}"
