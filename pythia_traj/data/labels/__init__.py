"""Labels of tokens: what a probe is to find.

alignment.py         which characters a token stands for
python_syntax.py     syntax of Python source, from Python's own tokenize and ast
token_properties.py  what a token's characters or its place say
own.py               a user's file: labelled spans, CoNLL-U, a Hugging Face dataset
conllu.py            CoNLL-U, line by line
"""

from collections.abc import Callable, Iterator

from pythia_traj.data.labels import python_syntax, token_properties
from pythia_traj.data.labels.alignment import Labels, Pieces, Span, labels_of


def _of_python(spans: Callable[[str], Iterator[Span]]) -> Callable[[Pieces], Labels]:
    def labels(pieces: Pieces) -> Labels:
        # Once text is decoded, a byte order mark is not valid Python.
        marks = int(pieces.text.startswith("\ufeff"))
        found = spans(pieces.text[marks:])
        return labels_of(
            pieces, ((start + marks, end + marks, label) for start, end, label in found)
        )

    return labels


TASKS: dict[str, Callable[[Pieces], Labels]] = {
    "python_class": _of_python(python_syntax.token_classes),
    "python_depth": _of_python(python_syntax.bracket_depth),
    "python_in_string": _of_python(python_syntax.in_string),
    "python_definition": _of_python(python_syntax.definitions),
    "starts_with_space": token_properties.starts_with_space,
    "capitalised": token_properties.capitalised,
    "previous_class": token_properties.previous_class,
    "position": token_properties.position,
}
"""The labels by name; anything else is a user's file.

Those of Python raise NotPythonError for any other text.
"""
