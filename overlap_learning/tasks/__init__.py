"""Tasks: batches of trials with a loss, generators of those that the field uses, and streams of fresh trials."""

from overlap_learning.tasks.corpus import Corpus, Sentences
from overlap_learning.tasks.cosine import cosine
from overlap_learning.tasks.decision_making import decision_making
from overlap_learning.tasks.flip_flop import flip_flop
from overlap_learning.tasks.flip_flop_channels import flip_flop_channels
from overlap_learning.tasks.impulse import damped_oscillation, exponential_filter, impulse_response
from overlap_learning.tasks.lexicon import synthetic_corpus
from overlap_learning.tasks.mante import mante
from overlap_learning.tasks.other_packages import from_neurogym, from_psychrnn
from overlap_learning.tasks.romo import romo
from overlap_learning.tasks.stream import TaskStream, stream
from overlap_learning.tasks.task import Task
from overlap_learning.tasks.teacher import teacher
from overlap_learning.tasks.treebank import treebank_corpus

__all__ = [
    "Corpus",
    "Sentences",
    "Task",
    "TaskStream",
    "cosine",
    "damped_oscillation",
    "decision_making",
    "exponential_filter",
    "flip_flop",
    "flip_flop_channels",
    "from_neurogym",
    "from_psychrnn",
    "impulse_response",
    "mante",
    "romo",
    "stream",
    "synthetic_corpus",
    "teacher",
    "treebank_corpus",
]
