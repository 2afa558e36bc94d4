"""The words of schema 1 in the columns of today."""

from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pythia_traj.discovery import definition, discover
from pythia_traj.keys import Key
from pythia_traj.store import old_tables, schema1
from pythia_traj.store.records import Footer
from pythia_traj.store.schema1 import Origin, Words

CASES = [
    # experiment; metric, variant, component, dim; the columns that are not null
    ("behaviour", "nll - - -", ""),
    ("behaviour", "nll corrupted - -", "control=corrupted"),
    ("behaviour", "nll null:shuffled - went:baba", "control=shuffled part=went_baba"),
    ("behaviour", "nll - - one", "part=one"),
    ("logit_attribution", "logit_attribution corrupted head -", "control=corrupted component=head"),
    ("ablation", "logit_diff corrupted - -", "control=corrupted"),
    ("ablation", "effect mean head nll", "variant=mean component=head target=nll"),
    (
        "ablation",
        "effect null:matched:mean head nll",
        "variant=mean control=matched component=head target=nll",
    ),
    (
        "ablation",
        "effect zero set:top2 logit_diff",
        "variant=zero component=set part=top2 target=logit_diff",
    ),
    (
        "ablation",
        "effect null:matched:zero set:L0H1+L1H2 nll",
        "variant=zero control=matched component=set part=L0H1+L1H2 target=nll",
    ),
    (
        "ablation",
        "effect_sd null:matched:zero head nll",
        "variant=zero control=matched component=head target=nll",
    ),
    (
        "ablation",
        "effect_rank null:matched:zero set:top2 nll",
        "variant=zero component=set part=top2 target=nll",
    ),
    ("attribution", "attribution eap_ig mlp -", "variant=eap_ig component=mlp"),
    (
        "attribution",
        "attribution null:shuffled mlp -",
        "variant=eap_ig control=shuffled component=mlp",
    ),
    ("attribution", "completeness_gap null:shuffled - -", "variant=eap_ig control=shuffled"),
    ("attribution", "logit_diff - - full", ""),
    ("attribution", "logit_diff - - corrupted", "control=corrupted"),
    ("attribution", "logit_diff eap_ig - 200", "variant=eap_ig size=200"),
    ("attribution", "edges_left null:random - 20", "variant=eap_ig control=random size=20"),
    ("attribution", "edges_left null:random - -", "variant=eap_ig control=random"),
    ("attribution", "transfer_faithfulness eap_ig - step:512", "variant=eap_ig reference=step:512"),
    ("attribution", "jaccard null:random - init", "variant=eap_ig control=random reference=init"),
    ("head_roles", "induction selection head -", "part=selection component=head"),
    (
        "head_roles",
        "induction null:shuffled:selection head -",
        "part=selection control=shuffled component=head",
    ),
    (
        "head_roles",
        "successor null:shuffled:cot head -",
        "variant=cot control=shuffled component=head",
    ),
    ("head_roles", "role_threshold null:init - induction", "control=init target=induction"),
    (
        "head_roles",
        "above_null null:shuffled head successor",
        "control=shuffled component=head target=successor",
    ),
    ("head_roles", "suppression_attention null:uniform - -", "control=uniform"),
    ("head_roles", "successor null:chance - -", "control=chance"),
    (
        "induction",
        "nll null:shuffled:two_halves - first_copy",
        "variant=two_halves control=shuffled part=first_copy",
    ),
    ("induction", "prefix_matching olsson_query head -", "variant=olsson_query component=head"),
    ("linear_probe", "majority null:control - -", "control=control_task"),
    (
        "linear_probe",
        "accuracy null:control:k_sparse resid_post -",
        "variant=k_sparse control=control_task component=resid_post",
    ),
    (
        "logit_lens",
        "kl null:shuffled:logit resid_post -",
        "variant=logit control=shuffled component=resid_post",
    ),
    ("loss", "surprisal null:shuffled - rank_1_10", "control=shuffled part=rank_1_10"),
    ("memorization", "match null:other - -", "control=permuted"),
    ("ngram", "kl bigram - -", "size=2"),
    ("ngram", "nll null:shuffled:trigram - -", "size=3 control=shuffled"),
    ("ngram", "nll null:shuffled:text - -", "part=text control=shuffled"),
    ("ngram", "nll unigram - -", "size=1"),
    (
        "patching",
        "patched null:shuffled:noising mlp nll",
        "variant=noising control=shuffled component=mlp target=nll",
    ),
    ("patching", "nll corrupted - -", "control=corrupted"),
    ("representation", "cka step:512 mlp_out -", "reference=step:512 component=mlp_out"),
    ("representation", "cka biased:init - -", "reference=init variant=biased"),
    ("representation", "cka null:permuted:step:512 - -", "reference=step:512 control=permuted"),
    (
        "representation",
        "cka null:permuted:biased:step:512 - -",
        "reference=step:512 control=permuted variant=biased",
    ),
    (
        "representation",
        "mean_cosine null:permuted:previous - -",
        "reference=previous control=permuted",
    ),
    ("representation", "participation_ratio centred - -", "variant=centred"),
    ("representation", "participation_ratio null:shuffled - -", "variant=centred control=shuffled"),
    (
        "representation",
        "participation_ratio null:shuffled:uncentred - -",
        "variant=uncentred control=shuffled",
    ),
    ("representation", "anisotropy null:shuffled - -", "control=shuffled"),
    ("samples", "distinct null:shuffled - -", "control=shuffled"),
    (
        "transplant",
        "transplant null:shuffled:step:512 ln1 nll",
        "reference=step:512 control=shuffled component=ln1 target=nll",
    ),
    ("transplant", "nll null:shuffled - -", "control=shuffled"),
    ("weights", "norm null:gaussian W_Q nuclear", "variant=nuclear control=gaussian component=W_Q"),
    ("weights", "norm - W_Q frobenius", "variant=frobenius component=W_Q"),
    (
        "weights",
        "cosine null:rolled:step:512 W_Q -",
        "reference=step:512 control=rolled component=W_Q",
    ),
    ("weights", "relative_distance final W_Q -", "reference=final component=W_Q"),
    (
        "weights",
        "copying_eigenvalue null:gaussian:ov head -",
        "variant=ov control=gaussian component=head",
    ),
    ("mine", "nll corrupted - -", "variant=corrupted"),
    (
        "mine",
        "nll null:mine:of:two set:a went:baba",
        "control=mine variant=of_two component=set_a part=went_baba",
    ),
    ("mine", "nll step:512 - 20", "variant=step_512 part=20"),
    ("mine", "nll null: - -", "variant=null_"),
]


@pytest.mark.parametrize(("experiment", "old", "expected"), CASES)
def test_old_words_have_their_columns(experiment, old, expected):
    words = Words(*(None if word == "-" else word for word in old.split()))
    named = dict(one.split("=") for one in expected.split())
    if "size" in named:
        named["size"] = int(named["size"])
    keys, said = schema1.keys_of([words], origin_of(experiment))
    assert keys == {words: Key(words.metric, **named)}
    assert not said


def origin_of(experiment):
    packaged = experiment in schema1.PACKAGED
    return Origin(
        experiment if packaged else None, "eap_ig" if experiment == "attribution" else None
    )


word = st.none() | st.text("ab:_2", max_size=5) | st.sampled_from(["null:a", "null:a:b", "7", "07"])


@settings(deadline=None)
@given(
    st.sampled_from([None, *schema1.PACKAGED]),
    st.sets(st.builds(Words, st.sampled_from(["nll", "effect", "cka"]), word, word, word)),
)
def test_no_words_fall_together_and_none_holds_a_colon(experiment, found):
    keys, said = schema1.keys_of(found, Origin(experiment))
    assert keys.keys() == found
    assert len(set(keys.values())) == len(found), said


def test_what_would_fall_together_is_put_apart_and_said():
    same = [Words("norm", "v", None, dim) for dim in ("a:b", "a_b")]
    keys, said = schema1.keys_of(same, Origin(None))
    assert [keys[one].part for one in same] == ["a_b_2", "a_b"]
    assert said == [
        "what was metric=norm, variant=v, dim=a:b has part=a_b_2: without colons it is like others"
    ]
    assert schema1.keys_of(reversed(same), Origin(None)) == (keys, said)


@pytest.mark.parametrize(
    ("source", "packaged"),
    [(None, True), ({"packaged": True}, True), ({"packaged": False}, False)],
)
def test_an_experiment_of_a_users_own_file_may_have_the_name_of_ours(source, packaged):
    stated = source and {"file": "loss", "sha256": "0", **source}
    made_of = {"experiment": "loss", "parameters": {"source": "stdlib"}, "data": {"source": "x"}}
    footer = Footer.model_validate(
        {"made_of": made_of} | ({"experiment_source": stated} if stated else {})
    )
    assert schema1.is_packaged(footer) is packaged
    assert Origin.of(footer).experiment == ("loss" if packaged else None)
    name = "corpus" if packaged else "source"
    assert schema1.made_of_today(footer) == {
        **made_of,
        "schema": 2,
        "parameters": {name: "stdlib"},
    }


def test_the_tables_of_ours_are_as_they_are_declared_today():
    ours = {
        name: found
        for name, found in discover().items()
        if (file := definition(found)) is not None and file.packaged
    }
    assert schema1.PACKAGED.keys() <= ours.keys()
    for name, known in schema1.PACKAGED.items():
        declared = {
            table: [replace(column, meaning="") for column in columns]
            for table, columns in ours[name].tables.items()
        }
        assert {table: list(columns) for table, columns in known.items()} == declared, name


def old_rows(**columns):
    """Rows of schema 1: those columns, and null in others."""
    (length,) = {len(values) for values in columns.values()}
    unit = {"suite": "s", "revision": "step0", "commit": None, "step": 0, "tokens": 0}
    full = {name: [value] * length for name, value in unit.items()} | columns
    arrays = [
        pa.array(full.get(c.name, [None] * length), old_tables.TYPES[c.type])
        for c in schema1.METRICS
    ]
    return pa.Table.from_arrays(arrays, [c.name for c in schema1.METRICS])


def converted(old, experiment):
    origin = Origin(experiment)
    keys, _ = schema1.keys_of(old_tables.words_of(old), origin)
    table = old_tables.metrics_table(old, str(experiment), keys, origin)
    names = ("layer", "part", "value", "low", "high", "reason")
    return [tuple(row[name] for name in names) for row in table.to_pylist()]


ENDS = {
    "metric": ["accuracy"] * 7,
    "layer": [0, 0, 0, 1, 1, 2, 2],
    "dim": [None, "low", "high", None, "low", "low", "high"],
    "value": [0.5, 0.4, 0.6, 0.7, 0.1, 0.2, None],
    "n": [9, 9, 9, 9, 8, 9, None],
    "reason": [None] * 6 + ["none"],
}


def test_ends_of_an_interval_become_columns_and_what_is_none_stays_a_row():
    assert converted(old_rows(**ENDS), "linear_probe") == [
        (0, None, 0.5, 0.4, 0.6, None),
        (1, None, 0.7, None, None, None),
        (1, "low", 0.1, None, None, None),  # of another n
        (2, "low", 0.2, None, None, None),  # of no row
        (2, "high", None, None, None, "none"),
    ]
    assert len(converted(old_rows(**ENDS), None)) == 7


def test_no_rows_are_no_rows():
    assert converted(old_rows(metric=[]), "linear_probe") == []
    assert converted(old_rows(metric=[]), None) == []


def test_a_users_column_called_control_hides_no_rows_from_load():
    front = {"suite": "s", "revision": "step0", "commit": None, "step": 0, "tokens": 0}
    rows = [{**front, "control": word} for word in ("treated", "untreated", None)]
    old = pa.Table.from_pylist(rows)
    table, renamed = old_tables.own_table(old, "mine", "trials", Origin(None), {})
    assert renamed == {"control": "control_"}
    assert table["control_"].to_pylist() == ["treated", "untreated", None]


@pytest.mark.parametrize(("experiment", "table"), [("loss", "tokens"), ("linear_probe", "probes")])
def test_a_table_of_a_packaged_name_with_other_columns_is_kept_as_it_is(experiment, table):
    front = {"suite": "s", "revision": "step0", "commit": None, "step": 0, "tokens": 0}
    old = pa.Table.from_pylist([{**front, "mine": 1.5}])
    found, _ = old_tables.own_table(old, experiment, table, Origin(experiment), {})
    assert found["mine"].to_pylist() == [1.5]
