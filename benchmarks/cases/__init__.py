"""What is timed: a module for each question, with the sizes of a full run and of a quick one."""

from benchmarks.cases import bulk, bulk_theory, fit_tensor, flow, full_n, theory_many, theory_nonlinear, theory_one

#: In the order of the table. Each has `comparisons(quick)`, a generator that is sent the rows of what it yielded.
CASES = {
    "theory_one": theory_one,
    "theory_many": theory_many,
    "flow": flow,
    "theory_nonlinear": theory_nonlinear,
    "full_n": full_n,
    "bulk": bulk,
    "bulk_theory": bulk_theory,
    "fit_tensor": fit_tensor,
}
