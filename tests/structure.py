"""Reads the imports of source texts and says which of them break the rules of the rooms.

A source is a path below `pythia_traj/` and a text; nothing is imported and no file is read, so a
rule can be tried on a text that breaks it.
"""

import ast
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

PACKAGE = "pythia_traj"

Source = tuple[PurePath | str, str]
"""A path relative to the package, and the text of the file."""

Graph = Mapping[str, Collection[str]]
"""For each node, those that it imports."""

_CHECKING = ("TYPE_CHECKING", "typing.TYPE_CHECKING")


@dataclass(frozen=True)
class Rules:
    """Who may import what.

    Attributes:
        floors: of each room. A room imports lower floors, itself, or a neighbour on its own floor
            that does not import it back.
        only: rooms that import no other rooms than these.
        never: rooms that do not import these, whatever their floors are.
        not_by_name: rooms that no import statement names: they are found when they are needed.
        walk: the stages of the walk of one step; none reaches a later one, be it through others.
        libraries: the packages of others that each room may import.
        late: those that it may import within functions only, so that importing the room is light.
        anywhere: packages of others that every room may import.
        constructed: for the name of a class, the one room that makes objects of it.
    """

    floors: Mapping[str, int]
    only: Mapping[str, Collection[str]] = field(default_factory=dict)
    never: Mapping[str, Collection[str]] = field(default_factory=dict)
    not_by_name: Collection[str] = ()
    walk: Sequence[Collection[str]] = ()
    libraries: Mapping[str, Collection[str]] = field(default_factory=dict)
    late: Mapping[str, Collection[str]] = field(default_factory=dict)
    anywhere: Collection[str] = ()
    constructed: Mapping[str, str] = field(default_factory=dict)

    def rooms(self) -> set[str]:
        """Every room that a rule names."""
        tables = (self.only, self.never, self.libraries, self.late)
        return {
            *self.floors,
            *(room for table in tables for room in table),
            *(room for table in (self.only, self.never) for own in table.values() for room in own),
            *self.not_by_name,
            *(room for stage in self.walk for room in stage),
            *self.constructed.values(),
        }

    def packages(self) -> set[str]:
        """Every package of others that a rule names."""
        rows = (*self.libraries.values(), *self.late.values())
        return {*self.anywhere, *(package for row in rows for package in row)}


@dataclass(frozen=True)
class Import:
    """One thing that a file imports.

    Attributes:
        name: with the module it comes from, `pythia_traj.hub.model.HubModel`.
        is_late: whether it is imported within a function.
    """

    name: str
    is_late: bool

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @property
    def room(self) -> str | None:
        """The room that it is from; empty for the package itself, None for others' packages."""
        if self.package != PACKAGE:
            return None
        return self.name.partition(".")[2].partition(".")[0]


@dataclass(frozen=True)
class File:
    """A source that was read."""

    path: PurePath
    tree: ast.Module
    imports: tuple[Import, ...]

    @classmethod
    def read(cls, source: Source) -> "File":
        path, tree = PurePath(source[0]), ast.parse(source[1])
        return cls(path, tree, tuple(_imports(tree, path)))

    @property
    def room(self) -> str:
        return self.path.parts[0].removesuffix(".py")

    @property
    def module(self) -> str:
        return ".".join((PACKAGE, *self.path.with_suffix("").parts)).removesuffix(".__init__")


def violations(rules: Rules, sources: Iterable[Source]) -> list[str]:
    """What in these sources breaks a rule, a sentence each; empty where nothing does."""
    files = [File.read(source) for source in sources]
    checks: tuple[Callable[[Rules, Sequence[File]], Iterator[str]], ...] = (
        _homeless,
        _upward,
        _unwanted,
        _in_a_circle,
        _against_the_walk,
        _heavy,
        _constructing,
    )
    return [said for check in checks for said in check(rules, files)]


def _imports(tree: ast.Module, path: PurePath) -> Iterator[Import]:
    """All that a file imports, but for what only a type checker sees."""
    own = (PACKAGE, *path.parent.parts)

    def visit(node: ast.AST, is_late: bool) -> Iterator[Import]:
        yield from (Import(name, is_late) for name in _named(node, own))
        is_late = is_late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.If) and ast.unparse(node.test) in _CHECKING:
            children = list(node.orelse)
        for child in children:
            yield from visit(child, is_late)

    return visit(tree, False)


def _named(node: ast.AST, own: Sequence[str]) -> list[str]:
    """What one node imports; `own` is the package that relative names begin at."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        module = _absolute("." * node.level + (node.module or ""), own)
        return [f"{module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call):
        given = [*node.args[:1], *(word.value for word in node.keywords if word.arg == "name")]
        if _words(node.func)[-1:] in (["import_module"], ["__import__"]) and given:
            (name,) = given
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                return [_absolute(name.value, own)]
    return []


def _words(expression: ast.expr) -> list[str]:
    """The words of a dotted name; of `made(by).a.b` the last ones, `a` and `b`."""
    if isinstance(expression, ast.Attribute):
        return [*_words(expression.value), expression.attr]
    return [expression.id] if isinstance(expression, ast.Name) else []


def _absolute(name: str, own: Sequence[str]) -> str:
    """A name that may begin with dots, from the package that it stands in."""
    rest = name.lstrip(".")
    level = len(name) - len(rest)
    if level == 0:
        return name
    return ".".join([*own[: len(own) - level + 1], *([rest] if rest else [])])


def _homeless(rules: Rules, files: Sequence[File]) -> Iterator[str]:
    """Rooms without a floor, and those that are a file and a folder at once."""
    kinds: dict[str, set[bool]] = {}
    for file in files:
        kinds.setdefault(file.room, set()).add(len(file.path.parts) == 1)
    kinds.pop("__init__", None)
    for room, found in kinds.items():
        if room not in rules.floors:
            yield f"{room} has no floor"
        if len(found) == 2:
            yield f"{room} is a file and a folder: Python imports the folder alone"


def _upward(rules: Rules, files: Sequence[File]) -> Iterator[str]:
    """Imports of higher floors, of no room, and of the package's own public names."""
    for file in files:
        for found in file.imports:
            if found.room is None:
                continue
            if file.room == "__init__":
                yield f"{file.path} imports {found.name}: its public names are imported when used"
            elif found.room not in rules.floors:
                yield f"{file.path} imports {found.name}, which is of no room"
            elif rules.floors[found.room] > rules.floors.get(file.room, -1):
                yield (
                    f"{file.path} (floor {rules.floors.get(file.room)}) imports {found.name}"
                    f" (floor {rules.floors[found.room]})"
                )


def _unwanted(rules: Rules, files: Sequence[File]) -> Iterator[str]:
    """Imports that a room's own rules forbid."""
    for file in files:
        only, never = rules.only.get(file.room), rules.never.get(file.room, ())
        for found in file.imports:
            if found.room in rules.not_by_name:
                yield f"{file.path} imports {found.name} by name"
            if found.room not in rules.floors or found.room == file.room:
                continue
            if only is not None and found.room not in only:
                yield f"{file.path} imports {found.name}: {file.room} imports {_listed(only)}"
            if found.room in never:
                yield f"{file.path} imports {found.name}: {file.room} knows no {found.room}"


def _in_a_circle(rules: Rules, files: Sequence[File]) -> Iterator[str]:
    for graph in (room_graph(rules, files), _module_graph(files)):
        if found := circle(graph):
            yield f"a circle: {' -> '.join(found)}"


def _against_the_walk(rules: Rules, files: Sequence[File]) -> Iterator[str]:
    """Stages that reach a later one."""
    graph = room_graph(rules, files)
    for place, stage in enumerate(rules.walk):
        later = {room for other in rules.walk[place + 1 :] for room in other}
        for room in sorted(stage):
            for reached in sorted(_reached(graph, room) & later):
                yield f"{room} reaches {reached}, a later stage of the walk of one step"


def _heavy(rules: Rules, files: Sequence[File]) -> Iterator[str]:
    """Packages of others that the room has no leave for, or not when it is imported."""
    for file in files:
        own, late = rules.libraries.get(file.room, ()), rules.late.get(file.room, ())
        for found in file.imports:
            name = found.package
            if name == PACKAGE or name in sys.stdlib_module_names:
                continue
            if name in late and name not in own and not found.is_late:
                yield f"{file.path} imports {found.name} outside a function"
            elif name not in (*own, *late, *rules.anywhere):
                yield f"{file.path} imports {found.name}: {file.room} is not to load {name}"


def _constructing(rules: Rules, files: Sequence[File]) -> Iterator[str]:
    """Calls of a class, or of what hangs on it, and classes made of it, outside its room."""
    for file in files:
        names = {
            alias.asname or alias.name: alias.name
            for node in ast.walk(file.tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for node in ast.walk(file.tree):
            made = (
                [node.func]
                if isinstance(node, ast.Call)
                else node.bases
                if isinstance(node, ast.ClassDef)
                else []
            )
            for expression in made:
                words = {names.get(word, word) for word in _words(expression)}
                for name, room in rules.constructed.items():
                    if name in words and file.room != room:
                        yield f"{file.path}:{expression.lineno} makes a {name}: only {room} does"


def room_graph(rules: Rules, files: Iterable[File]) -> dict[str, set[str]]:
    """The rooms that each room imports."""
    graph: dict[str, set[str]] = {}
    for file in files:
        found = {one.room for one in file.imports if one.room in rules.floors}
        graph.setdefault(file.room, set()).update(found - {file.room})
    return graph


def _module_graph(files: Sequence[File]) -> dict[str, set[str]]:
    """The modules that each module imports."""
    modules = {file.module for file in files}
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for file in files:
        for found in file.imports:
            name = found.name
            while name and name not in modules:
                name = name.rpartition(".")[0]
            if name and name != file.module:
                graph[file.module].add(name)
    return graph


def circle(graph: Graph) -> list[str]:
    """The nodes of a circle, the first one again at its end; empty where there is none."""
    finished: set[str] = set()

    def visit(node: str, above: list[str]) -> list[str]:
        if node in above:
            return [*above[above.index(node) :], node]
        if node in finished:
            return []
        for other in sorted(graph.get(node, ())):
            if found := visit(other, [*above, node]):
                return found
        finished.add(node)
        return []

    return next((found for node in sorted(graph) if (found := visit(node, []))), [])


def _reached(graph: Graph, start: str) -> set[str]:
    """All nodes that a node imports, be it through others."""
    reached: set[str] = set()
    left = [start]
    while left:
        new = set(graph.get(left.pop(), ())) - reached
        reached |= new
        left += new
    return reached


def _listed(rooms: Collection[str]) -> str:
    return f"{', '.join(sorted(rooms))} and no other" if rooms else "no other room"


def habits(sources: Iterable[Source], *, most_lines: int, most_of_a_body: int) -> list[str]:
    """Files and functions that are too long, files named for nothing, uses of `print`.

    A function's length is that of its body without the docstring.
    """
    said = []
    for path, text in sources:
        if PurePath(path).stem == "utils":
            said.append(f"{path}: say in its name what is inside")
        if text.count("\n") > most_lines:
            said.append(f"{path} is long")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[bool(ast.get_docstring(node)) and len(node.body) > 1 :]
                if (node.end_lineno or 0) - body[0].lineno + 1 >= most_of_a_body:
                    said.append(f"{path}: {node.name} is long")
            elif isinstance(node, ast.Name) and node.id == "print":
                said.append(f"{path}:{node.lineno} prints")
    return said
