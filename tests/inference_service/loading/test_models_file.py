from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_service.loading.models_file import EMPTY, ModelSettings, parse_models_file
from inference_service.loading.policy import KEEP_ALL, KEEP_NONE, Keep
from service_kit import errors

FULL = """
models:
  densenet169:
    versions: latest 2
    labels: {stable: 3, canary: 5}
    batch_limit: 8
    max_batch_size: 16
    max_queue_delay_ms: 2.5
    queue_images: 512
    queue_mb: 64
    max_elements: 50000000
    pad_batches: true
    replicate: false
    unload_first: true
  digits:
"""
SETTINGS = [
    "versions",
    "labels",
    "batch_limit",
    "max_batch_size",
    "max_queue_delay_ms",
    "queue_images",
    "queue_mb",
    "max_elements",
    "pad_batches",
    "replicate",
    "unload_first",
]


def test_every_setting_is_read_in_the_units_of_the_server() -> None:
    file = parse_models_file(FULL, "models.yaml")
    assert file.settings("densenet169") == ModelSettings(
        keep=Keep("latest", 2),
        labels={"stable": 3, "canary": 5},
        batch_limit=8,
        max_batch_size=16,
        max_queue_delay=0.0025,
        queue_images=512,
        queue_bytes=64 * 2**20,
        max_elements=50_000_000,
        pad_batches=True,
        replicate=False,
        unload_first=True,
    )
    assert file.settings("digits") == file.settings("unknown") == ModelSettings()


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "{}", "models:", "models: {}", "models: {m: }", "---\n"]
)
def test_a_file_may_say_nothing(text: str) -> None:
    assert parse_models_file(text, "f") == EMPTY


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("latest 1", Keep("latest")),
        ("latest 12", Keep("latest", 12)),
        ("all", KEEP_ALL),
        ("none", KEEP_NONE),
        ("[3, 5]", Keep("specific", versions=frozenset({3, 5}))),
    ],
)
def test_versions_are_latest_all_none_or_a_list(text: str, keep: Keep) -> None:
    file = parse_models_file(f"models: {{m: {{versions: {text}}}}}", "f")
    assert file.settings("m").keep == keep


@pytest.mark.parametrize("key", SETTINGS)
def test_a_setting_without_a_value_is_none(key: str) -> None:
    file = parse_models_file(f"models:\n  m:\n    {key}:\n    # nothing\n", "f")
    assert file.settings("m") == ModelSettings()


def test_labels_and_models_may_have_the_names_that_yaml_1_1_takes_for_booleans() -> None:
    file = parse_models_file("models: {on: {labels: {no: 3}}}", "f")
    assert file.settings("on").labels == {"no": 3}


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("versions: latest 0", "models.m.versions: write latest N, all, none, or a list"),
        ("versions: 3", "write latest N"),
        ("versions: []", "write latest N"),
        ("versions: [0]", "write latest N"),
        ("versions: [true]", "write latest N"),
        ("labels: {A: 1}", "models.m.labels.A: label 'A' is not allowed"),
        ("labels: {a: 0}", "models.m.labels.a: Input should be greater than or equal to 1"),
        ("labels: [a]", "models.m.labels: Input should be a valid dict"),
        ("batch_limit: 0", "models.m.batch_limit: Input should be greater than or equal to 1"),
        ("batch_limit: true", "Input should be a valid integer"),
        ("batch_limit: '8'", "Input should be a valid integer"),
        ("batch_limit: 8.0", "Input should be a valid integer"),
        ("batch_limit: 010", "Input should be a valid integer"),
        ("batch_limit: 1:30", "Input should be a valid integer"),
        ("max_batch_size: 5000", "less than or equal to 4096"),
        ("max_queue_delay_ms: -1", "greater than or equal to 0"),
        ("max_queue_delay_ms: .nan", "models.m.max_queue_delay_ms"),
        ("max_queue_delay_ms: 60000.5", "less than or equal to 60000"),
        ("max_queue_delay_ms: true", "Input should be a valid number"),
        ("pad_batches: 1", "Input should be a valid boolean"),
        ("pad_batches: yes", "Input should be a valid boolean"),
        ("pad_batches: !!bool maybe", "line 3, column 18: tags are not read"),
        ('"a\\n\\e[31m": 1', "models.m.'a\\n\\x1b[31m': unknown; there are"),
        ("batchlimit: 3", "models.m.batchlimit: unknown; there are versions, labels, batch_limit"),
    ],
)
def test_bad_settings_are_named_with_what_is_allowed(setting: str, words: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        parse_models_file(f"models:\n  m:\n    {setting}\n", "models.yaml")
    assert str(caught.value).startswith("models.yaml")
    assert str(caught.value).isprintable()
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "the whole: Input should be a valid dict"),
        ("false", "the whole: Input should be a valid dict"),
        ("[1]", "the whole: Input should be a valid dict"),
        ("hello", "the whole: Input should be a valid dict"),
        ("model: {}", "model: unknown; there are models"),
        ("models: [m]", "models: Input should be a valid dict"),
        ("models: {M: {}}", "models.M: model name 'M' is not allowed"),
        ("models: {m: 3}", "models.m: Input should be a valid dict"),
        ("models: {m: {}, m: {}}", "the key 'm' is there twice"),
    ],
)
def test_a_file_of_another_shape_is_refused(text: str, words: str) -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        parse_models_file(text, "f")
    assert words in str(caught.value)
    assert "_Model" not in str(caught.value)


def test_a_problem_is_told_briefly_however_long_its_key_is() -> None:
    with pytest.raises(errors.InvalidRequest) as caught:
        parse_models_file(f"models:\n  ? {'k' * 50_000}\n  : {{}}\n", "f")
    assert len(str(caught.value)) < 400
    assert "is not allowed" in str(caught.value)


def test_many_problems_are_told_together_and_not_all() -> None:
    text = "models:\n" + "".join(f"  m{n}: {{batch_limit: 0}}\n" for n in range(9))
    with pytest.raises(errors.InvalidRequest) as caught:
        parse_models_file(text, "f")
    assert str(caught.value).count("greater than") == 5
    assert str(caught.value).endswith("; and 4 more")


@given(st.text(st.sampled_from("models:m{}[] \nversions1latest'\"-,"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(errors.InvalidRequest):
        parse_models_file(text, "f")
