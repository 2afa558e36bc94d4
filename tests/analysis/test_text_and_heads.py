"""What is chosen of text and of heads."""

import pytest

from pythia_traj.analysis import heads, text
from pythia_traj.analysis.selection import measured
from pythia_traj.analysis.trajectories import at_some_steps
from tests.analysis.frames import frame, head


def test_loss_on_text_is_over_all_tokens_with_its_controls():
    rows = frame(
        {"value": 3.0},
        {"value": 9.0, "control": "shuffled"},
        {"value": 1.0, "position": 4},
        {"value": 2.0, "part": "first_copy"},
        {"value": 0.4, "metric": "accuracy"},
    )
    assert text.loss_on_text(rows)[["what", "control", "value"]].to_numpy().tolist() == [
        ["text", "", 3.0],
        ["text", "shuffled", 9.0],
    ]
    assert text.accuracy_on_text(rows).value.tolist() == [0.4]


def test_in_context_learning_names_the_tokens_compared():
    rows = frame({"metric": "icl_score", "value": -0.2}, {"metric": "icl_window", "value": -0.4})
    assert text.in_context_learning(rows).set_index("what").value.to_dict() == {
        "tokens 500 and 50": -0.2,
        "tokens 450..549 and 40..59": -0.4,
    }


def test_copies_are_told_apart_and_other_parts_left_out():
    rows = frame(
        *({"value": 1.0, "part": part} for part in ("second_copy", "first_copy", "text", None))
    )
    assert text.loss_on_copies(rows).what.tolist() == ["second copy", "first copy"]


def test_loss_by_kind_of_token_is_in_the_order_of_our_words():
    parts = ("unseen", "number", "rank_11_100", "word", "rank_from_10001")
    rows = frame(
        *({"metric": "surprisal", "value": 1.0, "part": part} for part in parts),
        {"metric": "surprisal", "value": 1.0, "part": "word", "control": "shuffled"},
        {"metric": "share", "value": 1.0, "part": "word"},
    )
    assert text.loss_by_class(rows).what.tolist() == ["word", "number"]
    assert text.loss_by_frequency(rows).what.tolist() == [
        "ranks 11 to 100",
        "ranks from 10001",
        "unseen",
    ]


def test_loss_by_position_is_shown_at_some_steps_in_order():
    rows = frame(
        *({"value": 1.0, "position": p, "step": s} for s in (512, 3, 1, 0) for p in (2, 1)),
        {"value": 1.0, "position": 1, "control": "shuffled"},
    )
    chosen = text.loss_by_position(rows)
    assert len(chosen) == 8
    some = at_some_steps(chosen, "position", 2)
    assert list(zip(some.step, some.position, strict=True)) == [
        (step, position) for step in (0, 512) for position in (1, 2)
    ]


ROWS = frame(
    head(0, 0, 0.1),
    head(0, 1, 0.3),
    head(1, 0, 0.2),
    head(0, 0, 0.9, step=4),
    head(0, 1, 0.4, step=4),
    head(1, 0, 0.5, step=4),
    head(1, 0, 0.05, step=4, control="shuffled"),
    head(1, 1, 0.99, step=4, variant="olsson_query"),
    head(1, 1, 0.7, step=4, metric="bos"),
)


def test_the_largest_head_of_each_step_is_named_and_its_control_is_its_own():
    chosen = heads.prefix_matching(ROWS, "two_halves")
    assert heads.largest_head(chosen)[["step", "control", "note", "value"]].to_numpy().tolist() == [
        [0, "", "L0H1", 0.3],
        [4, "", "L0H0", 0.9],
        [4, "shuffled", "L1H0", 0.05],
    ]


def test_conventions_are_lines_of_their_own():
    chosen = heads.prefix_matching_by_convention(ROWS)
    assert chosen.what.unique().tolist() == ["two_halves", "olsson_query"]
    assert heads.largest_head(chosen[chosen.step == 4]).value.tolist() == [0.9, 0.05, 0.99]


def test_attention_is_named_by_its_target():
    chosen = heads.attention_by_target(ROWS, "two_halves")
    assert chosen.what.unique().tolist() == [
        "token after the previous occurrence",
        "first position",
    ]


def test_top_heads_are_those_that_reach_most_at_any_step():
    chosen = measured(heads.prefix_matching(ROWS, "two_halves"))
    top = heads.top_heads(chosen, 2)
    assert list(zip(top.note, top.step, top.value, strict=True)) == [
        ("L0H0", 0, 0.1),
        ("L0H0", 4, 0.9),
        ("L1H0", 0, 0.2),
        ("L1H0", 4, 0.5),
    ]
    assert heads.top_heads(chosen[:0], 2).empty


@pytest.mark.parametrize(
    ("control", "values"), [(None, [0.1, 0.3, 0.2, 0.9, 0.4, 0.5]), ("shuffled", [0.05])]
)
def test_values_of_heads_are_of_one_variant_and_control_over_all_items(control, values):
    rows = frame(head(0, 0, 9.0, part="fold_1"))
    for given, expected in ((ROWS, values), (rows, [])):
        found = heads.values_of_heads(given, "prefix_matching", "two_halves", control)
        assert found.value.tolist() == expected


def test_what_is_undefined_for_all_heads_is_of_no_head():
    undefined = {"metric": "bos", "component": "head", "reason": "too short"}
    rows = frame(undefined, head(0, 0, 1.0, metric="bos", variant=None))
    chosen = heads.values_of_heads(rows, "bos")
    assert chosen.reason.tolist() == ["too short", ""]
    assert heads.of_one_head(chosen).value.tolist() == [1.0]
