"""The states of a service by transition: which can follow from which, and that no other can."""

from __future__ import annotations

import pytest

from cc.supervisor.states import EDGES, IllegalMove, State, may, move, through

LEGAL = """
stopped  -> starting unknown
starting -> running backoff stopping unknown
running  -> starting backoff stopping exited unknown
backoff  -> starting running stopping stopped fatal unknown
stopping -> stopped unknown
exited   -> starting running backoff stopping stopped fatal unknown
fatal    -> starting running stopping stopped
unknown  -> stopped starting running backoff stopping exited fatal
"""
TABLE = {
    State(row.partition("->")[0].strip()): {State(word) for word in row.partition("->")[2].split()}
    for row in LEGAL.strip().splitlines()
}
PAIRS = [(before, after) for before in State for after in State]


@pytest.mark.parametrize(("before", "after"), PAIRS, ids=lambda state: state.value)
def test_a_transition_is_made_if_the_table_has_it_and_refused_if_not(before: State, after: State) -> None:
    assert may(before, after) is (after in TABLE[before])
    if after in TABLE[before]:
        assert move(before, after) is after
    else:
        with pytest.raises(IllegalMove, match=f"no service goes from {before.value} to {after.value}") as caught:
            move(before, after)
        assert (caught.value.before, caught.value.after) == (before, after)


def test_every_state_has_its_row_and_none_leads_to_itself() -> None:
    assert set(EDGES) == set(State)
    assert not [state for state in State if state in EDGES[state]]


@pytest.mark.parametrize("before", [State.STOPPED, State.STOPPING])
def test_stopped_becomes_running_only_by_way_of_starting(before: State) -> None:
    assert not may(before, State.RUNNING)


@pytest.mark.parametrize("before", list(State))
def test_fatal_is_reached_only_by_giving_up(before: State) -> None:
    assert may(before, State.FATAL) is (before in (State.BACKOFF, State.EXITED, State.UNKNOWN))


def test_a_way_of_several_moves_passes_over_what_is_reached_already() -> None:
    assert through(State.FATAL, State.STARTING, State.RUNNING) is State.RUNNING
    assert through(State.STARTING, State.STARTING, State.RUNNING) is State.RUNNING
    assert through(State.RUNNING) is State.RUNNING
    with pytest.raises(IllegalMove):
        through(State.STOPPED, State.RUNNING)
