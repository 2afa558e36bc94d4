"""The works that experiments and methods cite, as data, and the same as BibTeX.

A citation is short, as `cites=` of an experiment has it: "Olsson et al. 2022". Two works of one
first author and year are told apart by a word in brackets.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

Kind = Literal["article", "inproceedings", "misc"]


@dataclass(frozen=True)
class Work:
    """One work.

    Attributes:
        citation: the short one, by which it is found.
        key: of its BibTeX entry; never changed, as papers refer to it.
        kind: of the entry.
        authors: as `Family, Given`, in their order; the last may be `others`.
        title: of the work.
        year: of publication.
        venue: the journal, the proceedings, or where a page stands.
        arxiv: its number there; empty where it is not.
        url: a page of it; empty where arXiv has it.
    """

    citation: str
    key: str
    kind: Kind
    authors: tuple[str, ...]
    title: str
    year: int
    venue: str
    arxiv: str = ""
    url: str = ""

    @property
    def link(self) -> str:
        """A page of the work."""
        return self.url or (f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else "")

    @property
    def words(self) -> str:
        """The work as a line of a list of references, as plain text."""
        authors = [_given_first(one) for one in self.authors]
        if len(authors) > _MOST_AUTHORS:
            authors = [authors[0], "others"]
        named = (
            authors[0]
            if len(authors) == 1
            else f"{', '.join(authors[:-1])} and {authors[-1].strip()}"
        )
        ending = f" {self.link}" if self.link else ""
        return f"{named} ({self.year}). {self.title}. {self.venue}.{ending}"


_MOST_AUTHORS = 8
"""The most authors that a line of references names; the BibTeX has all that are known."""

_BLACKBOX = "ACL Workshop BlackboxNLP: Analyzing and Interpreting Neural Networks for NLP"
_CIRCUITS = "Transformer Circuits Thread"
_ICLR = "International Conference on Learning Representations"
_ICML = "International Conference on Machine Learning"
_EMNLP = (
    "Conference on Empirical Methods in Natural Language Processing and International Joint"
    " Conference on Natural Language Processing"
)

WORKS = {
    work.citation: work
    for work in (
        Work(
            "Alain and Bengio 2016", "alain2016understanding", "misc",
            ("Alain, Guillaume", "Bengio, Yoshua"),
            "Understanding intermediate layers using linear classifier probes", 2016,
            "arXiv", "1610.01644",
        ),
        Work(
            "Belrose et al. 2023", "belrose2023eliciting", "misc",
            ("Belrose, Nora", "Ostrovsky, Igor", "McKinney, Lev", "Furman, Zach", "Smith, Logan",
             "Halawi, Danny", "Biderman, Stella", "Steinhardt, Jacob"),
            "Eliciting Latent Predictions from Transformers with the Tuned Lens", 2023,
            "arXiv", "2303.08112",
        ),
        Work(
            "Belrose et al. 2024", "belrose2024neural", "inproceedings",
            ("Belrose, Nora", "Pope, Quintin", "Quirke, Lucia", "Mallen, Alex", "Fern, Xiaoli"),
            "Neural Networks Learn Statistics of Increasing Complexity", 2024, _ICML, "2402.04362",
        ),
        Work(
            "Benjamini and Hochberg 1995", "benjamini1995controlling", "article",
            ("Benjamini, Yoav", "Hochberg, Yosef"),
            "Controlling the False Discovery Rate: A Practical and Powerful Approach to Multiple"
            " Testing", 1995,
            "Journal of the Royal Statistical Society, Series B, 57(1), 289-300",
        ),
        Work(
            "Biderman et al. 2023", "biderman2023emergent", "inproceedings",
            ("Biderman, Stella", "Prashanth, USVSN Sai", "Sutawika, Lintang", "Schoelkopf, Hailey",
             "Anthony, Quentin", "Purohit, Shivanshu", "Raff, Edward"),
            "Emergent and Predictable Memorization in Large Language Models", 2023,
            "Advances in Neural Information Processing Systems", "2304.11158",
        ),
        Work(
            "Biderman et al. 2023 (Pythia)", "biderman2023pythia", "inproceedings",
            ("Biderman, Stella", "Schoelkopf, Hailey", "Anthony, Quentin", "Bradley, Herbie",
             "O'Brien, Kyle", "Hallahan, Eric", "Khan, Mohammad Aflah", "Purohit, Shivanshu",
             "Prashanth, USVSN Sai", "Raff, Edward", "Skowron, Aviya", "Sutawika, Lintang",
             "van der Wal, Oskar"),
            "Pythia: A Suite for Analyzing Large Language Models Across Training and Scaling", 2023,
            _ICML, "2304.01373",
        ),
        Work(
            "Bricken et al. 2023", "bricken2023monosemanticity", "article",
            ("Bricken, Trenton", "Templeton, Adly", "others"),
            "Towards Monosemanticity: Decomposing Language Models With Dictionary Learning", 2023,
            _CIRCUITS, url="https://transformer-circuits.pub/2023/monosemantic-features/index.html",
        ),
        Work(
            "Clark et al. 2019", "clark2019bert", "inproceedings",
            ("Clark, Kevin", "Khandelwal, Urvashi", "Levy, Omer", "Manning, Christopher D."),
            "What Does BERT Look at? An Analysis of BERT's Attention", 2019,
            _BLACKBOX, "1906.04341",
        ),
        Work(
            "Elhage et al. 2021", "elhage2021mathematical", "article",
            ("Elhage, Nelson", "Nanda, Neel", "Olsson, Catherine", "Henighan, Tom",
             "Joseph, Nicholas", "Mann, Ben", "Askell, Amanda", "Bai, Yuntao", "Chen, Anna",
             "Conerly, Tom", "DasSarma, Nova", "Drain, Dawn", "Ganguli, Deep",
             "Hatfield-Dodds, Zac", "Hernandez, Danny", "Jones, Andy", "Kernion, Jackson",
             "Lovitt, Liane", "Ndousse, Kamal", "Amodei, Dario", "Brown, Tom", "Clark, Jack",
             "Kaplan, Jared", "McCandlish, Sam", "Olah, Chris"),
            "A Mathematical Framework for Transformer Circuits", 2021,
            _CIRCUITS, url="https://transformer-circuits.pub/2021/framework/index.html",
        ),
        Work(
            "Ethayarajh 2019", "ethayarajh2019contextual", "inproceedings",
            ("Ethayarajh, Kawin",),
            "How Contextual are Contextualized Word Representations? Comparing the Geometry of"
            " BERT, ELMo, and GPT-2 Embeddings", 2019, _EMNLP, "1909.00512",
        ),
        Work(
            "Gould et al. 2024", "gould2024successor", "inproceedings",
            ("Gould, Rhys", "Ong, Euan", "Ogden, George", "Conmy, Arthur"),
            "Successor Heads: Recurring, Interpretable Attention Heads In The Wild", 2024,
            _ICLR, "2312.09230",
        ),
        Work(
            "Hanna et al. 2024", "hanna2024faith", "misc",
            ("Hanna, Michael", "Pezzelle, Sandro", "Belinkov, Yonatan"),
            "Have Faith in Faithfulness: Going Beyond Circuit Overlap When Finding Model"
            " Mechanisms", 2024, "arXiv", "2403.17806",
        ),
        Work(
            "Hewitt and Liang 2019", "hewitt2019designing", "inproceedings",
            ("Hewitt, John", "Liang, Percy"),
            "Designing and Interpreting Probes with Control Tasks", 2019, _EMNLP, "1909.03368",
        ),
        Work(
            "Holtzman et al. 2020", "holtzman2020curious", "inproceedings",
            ("Holtzman, Ari", "Buys, Jan", "Du, Li", "Forbes, Maxwell", "Choi, Yejin"),
            "The Curious Case of Neural Text Degeneration", 2020, _ICLR, "1904.09751",
        ),
        Work(
            "Killick et al. 2012", "killick2012optimal", "article",
            ("Killick, Rebecca", "Fearnhead, Paul", "Eckley, Idris A."),
            "Optimal Detection of Changepoints With a Linear Computational Cost", 2012,
            "Journal of the American Statistical Association, 107(500), 1590-1598", "1101.1438",
        ),
        Work(
            "Kornblith et al. 2019", "kornblith2019similarity", "inproceedings",
            ("Kornblith, Simon", "Norouzi, Mohammad", "Lee, Honglak", "Hinton, Geoffrey"),
            "Similarity of Neural Network Representations Revisited", 2019, _ICML, "1905.00414",
        ),
        Work(
            "McDougall et al. 2023", "mcdougall2023copy", "misc",
            ("McDougall, Callum", "Conmy, Arthur", "Rushing, Cody", "McGrath, Thomas",
             "Nanda, Neel"),
            "Copy Suppression: Comprehensively Understanding an Attention Head", 2023,
            "arXiv", "2310.04625",
        ),
        Work(
            "Nanda and Bloom 2022", "nanda2022transformerlens", "misc",
            ("Nanda, Neel", "Bloom, Joseph"),
            "TransformerLens", 2022,
            "GitHub", url="https://github.com/TransformerLensOrg/TransformerLens",
        ),
        Work(
            "Nguyen et al. 2021", "nguyen2021wide", "inproceedings",
            ("Nguyen, Thao", "Raghu, Maithra", "Kornblith, Simon"),
            "Do Wide and Deep Networks Learn the Same Things? Uncovering How Neural Network"
            " Representations Vary with Width and Depth", 2021, _ICLR, "2010.15327",
        ),
        Work(
            "nostalgebraist 2020", "nostalgebraist2020interpreting", "misc",
            ("nostalgebraist",),
            "interpreting GPT: the logit lens", 2020,
            "LessWrong",
            url="https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens",
        ),
        Work(
            "Olsson et al. 2022", "olsson2022context", "article",
            ("Olsson, Catherine", "Elhage, Nelson", "Nanda, Neel", "Joseph, Nicholas",
             "DasSarma, Nova", "Henighan, Tom", "Mann, Ben", "Askell, Amanda", "Bai, Yuntao",
             "Chen, Anna", "Conerly, Tom", "Drain, Dawn", "Ganguli, Deep", "Hatfield-Dodds, Zac",
             "Hernandez, Danny", "Johnston, Scott", "Jones, Andy", "Kernion, Jackson",
             "Lovitt, Liane", "Ndousse, Kamal", "Amodei, Dario", "Brown, Tom", "Clark, Jack",
             "Kaplan, Jared", "McCandlish, Sam", "Olah, Chris"),
            "In-context Learning and Induction Heads", 2022, _CIRCUITS, "2209.11895",
        ),
        Work(
            "Roy and Vetterli 2007", "roy2007effective", "inproceedings",
            ("Roy, Olivier", "Vetterli, Martin"),
            "The effective rank: A measure of effective dimensionality", 2007,
            "European Signal Processing Conference",
        ),
        Work(
            "Rust and Rao 1996", "rust1996variance", "article",
            ("Rust, K. F.", "Rao, J. N. K."),
            "Variance estimation for complex surveys using replication techniques", 1996,
            "Statistical Methods in Medical Research, 5(3), 283-310",
        ),
        Work(
            "Truong et al. 2020", "truong2020selective", "article",
            ("Truong, Charles", "Oudre, Laurent", "Vayatis, Nicolas"),
            "Selective review of offline change point detection methods", 2020,
            "Signal Processing, 167, 107299", "1801.00718",
        ),
        Work(
            "van der Wal et al. 2025", "vanderwal2025polypythias", "inproceedings",
            ("van der Wal, Oskar", "Lesci, Pietro", "Müller-Eberstein, Max", "Saphra, Naomi",
             "Schoelkopf, Hailey", "Zuidema, Willem", "Biderman, Stella"),
            "PolyPythias: Stability and Outliers across Fifty Language Model Pre-Training Runs",
            2025, _ICLR, "2503.09543",
        ),
        Work(
            "Vig and Belinkov 2019", "vig2019analyzing", "inproceedings",
            ("Vig, Jesse", "Belinkov, Yonatan"),
            "Analyzing the Structure of Attention in a Transformer Language Model", 2019,
            _BLACKBOX, "1906.04284",
        ),
        Work(
            "Wang et al. 2023", "wang2023interpretability", "inproceedings",
            ("Wang, Kevin Ro", "Variengien, Alexandre", "Conmy, Arthur", "Shlegeris, Buck",
             "Steinhardt, Jacob"),
            "Interpretability in the Wild: a Circuit for Indirect Object Identification in GPT-2"
            " Small", 2023, _ICLR, "2211.00593",
        ),
        Work(
            "Witten and Bell 1991", "witten1991zero", "article",
            ("Witten, Ian H.", "Bell, Timothy C."),
            "The zero-frequency problem: Estimating the probabilities of novel events in adaptive"
            " text compression", 1991,
            "IEEE Transactions on Information Theory, 37(4), 1085-1094",
        ),
        Work(
            "Zhang and Nanda 2024", "zhang2024best", "inproceedings",
            ("Zhang, Fred", "Nanda, Neel"),
            "Towards Best Practices of Activation Patching in Language Models: Metrics and"
            " Methods", 2024, _ICLR, "2309.16042",
        ),
    )
}  # fmt: skip
"""The works by their short citations."""

SUITES = {
    "pythia": "Biderman et al. 2023 (Pythia)",
    "pythia-v0": "Biderman et al. 2023 (Pythia)",
    "polypythias": "van der Wal et al. 2025",
}
"""The work that published each suite."""

LIBRARIES = {"transformer-lens": "Nanda and Bloom 2022"}
"""The work behind a package that measures."""

ONSETS = ("Benjamini and Hochberg 1995",)
"""What dating onsets of many heads rests on."""

ERRORS = ("Rust and Rao 1996",)
"""What standard errors of clustered items rest on."""


def cited(cites: str) -> tuple[str, ...]:
    """The short citations of an experiment's `cites`, each once.

    >>> cited("Wang et al. 2023; Olsson et al. 2022")
    ('Wang et al. 2023', 'Olsson et al. 2022')
    """
    parts = (" ".join(part.split()) for part in cites.split(";"))
    return tuple(dict.fromkeys(part for part in parts if part))


def reference(citation: str) -> str:
    """A citation as a line of a list of references; one that is not known here as it is."""
    work = WORKS.get(citation)
    return citation if work is None else work.words


def bibtex(citations: Iterable[str]) -> str:
    """The BibTeX of some citations, in their order, each once.

    One that is not known here, such as a user's own, is a `@misc` with the citation as its note.

    Args:
        citations: short ones.
    """
    return "\n".join(_entry(one) for one in dict.fromkeys(citations))


def _entry(citation: str) -> str:
    work = WORKS.get(citation)
    if work is None:
        return _as_entry("misc", _key_of(citation), {"note": _escaped(citation)})
    place = {"article": "journal", "inproceedings": "booktitle", "misc": "howpublished"}[work.kind]
    fields = {
        "author": " and ".join(map(_escaped, work.authors)),
        # Braces keep capitals that a style would make small.
        "title": f"{{{_escaped(work.title)}}}",
        "year": str(work.year),
        place: _escaped(work.venue),
    }
    if work.arxiv:
        fields |= {"eprint": work.arxiv, "archiveprefix": "arXiv"}
    if work.link:
        fields["url"] = work.link
    return _as_entry(work.kind, work.key, fields)


def _as_entry(kind: Kind, key: str, fields: dict[str, str]) -> str:
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields.items())
    return f"@{kind}{{{key},\n{lines}}}\n"


def _key_of(citation: str) -> str:
    """A key that depends on the citation alone; its digest tells apart what letters do not."""
    word = re.sub(r"[^a-z0-9]", "", citation.lower())[:24]
    return f"{word or 'work'}-{sha256(citation.encode('utf-8', 'replace')).hexdigest()[:8]}"


_SPECIAL = {
    "\\": r"{\textbackslash}",
    "{": r"{\textbraceleft}",
    "}": r"{\textbraceright}",
    "~": r"{\textasciitilde}",
    "^": r"{\textasciicircum}",
    **{sign: f"\\{sign}" for sign in "$&%#_"},
}


def _escaped(text: str) -> str:
    """Text in which TeX finds no command, and BibTeX as many braces opened as closed."""
    printable = "".join(sign if sign.isprintable() else " " for sign in text)
    return "".join(_SPECIAL.get(sign, sign) for sign in " ".join(printable.split()))


def _given_first(author: str) -> str:
    family, _, given = author.partition(", ")
    return f"{given} {family}" if given else family
