"""What options of `guard init` take, and how their words are quoted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.errors import UsageError
from supervisor.scaffold import wish


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a.b", "ä", "a/b", "..", "a" * 51, "a\n", "$x"])
def test_names_that_a_format_would_refuse(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        wish.name_of(name)
    assert caught.value.code == 2 and "small letters" in caught.value.why


@pytest.mark.parametrize("name", ["a", "app", "7", "my-app-2", "a" * 50])
def test_names_that_all_take(name: str) -> None:
    assert wish.name_of(name) == name


@pytest.mark.parametrize("command", ["", "   ", "''", "python 'app.py", "a\nb", "a\x1b[2J", "a \u202e b", "a \udcff"])
def test_commands_that_are_refused(command: str) -> None:
    with pytest.raises(UsageError) as caught:
        wish.command_of(command)
    assert "--command" in caught.value.what
    assert all(letter.isprintable() for letter in caught.value.what)


@pytest.mark.parametrize("image", ["", "a b", "-x", "$x", 'a"b', "a\n", "#a", "x" * 301])
def test_images_that_are_refused(image: str) -> None:
    with pytest.raises(UsageError):
        wish.reference("--image", image)


@pytest.mark.parametrize(
    ("text", "kubernetes"),
    [("512MiB", "512Mi"), ("1GiB", "1024Mi"), ("512", "512000000"), ("1.5Gi", "1536Mi"), ("100MB", "100000000")],
)
def test_sizes(text: str, kubernetes: str) -> None:
    assert wish.sized(wish.memory_of(text), "Mi") == kubernetes


@given(st.text(min_size=1))
def test_every_command_is_taken_or_explained(command: str) -> None:
    try:
        words = wish.command_of(command)
    except UsageError as error:
        assert error.why or error.hint
    else:
        assert words and all(word.isprintable() for word in words)
