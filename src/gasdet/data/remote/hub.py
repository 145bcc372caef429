"""Data sets of the Hugging Face hub: listed by its client at one commit, fetched from the addresses that it gives."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gasdet.data.addresses import without_secrets
from gasdet.data.remote.files import MOST_FILES, Answer, Found, RemoteFile, checked_name
from gasdet.data.remote.patience import Patience
from gasdet.data.remote.secrets import said
from gasdet.data.remote.web import Web
from gasdet.errors import FetchError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class HubSource:
    """A data set's repository.

    Args:
        location: ``owner/name``.
        revision: A commit, branch or tag; empty for the main branch. Files are fetched at the commit that it means.
        patience: How long to wait.

    Raises:
        FetchError: The location is no repository's name.
    """

    def __init__(self, location: str, revision: str, patience: Patience) -> None:
        self._name = location.strip().strip("/")
        if not _NAME.fullmatch(self._name):
            raise FetchError(f"{without_secrets(location)} is no data set of the hub; write owner/name")
        self._endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
        self._revision = revision
        self._web = Web(patience)
        self.shown = f"{self._name} at {without_secrets(self._endpoint)}"

    async def find(self) -> Found:
        """All files of the commit that the revision means now."""
        # Asked first, because the client tries an address that does not answer for more than 20 s.
        await self._web.reach(self._endpoint)
        return await asyncio.to_thread(self._find)

    def _find(self) -> Found:
        from huggingface_hub import HfApi
        from huggingface_hub import errors as hub
        from huggingface_hub.hf_api import RepoFile

        api: HfApi = HfApi(endpoint=self._endpoint)
        try:
            commit = api.dataset_info(self._name, revision=self._revision or None, timeout=30.0).sha
            if not commit:
                raise FetchError(f"{self.shown} does not say which commit it is at")
            files: dict[str, RemoteFile] = {}
            for item in api.list_repo_tree(self._name, recursive=True, revision=commit, repo_type="dataset"):
                if isinstance(item, RepoFile):
                    name = checked_name(item.path, self.shown)
                    stated = item.lfs.sha256 if item.lfs else ""
                    files[name] = RemoteFile(name, item.size, stated, "" if stated else item.blob_id)
                if len(files) > MOST_FILES:
                    raise FetchError(f"{self.shown} has more than {MOST_FILES:,} files")
        except hub.GatedRepoError:
            why = f"{self.shown} asks you to accept its terms there first, then to log in (hf auth login, or HF_TOKEN)"
        except hub.RepositoryNotFoundError:
            why = f"there is no data set {self.shown}, or it is private and you are not logged in (hf auth login, or HF_TOKEN)"
        except hub.RevisionNotFoundError:
            why = f"{self.shown} has no revision {self._revision!r}"
        except FetchError:
            raise
        except Exception as error:  # the client's transport has exceptions of its own, which change with its versions
            why = f"{self.shown} cannot be listed ({said(error)})"
        else:
            self._revision = commit
            return Found(commit, files)
        raise FetchError(why) from None

    @asynccontextmanager
    async def open(self, file: RemoteFile, offset: int, validator: str) -> AsyncIterator[Answer]:
        """Ask for a file's bytes. The token goes to the hub alone: where the answer leads to another host, it is dropped."""
        from huggingface_hub import get_token, hf_hub_url

        address = hf_hub_url(
            self._name, file.name, repo_type="dataset", revision=self._revision, endpoint=self._endpoint
        )
        token = get_token()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        shown = without_secrets(address)
        async with self._web.open(
            address, offset, "", headers, shown=shown
        ) as answer:  # a commit's file has one version
            answer.validator = self._revision
            yield answer

    async def close(self) -> None:
        """Close the connections."""
        await self._web.close()
