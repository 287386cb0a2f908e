"""What looks like a secret is hidden, and nothing of our own configuration looks like one."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator import fuse
from orchestrator.documentation import configuration_page
from orchestrator.errors import UserError
from orchestrator.loading import dump_config, load_config, parse_config, presets
from orchestrator.secrets import given_again, redact

PLACES = (
    "hf://org/model@main/model.safetensors",
    "s3://bucket/zoo@v2/a.safetensors",
    "hdfs://namenode:8020/zoo@v2/a.safetensors",
    "https://host:8443/zoo@v2/a.safetensors",
    "https://[::1]:8443/zoo@v2/a.safetensors",
    "abfss://container@account.dfs.core.windows.net/zoo",
    "models:/zoo@champion",
)


def test_values_under_names_of_secrets_are_hidden_at_any_depth() -> None:
    names = ("s3_secret_key", "Token", "db_passwd", "password", "apiKey", "AWS_CREDENTIALS")
    tree = {"a": [{name: "CANARY", "kept": 1} for name in names], "tokens": {"x": ["CANARY"]}, "key": None}
    hidden = redact(tree)
    assert "CANARY" not in str(hidden)
    assert [one["kept"] for one in hidden["a"]] == [1] * len(names)
    assert (hidden["tokens"], hidden["key"]) == ("***", None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://user:CANARY@host:5000/x", "http://***@host:5000/x"),
        ("https://CANARY@host", "https://***@host"),
        ("postgresql+psycopg://u:CAN/A@RY@host/db", "postgresql+psycopg://***@host/db"),
        ("cannot reach (http://u:CANARY@host/api), twice", "cannot reach (http://***@host/api), twice"),
        ("https://host/x?a=1&sig=CANARY&b=2", "https://host/x?a=1&sig=***&b=2"),
        ("url: /x?access_token=CANARY (Caused by", "url: /x?access_token=*** (Caused by"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("me@work and a/b@c", "me@work and a/b@c"),
        ("https://me@work.org:CANARY@host", "https://***@host"),
        ("redis://:CANARY@host", "redis://***@host"),
        ("http://u:123@host:80/x", "http://***@host:80/x"),
        *((place, place) for place in PLACES),
    ],
)
def test_users_and_passwords_in_urls_are_hidden(text: str, expected: str) -> None:
    assert redact({"a": [text]}) == {"a": [expected]}


def test_no_key_or_value_of_our_own_configuration_is_hidden() -> None:
    rows = [row for row in configuration_page().splitlines() if row.startswith("| `")]
    keys = [row.split("`")[1] for row in rows]
    assert "tracking.uri" in keys
    assert redact(dict.fromkeys(keys, 1)) == dict.fromkeys(keys, 1)
    for name in presets():
        assert "***" not in dump_config(load_config(name))


def test_a_dumped_configuration_loads_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "http://user:CANARY@host:5000"
    dumped = dump_config(load_config("digits", [f"tracking.uri={uri}"]))
    assert "CANARY" not in dumped
    (tmp_path / "config.yaml").write_text(dumped)
    read: Any = load_config(str(tmp_path / "config.yaml")).tracking.uri
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match=r"tracking\.uri: http://\*\*\*@host:5000 was written without"):
        given_again(read)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:CANARY@another:5000")
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI"):
        given_again(read)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert given_again(read) == uri
    assert given_again("http://host:1") == "http://host:1"


def test_names_of_classes_arguments_and_versions_are_no_secrets(tmp_path: Path) -> None:
    mapped = {"source": PLACES[0], "label_map": {"keyboard": "device", "monkey": "animal"}}
    built = {"source": PLACES[1], "network": "timm:vit_tiny_patch16_224", "arguments": {"class_token": True}}
    given = parse_config({"teachers": [mapped, built]}, "given")
    (tmp_path / "config.yaml").write_text(dump_config(given))
    assert load_config(str(tmp_path / "config.yaml")) == given
    nested = {"arguments": {"a": [{"token": "http://u:CANARY@host"}]}, "token": "CANARY"}
    assert redact(nested) == {"arguments": {"a": [{"token": "http://***@host"}]}, "token": "***"}


@pytest.mark.parametrize(
    ("key", "uri"),
    [
        ("checkpoint.to", "s3://KEY:CANARY@bucket/x"),
        ("checkpoint.to", "s3://bucket/x?access_key=KEY&secret_key=CANARY"),
        ("teachers.0.source", "s3://KEY:CANARY@bucket/x.safetensors"),
    ],
)
def test_a_place_whose_secret_was_not_written_has_to_be_given_again(
    key: str, uri: str, tmp_path: Path
) -> None:
    value = f"[{uri}]" if key == "teachers.0.source" else uri
    config = load_config("demo", [f"{key.removesuffix('.0.source')}={value}"])
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert "CANARY" not in dump_config(config)
    with pytest.raises(UserError, match="was written without its secret; give all of it by ") as error:
        fuse(str(tmp_path / "config.yaml"), f"output={tmp_path / 'runs'}", "tracking.enabled=false")
    assert str(error.value).startswith(f"{key}: s3://")
    assert "\n" not in str(error.value)
