"""Without these tests the page could call a missed goal met, or a rerun could wipe out what people wrote."""

import pytest

from benchmarks.__main__ import run_suite
from benchmarks.bench import Bench
from benchmarks.document import BEGIN, END, between_marks, measured, write_document
from benchmarks.goals import AIMS, goals
from benchmarks.ratio import times
from benchmarks.sample import Sample, growth, percentile, quantity
from benchmarks.section import Goal, Section, Table, goal_table, load
from benchmarks.suites import SUITES

PAGE = f"# Performance\n\nprose before\n\n{BEGIN}\nold\n{END}\n\n## What was tried\n\nprose after\n"


def test_a_goal_says_which_side_is_good_and_by_how_much_it_is_met():
    ahead = Goal("times a peer", 2.5, 3.0)
    behind = Goal("times a peer", 2.5, 2.0)
    quick = Goal("p50", 150.0, 120.0, "us", at_least=False)
    slow = Goal("p50", 150.0, 300.0, "us", at_least=False)
    assert [one.met for one in (ahead, behind, quick, slow)] == [True, False, True, False]
    assert [round(one.margin, 2) for one in (ahead, behind, quick, slow)] == [0.2, -0.2, 0.2, -1.0]
    verdicts = [row[-1] for row in goal_table([ahead, behind]).rows]
    assert verdicts == ["met, +20%", "NOT met, -20%"]


def test_a_goal_that_is_just_reached_is_met():
    assert Goal("times a peer", 2.5, 2.5).met
    assert Goal("p99", 1.0, 1.0, "ms", at_least=False).met


def test_every_goal_of_a_suite_is_listed_whatever_was_measured():
    keys = {aim.key for aim in AIMS["wire"]}
    some, none = goals("wire", {"book/cryptofeed": 3.0}), goals("wire", {})
    assert len(some) == len(none) == len(keys)
    assert [goal.reached for goal in some] == [3.0, None]
    assert [goal.met for goal in some] == [True, False]


def test_a_suite_that_fails_leaves_its_goals_unmet_and_the_others_alone(monkeypatch):
    def fail(_bench):
        raise OSError("no such core")

    monkeypatch.setitem(SUITES, "latency", fail)
    bench = Bench(quick=True)
    found = run_suite("latency", bench)
    assert bench.failed == ["latency"]
    assert "no such core" in found.text
    assert [goal.met for goal in found.goals] == [False] * len(AIMS["latency"])


def test_times_are_how_much_less_time_it_takes():
    measured_both = {("book", "skulk"): Sample([2.0]), ("book", "peer"): Sample([5.0]), ("top", "peer"): Sample([1.0])}
    assert times(measured_both, ["book", "top"], ["peer", "absent"]) == {"book/peer": 2.5}


def test_a_goal_that_was_not_measured_is_shown_and_is_not_met():
    goal = Goal("times a peer that is not there", 2.5, None)
    assert not goal.met
    assert goal_table([goal]).rows == [["times a peer that is not there", "at least 2.5 x", "-", "not measured"]]
    others = sum(len(aims) for name, aims in AIMS.items() if name != "pipeline")
    text = measured([Section("pipeline", "From bytes", goals=[goal])])
    assert f"0 of {1 + others} met, {1 + others} not measured." in text  # those of suites that never ran, too


def test_a_rerun_replaces_what_is_between_the_marks_and_nothing_else():
    once = between_marks(PAGE, "first")
    twice = between_marks(once, "second")
    assert "old" not in once
    assert "first" in once
    assert "first" not in twice
    assert twice.startswith("# Performance\n\nprose before\n")
    assert twice.endswith("## What was tried\n\nprose after\n")
    assert between_marks(twice, "second") == twice


def test_a_page_without_its_marks_is_left_alone(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text("# Performance\n\nprose\n")
    with pytest.raises(ValueError, match="not both there"):
        write_document(page, tmp_path)
    assert page.read_text() == "# Performance\n\nprose\n"


def test_the_page_is_made_of_what_every_suite_found_last(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text(PAGE)
    Section("pipeline", "From bytes", "text", [Table(["a", "b"], [["x", "1"]])], [Goal("fast", 2.0, 1.0)]).save(
        tmp_path
    )
    Section("soak", "Soak", "hours", pictures=["soak.png"]).save(tmp_path)
    write_document(page, tmp_path)
    text = page.read_text()
    assert "| fast " in text
    assert "NOT met, -50%" in text
    assert text.index("## Goals") < text.index("## From bytes") < text.index("## Soak") < text.index(END)
    assert "![Soak](performance/soak.png)" in text


def test_what_was_left_out_is_said():
    found = Section("pipeline", "From bytes", skipped=["tardis skipped: node and npm are not installed"])
    assert "Left out: tardis skipped: node and npm are not installed." in measured([found])


def test_findings_outlive_the_run(tmp_path):
    section = Section("wire", "From the socket", goals=[Goal("g", 1.0, 2.0)], remarks=["r"], skipped=["s"])
    section.save(tmp_path)
    assert load(tmp_path, "wire") == section
    assert load(tmp_path, "other") is None


def test_a_table_is_as_wide_as_its_widest_cell():
    lines = Table(["name", "figure"], [["a", "1"], ["longer", "1,000"]]).markdown().splitlines()
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(
    ("value", "text"), [(12_345.0, "12,300"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.1234, "0.123")]
)
def test_a_figure_has_three_digits_that_matter(value, text):
    assert quantity(value) == text


def test_median_and_spread():
    sample = Sample([1.0, 2.0, 3.0, 4.0, 100.0])
    assert sample.median == 3.0
    assert sample.spread == pytest.approx(2 / 3)  # one outlier of five moves neither quartile
    assert Sample([5.0]).spread == 0.0
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert percentile([1.0], 0.999) == 1.0


def test_growth_is_the_slope_and_how_sure_it_is():
    exact = growth([0.0, 1.0, 2.0, 3.0], [5.0, 7.0, 9.0, 11.0])
    assert (exact.slope, exact.mean) == (2.0, 8.0)
    assert exact.error == pytest.approx(0.0)
    rough = growth([0.0, 1.0, 2.0, 3.0], [5.0, 8.0, 8.0, 11.0])
    assert rough.error == pytest.approx(0.4243, abs=1e-4)
    assert growth([1.0], [3.0]).slope == 0.0
    assert growth([2.0, 2.0], [3.0, 5.0]).slope == 0.0
