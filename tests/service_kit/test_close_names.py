from __future__ import annotations

import pytest

from service_kit.close_names import not_found


@pytest.mark.parametrize(
    ("name", "known", "message"),
    [
        ("densenet16", ["densenet169", "tiny"], "did you mean 'densenet169'? there is no net"),
        ("x", ["densenet169", "tiny"], "there is no net; there are densenet169, tiny"),
        ("resnet", ["densenet"], "there is no net; there are densenet"),
        ("x", [], "there is no net; there are none"),
    ],
)
def test_a_name_that_is_close_is_offered_and_else_all_are(
    name: str, known: list[str], message: str
) -> None:
    assert not_found("there is no net", name, known) == message


def test_at_most_three_are_offered() -> None:
    known = [f"densenet{number}" for number in range(10, 20)]
    assert not_found("there is no net", "densenet1", known).count("'") == 6
