"""TOML is read strictly; every mistake names its place."""

from dataclasses import dataclass, field, replace

import pytest

from fiduciary.core.config import read
from fiduciary.core.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    lr: float = 0.1
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        if self.lr <= 0:
            raise ConfigError("`lr` must be positive", str(self.lr))


@dataclass(frozen=True)
class Other:
    width: int = 3


@dataclass(frozen=True)
class Outer:
    title: str
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None
    seeds: tuple[int, ...] = (0,)
    choice: Inner | Other = field(default_factory=Other)
    tuned: Inner = field(default_factory=lambda: Inner(0.7, {"a": "b"}))


@dataclass(frozen=True)
class Nest:
    outer: Outer = field(default_factory=lambda: Outer("b", choice=Inner(0.4, {"e": "f"}), tuned=Inner(0.6)))


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "study.toml"
        path.write_text(text)
        return path

    return write


def test_values_and_overrides_reach_their_places(file):
    path = file('title = "a"\n[inner]\nlr = 0.2\n[inner.names]\nsymbol = "ticker"\n')
    got = read(path, Outer, ["inner.lr=0.3", "seeds=[1, 2]", "title=bare words", "maybe.lr=1"])
    assert got == Outer("bare words", Inner(0.3, {"symbol": "ticker"}), Inner(1.0), (1, 2))


def test_what_a_table_leaves_out_stays_as_the_default_has_it(file):
    got = read(file('title = "a"\n[tuned]\nnames = { c = "d" }\n[choice]\n'), Outer)
    assert got.tuned == Inner(0.7, {"c": "d"}) and got.choice == Other()


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("[outer.tuned]\nnames = { c = 'd' }", {"tuned": Inner(0.6, {"c": "d"})}),
        ("[outer.choice]\nlr = 0.5", {"choice": Inner(0.5, {"e": "f"})}),
        ("[outer.choice]\nkind = 'other'", {"choice": Other()}),
    ],
)
def test_what_a_table_within_a_table_leaves_out_stays_as_the_outer_default_has_it(file, text, changes):
    assert read(file(text), Nest).outer == replace(Nest().outer, **changes)


def test_another_kind_drops_the_settings_of_the_first(file):
    path = file('title = "a"\n[choice]\nwidth = 7')
    assert read(path, Outer, ["choice.kind=inner", "choice.lr=0.2"]).choice == Inner(0.2)
    assert read(path, Outer, ["choice.width=9"]).choice == Other(9)


@pytest.mark.parametrize(
    ("text", "built"),
    [
        ("width = 5", Other(5)),
        ('kind = "other"', Other()),
        ('kind = "Inner"\nlr = 0.5\nnames = { a = "b" }', Inner(0.5, {"a": "b"})),
    ],
)
def test_a_table_with_a_choice_says_which_by_kind(file, text, built):
    assert read(file(f'title = "a"\n[choice]\n{text}'), Outer).choice == built


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ('title = "a"\n[inner]\nlrr = 1', [], "`inner.lrr`: did you mean `inner.lr`"),
        ('title = "a"\nzzz = 1', [], "known here: choice, inner, maybe, seeds, title, tuned"),
        ('title = "a"', ["innr.lr=1"], "did you mean `inner`"),
        ('title = "a"', ["inner.lr"], "takes key=value"),
        ('title = "a"', ["title.x=1"], "is a value itself"),
        ('title = "a"', ["inner.lr=fast"], r"`inner.lr` in .*: input should be a valid number.*got 'fast'"),
        ('title = "a"', ["inner.lr=-1"], "`lr` must be positive, got -1"),
        ("", [], "`title` in .*: field required, got nothing"),
        (
            'title = "a"\n[choice]\nkind = "iner"',
            [],
            "`choice.kind` in .* must be one of inner, other, got 'iner': did you mean",
        ),
        ('title = "a"\n[choice]\nlr = 1', [], "`choice.lr`: known here: width"),
        ('title = "a"\n[choice]\nkind = "inner"\nlr = -1', [], "`lr` must be positive"),
        ('title = "a"\n[choice]\nkind = "inner"\nlr = "x"', [], "`choice.lr` in .*: input should be a valid number"),
        ("title = ", [], "must be valid TOML"),
    ],
)
def test_mistakes_are_named(file, text, overrides, message):
    with pytest.raises(ConfigError, match=message):
        read(file(text), Outer, overrides)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no file .*absent\.toml"):
        read(tmp_path / "absent.toml", Outer)
