"""Which files of rules count, and in which order."""

from hypothesis import given
from hypothesis import strategies as st

from bouncekit.meaning.meaning import Meaning, RuleFile

FILES = st.lists(st.sampled_from([RuleFile(f"{name}.toml", name) for name in "abcd"]), max_size=5).map(tuple)
MEANINGS = st.builds(Meaning, own=FILES, community=FILES)


def texts(files: tuple[RuleFile, ...]) -> list[str]:
    return [file.text for file in files]


@given(MEANINGS, MEANINGS)
def test_what_is_added_comes_behind_and_nothing_counts_twice(first: Meaning, second: Meaning) -> None:
    both = first + second
    assert texts(both.own) == list(dict.fromkeys(texts(first.own + second.own)))
    wanted = dict.fromkeys(texts(first.community + second.community))
    assert texts(both.community) == [text for text in wanted if text not in texts(both.own)]


@given(MEANINGS)
def test_a_meaning_without_files_is_false(meaning: Meaning) -> None:
    assert bool(meaning) is bool(meaning.own or meaning.community)


def test_the_text_of_a_file_is_in_no_repr() -> None:
    assert "secret" not in repr(Meaning(own=(RuleFile("mine.toml", "secret"),)))
