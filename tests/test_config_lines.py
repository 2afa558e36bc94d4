"""What is wrong in a file is said with the file and the line that it is written in."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from pythia_traj.config import SweepConfig
from pythia_traj.errors import ConfigError

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))
REST = {"model": "pythia-14m", "steps": "all", "out": "run"}
"""What a file may leave to the command line."""


def refused(file, **settings):
    with pytest.raises(ConfigError) as error:
        SweepConfig.from_yaml(file, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def names(node, labels=False):
    """Every name of a mapping, but for labels that `use:` makes the author's own."""
    if not isinstance(node, yaml.MappingNode):
        return
    for name, value in node.value:
        inner = value.value if isinstance(value, yaml.MappingNode) else []
        if not (labels and "use" in [key.value for key, _ in inner]):
            yield name
        yield from names(value, labels=name.value == "experiments")


def slips(name):
    """The name with a letter doubled, left out, replaced or swapped with the next, anywhere."""
    for i in range(len(name)):
        yield name[: i + 1] + name[i:]
        yield f"{name[:i]}q{name[i + 1 :]}" if len(name) > 2 else f"{name}q"
        if len(name) > 1:
            yield name[:i] + name[i + 1 :]
        if len(set(name[i : i + 2])) == 2:
            yield name[:i] + name[i + 1] + name[i] + name[i + 2 :]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_misspelt_key_is_refused_at_its_line_at_every_depth(file, tmp_path):
    folder = Path(shutil.copytree(CONFIGS, tmp_path / "configs"))
    text = file.read_text()
    root = yaml.compose(text)
    given = {name.value for name, _ in root.value}
    rest = {"out": "run"} | ({} if given & {"model", "base"} else {"model": "pythia-14m"})
    tried = 0
    for name in names(root):
        for slip in slips(name.value):
            start, end = name.start_mark.index, name.end_mark.index
            (folder / file.name).write_text(text[:start] + slip + text[end:])
            message = refused(folder / file.name, **rest)
            assert message.startswith(f"{folder / file.name} line {name.start_mark.line + 1}: ")
            assert repr(slip) in message
            tried += 1
    assert tried > 50


def test_steeps_is_refused_at_its_line_in_every_file(tmp_path):
    folder = Path(shutil.copytree(CONFIGS, tmp_path / "configs"))
    for file in FILES:
        text = file.read_text()
        at = text.count("\n") + 1
        (folder / file.name).write_text(f"{text}steeps: all\n")
        assert refused(folder / file.name, **REST) == (
            f"{folder / file.name} line {at}: unknown setting 'steeps': did you mean steps or seed"
            " or keep?"
        )


WRONG = {
    "a setting": ("modle: x", 1, "unknown setting 'modle': did you mean model?"),
    "a name of Python's": ("self: x", 1, "unknown setting 'self': "),
    "a word for a number": (
        "experiments: loss\n\nseed: x",
        3,
        "seed: 'x': input should be a valid integer",
    ),
    "a dtype": (
        "experiments: loss\ndtype: float64",
        2,
        "dtype: 'float64': input should be 'float32', 'float16' or 'bfloat16'",
    ),
    "steps": ("experiments: loss\nsteps: lgo:12", 2, "steps: cannot read 'lgo:12' as steps: terms"),
    "one point": ("experiments: loss\nsteps: log:1", 2, "steps: 'log:1' includes both ends, so"),
    "an unknown model": (
        "experiments: loss\nmodel: pythia-70n",
        2,
        "model: unknown model 'pythia-70n', and no such directory: did you mean pythia-70m ",
    ),
    "an unknown model of several": (
        "experiments: loss\nmodel:\n  - pythia-14m\n  - me/tiny\n  - pythia-70n",
        5,
        "model: unknown model 'pythia-70n'",
    ),
    "a directory that is not there": (
        "experiments: loss\nmodel: toy=./nosuch",
        2,
        "model: no such directory: './nosuch', to be named 'toy'",
    ),
    "an unknown experiment": (
        "experiments:\n  loss:\n  indcution:",
        3,
        "unknown experiment 'indcution': did you mean induction or attribution?",
    ),
    "an unknown experiment of a list": (
        "experiments:\n  - loss\n  - indcution",
        3,
        "unknown experiment 'indcution': did you mean induction or attribution?",
    ),
    "an unknown experiment of a word": (
        "seed: 1\nexperiments: loss,indcution",
        2,
        "unknown experiment 'indcution': did you mean induction or attribution?",
    ),
    "an unknown experiment of a label": (
        "experiments:\n  short:\n    n: 4\n    use: los",
        4,
        "unknown experiment 'los': did you mean loss?",
    ),
    "a file of no experiment": (
        "experiments:\n  mine:\n    use: nosuch.py",
        3,
        "no such experiment file: nosuch.py",
    ),
    "a parameter": (
        "experiments:\n  loss:\n    n: 4\n    lenght: 3",
        4,
        "loss: loss has no parameter 'lenght': did you mean length? (it has n=16, ",
    ),
    "a parameter as it is stored": (
        "experiments:\n  a:\n    use: loss\n    parameters:\n      lenght: 3",
        5,
        "a: loss has no parameter 'lenght': did you mean length?",
    ),
    "a parameter out of range": (
        "experiments:\n  loss:\n    n: 0",
        3,
        "loss.n: 0: input should be greater than or equal to 1",
    ),
    "a parameter of another type": (
        "experiments:\n  loss:\n    n: 4\n    bos: perhaps",
        4,
        "loss.bos: 'perhaps': input should be a valid boolean",
    ),
    "a seed out of range": (
        "experiments:\n  loss:\n    seed: -1",
        3,
        "loss.seed: -1: input should be greater than or equal to 0",
    ),
    "a label": ("experiments:\n  2x: {use: loss}", 2, "label '2x': a label is a letter followed"),
    "a setting's name as a label": (
        "experiments:\n  steps: {use: loss}",
        2,
        "label 'steps' is the name of a setting",
    ),
    "no parameters": ("experiments:\n  loss: 3", 2, "loss: expected its parameters as name: value"),
    "no experiment": ("seed: 1\nexperiments:", 2, "experiments: give at least one experiment"),
    "an empty model": ("experiments: loss\nmodel: ''", 2, "model: give at least one model"),
    "an unknown device": (
        "experiments: loss\ndevice: gpu",
        2,
        "unknown device 'gpu': use auto, cpu, cuda or cuda:1",
    ),
    "a device": ("experiments: loss\ndevice: ''", 2, "device: '' is empty: give auto, cpu"),
    "a misspelt request to a scheduler": (
        "experiments: loss\ncluster:\n  gpus: 1\n  partiton: gpu",
        4,
        "cluster: unknown setting 'partiton': did you mean partition?",
    ),
    "a request to a scheduler out of range": (
        "experiments: loss\ncluster:\n  gpus: -1",
        3,
        "cluster.gpus: -1: input should be greater than or equal to 0",
    ),
    "memory without its unit": (
        "experiments: loss\ncluster:\n  gpus: 1\n  memory: 16",
        4,
        "cluster.memory: 16: input should be greater than or equal to 1000000",
    ),
    "a time of two meanings": (
        'experiments: loss\ncluster:\n  time: "4:00"',
        3,
        "cluster.time: '4:00': give HH:MM:SS, D-HH:MM:SS or minutes, such as 4:00:00, 1-12:00:00",
    ),
    "a partition that is an option": (
        'experiments: loss\ncluster: {partition: "gpu --exclusive"}',
        2,
        "cluster.partition: 'gpu --exclusive': give one word of letters, digits and _ . ,",
    ),
    "a directive of two lines": (
        'experiments: loss\ncluster:\n  directives:\n    - -C a100\n    - "-N x\\n#PBS -A y"',
        5,
        "cluster.directives.1: '-N x\\n#PBS -A y': a line holds no line break or control character",
    ),
    "a line of set-up that is none": (
        "experiments: loss\ncluster:\n  setup: [module load cuda, 3]",
        3,
        "cluster.setup.1: 3: give a line of text",
    ),
    "no section": (
        "seed: 1\nexperiments: loss\ncluster: gpu",
        3,
        "cluster: 'gpu': give settings as name: value, such as partition: gpu",
    ),
    "a toy suite of many models": (
        "experiments: loss\nmodel: [runs/a, runs/b]\ntoy_seed: 0",
        3,
        "toy_seed: it trains a suite at the one model of the request, which has to be a directory,"
        " such as runs/toy, not runs/a,runs/b",
    ),
    "a toy suite in place of a published model": (
        "experiments: loss\ntoy_seed: 0\nmodel: pythia-14m",
        2,
        "toy_seed: it trains a suite at the one model of the request, which has to be a directory,"
        " such as runs/toy, not pythia-14m",
    ),
    "a toy suite that the request names": (
        "experiments: loss\ntoy_seed: 0\nmodel: a=runs/toy",
        2,
        "toy_seed: it trains a suite at the one model of the request",
    ),
    "a merged parameter": (
        "experiments:\n  a: &a\n    use: loss\n    n: 0\n  b: {<<: *a, length: 4}",
        4,
        "a.n: 0: input should be greater than or equal to 1",
    ),
}


@pytest.mark.parametrize(("text", "line", "message"), WRONG.values(), ids=WRONG)
def test_an_error_names_file_line_key_and_what_is_allowed(text, line, message, tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text(f"{text}\n")
    given = set(re.findall(r"^\w+", text, re.M))
    said = refused(file, **{name: value for name, value in REST.items() if name not in given})
    assert said.startswith(f"{file} line {line}: {message}")


@pytest.mark.parametrize(("text", "line", "message"), WRONG.values(), ids=WRONG)
def test_an_error_in_a_base_names_the_base(text, line, message, tmp_path):
    (tmp_path / "base.yaml").write_text(f"{text}\n")
    file = tmp_path / "a.yaml"
    file.write_text(
        "# lines that the base does not have\n\n\n\n\n\n\nbase: base.yaml\nprefetch: 1\n"
    )
    given = set(re.findall(r"^\w+", text, re.M))
    said = refused(file, **{name: value for name, value in REST.items() if name not in given})
    assert said.startswith(f"{tmp_path / 'base.yaml'} line {line}: {message}")


def test_what_the_command_line_gives_is_in_no_file(tmp_path, cli):
    file = tmp_path / "a.yaml"
    file.write_text(
        "model: m\nsteps: x\nout: run\nexperiments:\n  loss:\n    n: 0\ncluster:\n  gpus: -1\n"
    )
    given = (file, "--dry-run", "--model", "pythia-70m", "--steps", "all")
    for more, message in {
        ("--set", "loss.n=-1"): "loss.n: -1: input should be greater than or equal to 1",
        ("--set", "loss.lenght=1", "--set", "loss.n=1"): "loss: loss has no parameter 'lenght'",
        ("--experiment", "induction", "--set", "induction.n=0"): "induction.n: 0: input should be",
        ("--experiment", "induction", "--steps", "x"): "steps: cannot read 'x' as steps",
        ("--set", "loss.n=1", "--set", "cluster.gpus=x"): "cluster.gpus: 'x': input should be",
        ("--set", "loss.n=1", "--set", "cluster.gpuz=1"): "cluster: unknown setting 'gpuz': did",
    }.items():
        status, _, error = cli("sweep", *given, *more)
        assert status == 1
        assert error.startswith(f"error: {message}")
    assert cli("sweep", *given)[2].startswith(f"error: {file} line 6: loss.n: 0: ")


def test_a_misspelt_experiments_is_not_taken_for_none(tmp_path, cli):
    file = tmp_path / "a.yaml"
    file.write_text("model: pythia-70m\nexperimets: loss\n")
    assert cli("sweep", file, "--out", "run") == (
        1,
        "",
        f"error: {file} line 2: unknown setting 'experimets': did you mean experiments?\n",
    )


def test_models_that_are_no_directory_and_no_repository_are_refused_for_files_alone(tmp_path):
    """A request that is made in Python may name a directory that is made later."""
    assert SweepConfig(**REST | {"model": "later"}, experiments="loss").model == ("later",)
    file = tmp_path / "a.yaml"
    file.write_text(f"source: {tmp_path}\nmodel: later\nexperiments: loss\nsteps: all\nout: run\n")
    assert SweepConfig.from_yaml(file).model == ("later",)
