"""The EM loop with models that are easy to foretell."""

import logging
import math

import pytest

from fastmotion.em.driver import EMRun, best_of, run_em
from fastmotion.em.progress import Messages, messages_shown


class Halving:
    """A model whose distance from its best halves in each iteration."""

    def __init__(self, distance, best=0.0):
        self.distance = distance
        self.best = best
        self.calls = []

    def expectation(self):
        self.calls.append("expectation")
        return self.distance / 2, self.best - self.distance

    def maximisation(self, statistics):
        self.calls.append("maximisation")
        self.distance = statistics

    def parameters(self):
        return self.distance


class Coins:
    """Which of two coins gave each row of heads and tails: Do and Batzoglou 2008, figure 1."""

    HEADS = (5, 9, 8, 4, 7)
    TOSSES = 10

    def __init__(self, first, second):
        self.chances = (first, second)

    def expectation(self):
        heads, tosses, bound = [0.0, 0.0], [0.0, 0.0], 0.0
        for n in self.HEADS:
            likely = [p**n * (1 - p) ** (self.TOSSES - n) for p in self.chances]
            bound += math.log(sum(likely) / 2)
            for coin in range(2):
                share = likely[coin] / sum(likely)
                heads[coin] += share * n
                tosses[coin] += share * self.TOSSES
        return (heads, tosses), bound

    def maximisation(self, statistics):
        self.chances = tuple(h / n for h, n in zip(*statistics))

    def parameters(self):
        return self.chances


class Recorder:
    """Keeps what an observer is told; stops after some iterations."""

    def __init__(self, stop_after=math.inf):
        self.told = []
        self.stop_after = stop_after

    def start_begins(self, start):
        self.told.append(("start", start))

    def iteration_begins(self, iteration):
        self.told.append(("iteration", iteration))

    def iteration_ends(self, iteration, bound, change):
        self.told.append(("ended", iteration, bound, change))
        return iteration >= self.stop_after

    def start_ends(self, run):
        self.told.append(("run", run))


def below(tol):
    return lambda change: abs(change) < tol


def never(change):
    return False


def test_a_published_example():
    run = run_em(Coins(0.6, 0.5), max_iter=10, has_converged=never)
    assert run.parameters == pytest.approx((0.80, 0.52), abs=0.005)
    one = run_em(Coins(0.6, 0.5), max_iter=1, has_converged=never)
    assert one.parameters == pytest.approx((0.71, 0.58), abs=0.005)
    steps = [b - a for a, b in zip(run.lower_bounds, run.lower_bounds[1:])]
    assert min(steps) > 0


def test_bounds_are_those_before_each_maximisation():
    model = Halving(8.0)
    run = run_em(model, max_iter=3, has_converged=never)
    assert run.lower_bounds == [-8.0, -4.0, -2.0]
    assert run.lower_bound == -2.0
    assert run.parameters == model.distance == 1.0
    assert run.n_iter == 3 and not run.converged
    assert model.calls == ["expectation", "maximisation"] * 3


def test_convergence_ends_the_iterations():
    run = run_em(Halving(8.0), max_iter=100, has_converged=below(0.3))
    # The changes are inf, 4, 2, 1, 0.5 and 0.25.
    assert run.n_iter == 6 and run.converged
    assert run.parameters == 0.125


def test_the_last_iteration_may_converge():
    assert run_em(Halving(8.0), max_iter=6, has_converged=below(0.3)).converged
    assert not run_em(Halving(8.0), max_iter=5, has_converged=below(0.3)).converged


def test_the_first_change_is_from_the_previous_bound():
    changes = []
    run_em(Halving(8.0), max_iter=2, has_converged=changes.append)
    assert changes == [math.inf, 4.0]
    run = run_em(Halving(8.0), max_iter=9, has_converged=below(0.3), previous=-8.2)
    assert run.n_iter == 1 and run.converged


def test_no_iterations():
    model = Halving(8.0)
    run = run_em(model, max_iter=0, has_converged=never)
    assert run == EMRun(8.0, [], converged=False)
    assert run.n_iter == 0 and run.lower_bound == -math.inf
    assert model.calls == []


def test_an_infinite_bound_does_not_converge():
    class Impossible(Halving):
        def expectation(self):
            return self.distance, -math.inf

    run = run_em(Impossible(1.0), max_iter=4, has_converged=below(1e-3))
    assert not run.converged and run.n_iter == 4


def test_observers_are_told_in_order():
    recorder, other = Recorder(), Recorder()
    run = best_of(
        [lambda: Halving(2.0), lambda: Halving(4.0)],
        max_iter=2,
        has_converged=never,
        observers=iter([recorder, other]),
    )
    assert recorder.told[:6] == [
        ("start", 0),
        ("iteration", 1),
        ("ended", 1, -2.0, math.inf),
        ("iteration", 2),
        ("ended", 2, -1.0, 1.0),
        ("run", run),
    ]
    assert recorder.told[6] == ("start", 1)
    assert recorder.told[-1] == ("run", EMRun(1.0, [-4.0, -2.0]))
    assert other.told == recorder.told


def test_an_observer_may_stop_a_start():
    stopper, other = Recorder(stop_after=2), Recorder()
    run = run_em(Halving(8.0), max_iter=9, has_converged=never, observers=[stopper, other])
    assert run.n_iter == 2 and not run.converged
    # All have heard of the last iteration.
    assert other.told == stopper.told
    both = run_em(Halving(0.1), max_iter=9, has_converged=below(0.06), observers=[stopper])
    assert both.n_iter == 2 and both.converged


def test_the_best_start_wins():
    starts = [lambda b=b: Halving(1.0, best=b) for b in (1.0, 3.0, 2.0)]
    run = best_of(starts, max_iter=4, has_converged=never)
    assert run.lower_bound == pytest.approx(3.0 - 1 / 8)


def test_the_first_of_equals_wins():
    class Named(Halving):
        def parameters(self):
            return self.name

    def start(name, bound):
        model = Named(0.0, best=bound)
        model.name = name
        return lambda: model

    starts = [start("a", 1.0), start("b", 2.0), start("c", 2.0)]
    assert best_of(starts, max_iter=1, has_converged=never).parameters == "b"
    assert best_of(starts, max_iter=0, has_converged=never).parameters == "a"


def test_starts_are_made_one_at_a_time():
    made = []

    def starts():
        for distance in (2.0, 4.0):
            made.append(distance)
            yield lambda d=distance: made.append(("made", d)) or Halving(d)

    best_of(starts(), max_iter=1, has_converged=never)
    assert made == [2.0, ("made", 2.0), 4.0, ("made", 4.0)]


def test_no_start_is_an_error():
    with pytest.raises(ValueError, match="at least one start"):
        best_of([], max_iter=1, has_converged=never)


# Messages


def run_with_messages(verbose, interval=2, tol=0.3):
    with messages_shown(verbose):
        best_of(
            [lambda: Halving(8.0)],
            max_iter=6,
            has_converged=below(tol),
            observers=[Messages(verbose, interval)] if verbose else [],
        )


@pytest.fixture
def hide_handlers(monkeypatch):
    """Return a function that keeps messages from the handlers of the root logger.

    pytest adds its own again when the test begins, after the fixtures.
    """
    return lambda: monkeypatch.setattr(logging.getLogger("fastmotion"), "propagate", False)


def test_messages_are_those_of_scikit_learn(capsys, hide_handlers):
    hide_handlers()
    run_with_messages(1)
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.splitlines() == [
        "Initialization 0",
        "  Iteration 2",
        "  Iteration 4",
        "  Iteration 6",
        "Initialization converged.",
    ]


def test_more_messages_tell_times_and_changes(capsys, hide_handlers):
    hide_handlers()
    run_with_messages(2, interval=5, tol=0.0)
    first, iteration, last = capsys.readouterr().out.splitlines()
    assert first == "Initialization 0"
    assert iteration.startswith("  Iteration 5\t time lapse ") and iteration.endswith(" 0.50000")
    assert last.startswith("Initialization did not converge. time lapse ")
    assert last.endswith(" lower bound -0.25000.")


def test_silence_is_the_rule(capsys, hide_handlers):
    hide_handlers()
    run_with_messages(0)
    assert capsys.readouterr().out == ""


def test_messages_go_where_logging_sends_them(caplog, capsys):
    run_with_messages(1)
    assert "Initialization converged." in caplog.messages
    assert capsys.readouterr().out == ""


def test_messages_leave_the_logger_as_it_was(hide_handlers):
    hide_handlers()
    logger = logging.getLogger("fastmotion.em.progress")
    before = (logger.level, logger.handlers[:])
    with pytest.raises(RuntimeError), messages_shown(2):
        raise RuntimeError
    assert (logger.level, logger.handlers) == before
