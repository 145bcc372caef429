"""Addresses: what is shown of them, and which are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from gasdet.data.addresses import without_secrets
from gasdet.data.catalogue import read_catalogue
from gasdet.errors import ConfigError


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("https://me:hush@host:80/a%20b.zip?token=hush#hush", "https://host:80/a%20b.zip"),
        ("s3://bucket/some/prefix", "s3://bucket/some/prefix"),
        ("owner/name", "owner/name"),
        ("https://${USER}:${PASS}@host:${PORT}/${NAME}.zip?sig=hush", "https://host:${PORT}/${NAME}.zip"),
        ("${BASE}/x.zip?token=hush", "${BASE}/x.zip"),
        ("http:/me:hush@host/x?token=hush", "an address that cannot be read"),
        ("http:me:hush@host/x", "an address that cannot be read"),
        ("http://me:hu#sh@host/x", "an address that cannot be read"),
        ("http://host:8hush/x", "an address that cannot be read"),
    ],
)
def test_what_is_shown(address: str, shown: str) -> None:
    assert without_secrets(address) == shown


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("http:/bob:hush@host/x?token=hush", "http"),
        ("http:/bob:hush@host/x?token=hush", ""),
        ("https:bob:hush@host/x", "local"),
        ("http://host:87hush65/", "http"),
        ("http://bob:hush@/x.zip", "http"),
        ("bob:hush@host/x?token=hush", "https"),
        ("https://bob:hush@host/x?token=hush", "huggingface"),
        ("http://bob:hush@host/x?token=hush", "s3"),
        ("s3:/hush:hush@bucket/x", "s3"),
        ("http://bob:hush@host/x?token=hush", "local"),
        ("ftp://bob:hush@host/x", ""),
    ],
)
def test_what_is_no_address_is_told_by_its_line_and_not_repeated(tmp_path: Path, path: str, source: str) -> None:
    file = tmp_path / "sets.yaml"
    stated = f", source: {source}" if source else ""
    file.write_text(f'datasets:\n  - {{name: a, path: mine}}\n  - {{path: "{path}"{stated}, modality: image}}\n')
    with pytest.raises(ConfigError, match=r"has 1 problem: line 3: path must be ") as caught:
        read_catalogue(file)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("https://${USER}:${PASS}@${HOST}:${PORT}/x.zip", "https"),
        ("${BASE}/x.zip", "http"),
        ("http://[::1]:8080/sets/", "http"),
        ("s3://arn:aws:s3:eu-west-1:123:accesspoint/x/y", "s3"),
        ("bucket/prefix?odd@key", "s3"),
        ("owner/name", "huggingface"),
        ("pictures/a:b", "local"),
    ],
)
def test_what_is_an_address_is_taken(tmp_path: Path, path: str, source: str) -> None:
    file = tmp_path / "sets.yaml"
    file.write_text(f'datasets:\n  - {{name: a, path: "{path}", source: {source}, modality: image}}\n')
    assert read_catalogue(file)[0].location == path
