"""The works that are cited: each experiment's are there, and a parser reads their BibTeX."""

import re

import pytest

from pythia_traj.bibliography import (
    ERRORS,
    LIBRARIES,
    ONSETS,
    SUITES,
    WORKS,
    bibtex,
    cited,
    reference,
)
from pythia_traj.discovery import discover
from pythia_traj.experiment import Experiment
from pythia_traj.suites.catalog import catalog

REQUIRED = {
    "article": {"author", "title", "journal", "year"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "misc": set(),
}


def parse(text):
    """BibTeX's entries as (kind, key, fields); anything that is not exactly one is an error."""
    entries, at = [], 0
    while match := re.compile(r"\s*@([a-z]+)\{([A-Za-z0-9_:.-]+),").match(text, at):
        at, fields = match.end(), {}
        while field := re.compile(r"\s*([a-z]+)\s*=\s*\{").match(text, at):
            depth, end = 1, field.end()
            while depth:
                # As BibTeX counts them: a brace after a backslash is one too.
                depth += {"{": 1, "}": -1}.get(text[end], 0)
                end += 1
            assert field[1] not in fields
            fields[field[1]] = text[field.end() : end - 1]
            comma = re.compile(r"\s*,").match(text, end)
            assert comma, text[end : end + 40]
            at = comma.end()
        closing = re.compile(r"\s*\}").match(text, at)
        assert closing, text[at : at + 40]
        at = closing.end()
        entries.append((match[1], match[2], fields))
    assert not text[at:].strip(), text[at : at + 40]
    return entries


def test_the_parser_refuses_what_is_not_bibtex():
    assert parse("@misc{a,\n  note = {b {c} d},\n}\n") == [("misc", "a", {"note": "b {c} d"})]
    for wrong in ("@misc{a, note = {b}", "@misc{a, note = {b} year = {1},}", "x"):
        with pytest.raises((AssertionError, IndexError)):
            parse(wrong)


def experiments():
    found = [one for one in discover().values() if isinstance(one, Experiment)]
    return [one for one in found if one.function.__module__.startswith("pythia_traj.experiments.")]


def test_every_work_that_an_experiment_of_ours_cites_is_known():
    cites = {work for one in experiments() for work in cited(one.cites)}
    assert len(cites) > 10
    assert cites - WORKS.keys() == set()


def test_suites_libraries_and_methods_name_known_works():
    named = {*SUITES.values(), *LIBRARIES.values(), *ONSETS, *ERRORS}
    assert named - WORKS.keys() == set()
    assert {record.suite for record in catalog().values()} == set(SUITES)


def test_all_works_parse_with_the_fields_that_their_kind_needs():
    entries = parse(bibtex(WORKS))
    assert [key for _, key, _ in entries] == [work.key for work in WORKS.values()]
    for (kind, key, fields), work in zip(entries, WORKS.values(), strict=True):
        assert (kind, fields["year"]) == (work.kind, str(work.year))
        assert fields.keys() >= REQUIRED[kind], key
        assert all(value.strip() for value in fields.values())
        assert fields["author"].split(" and ")[0] == work.authors[0]


def test_keys_are_distinct_plain_and_hold_the_year():
    keys = [work.key for work in WORKS.values()]
    assert len(set(keys)) == len(keys)
    assert all(re.fullmatch(r"[a-z]+\d{4}[a-z]+", key) for key in keys)
    assert all(str(work.year) in work.key for work in WORKS.values())


def test_a_citation_has_its_works_first_author_and_year():
    for citation, work in WORKS.items():
        family = work.authors[0].partition(",")[0]
        assert citation.startswith(family)
        assert str(work.year) in citation
        assert ("et al." in citation) == (len(work.authors) > 2)


def test_an_unknown_citation_is_a_misc_whose_note_has_its_text():
    ((kind, key, fields),) = parse(bibtex(["Me and You 2031"]))
    assert (kind, fields) == ("misc", {"note": "Me and You 2031"})
    assert key == parse(bibtex(["x", "Me and You 2031"]))[1][1]
    assert reference("Me and You 2031") == "Me and You 2031"


@pytest.mark.parametrize(
    ("hostile", "note"),
    [
        ("a } b", r"a {\textbraceright} b"),
        ("{ { a", r"{\textbraceleft} {\textbraceleft} a"),
        ("\\input{/etc/passwd}", None),
        ("50 % & $x_1$ # ~ ^", r"50 \% \& \$x\_1\$ \# {\textasciitilde} {\textasciicircum}"),
        ("ends with \\", r"ends with {\textbackslash}"),
        ("two\nlines\x00\x1b[2J", "two lines [2J"),
        ("@article{x,", r"@article{\textbraceleft}x,"),
        ("Ünï 漢字 2020", "Ünï 漢字 2020"),
    ],
)
def test_a_hostile_citation_parses_and_holds_no_command(hostile, note):
    ((kind, key, fields),) = parse(bibtex([hostile]))
    assert kind == "misc"
    assert re.fullmatch(r"[a-z0-9]+-[0-9a-f]{8}", key)
    assert note is None or fields["note"] == note
    assert "\\input" not in fields["note"]


def test_citations_that_differ_only_in_signs_have_different_keys():
    keys = [key for _, key, _ in parse(bibtex(["A 2020", "A (2020)", "漢", "字"]))]
    assert len(set(keys)) == 4


def test_a_citation_that_is_given_twice_stands_once():
    assert len(parse(bibtex(["Wang et al. 2023", "x", "Wang et al. 2023", "x"]))) == 2
    assert bibtex([]) == ""


def test_cites_are_split_at_semicolons():
    assert cited(" A 2020;B  2021 ; ;A 2020") == ("A 2020", "B 2021")
    assert cited("") == ()


def test_a_reference_names_authors_year_title_and_a_page():
    assert reference("Zhang and Nanda 2024") == (
        "Fred Zhang and Neel Nanda (2024). Towards Best Practices of Activation Patching in"
        " Language Models: Metrics and Methods. International Conference on Learning"
        " Representations. https://arxiv.org/abs/2309.16042"
    )
    assert reference("Elhage et al. 2021").startswith("Nelson Elhage and others (2021). ")
    assert reference("nostalgebraist 2020").startswith("nostalgebraist (2020). interpreting GPT")
