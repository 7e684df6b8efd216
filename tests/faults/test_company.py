"""Two commands in one workspace, a clock that goes back, and a launch that loses a process."""

from __future__ import annotations

import pytest

from tests.support.faults import cases, company, launched
from tests.support.faults.road import Road


def test_a_second_writer_is_refused_and_the_first_one_is_not_disturbed(road: Road) -> None:
    step = road.step("extend")
    other, faults = company.during(road, step, 20, road.step("build-ids").words)
    assert faults == [] and other is not None and other.code == 2
    assert (
        "another gti process is reading 'semantic_ids' (it makes 'extended')" in other.err
        and cases.one_error_line(other) == []
    )


def test_a_clock_that_goes_back_changes_nothing(road: Road) -> None:
    assert company.with_wrong_clock(road, road.step("build-ids"), days=900) == []


@pytest.mark.parametrize(("victim", "number", "patience"), [(1, 3, 20), (1, 10, 20), (0, 10, 1)])
def test_a_launch_that_loses_a_process_can_be_repeated(road: Road, victim: int, number: int, patience: float) -> None:
    # before the training, and while the process writes what nobody keeps; the other process must notice or finish,
    # but for one that waits for the decision of process 0: that one is up to the launcher
    assert launched.lose(road, road.step("finetune"), victim, number, patience) == []
