"""The store of released models: one folder each, below `zoo` in the data folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from invariances.config.parts import load_network
from invariances.errors import InvalidInput, UserError
from invariances.utils.download import DownloadError, download, pinned, verified
from invariances.utils.files import data_root
from invariances.utils.names import hint, nearest
from invariances.zoo import hub
from invariances.zoo.entries import ENTRIES, Entry

if TYPE_CHECKING:
    from torch import nn

PREFIX = "zoo:"  # may stand before a name, where it could also be that of a file


class Zoo:
    """Released models by name.

    Args:
        entries: the records, by name.
        root: folder of the data, see `invariances.utils.files.data_root`.

    >>> Zoo().entry("cinn_alexnet_aae_fc6").arguments["conditioning_in_channels"]
    4096
    """

    def __init__(self, entries: Mapping[str, Entry] = ENTRIES, root: str | Path | None = None) -> None:
        self.entries, self.root = entries, root

    def names(self) -> list[str]:
        """The names of all models."""
        return list(self.entries)

    def entry(self, name: str) -> Entry:
        """The record of a model.

        Raises:
            UserError: there is none of this name.
        """
        plain = name.removeprefix(PREFIX)
        if plain not in self.entries:
            near = hint(plain, self.entries) or "; invariances zoo ls lists all"
            raise UserError(f"{plain}: no such model in the zoo{near}")
        return self.entries[plain]

    def path(self, name: str) -> Path:
        """Where the file of a model lies, or will lie once it has been downloaded."""
        entry = self.entry(name)
        return data_root(self.root) / "zoo" / entry.name / entry.file

    def get(self, name: str) -> Path:
        """The file of a model, downloaded if need be, and verified.

        Raises:
            UserError: it cannot be downloaded or written; says what to do by hand.
        """
        entry, path = self.entry(name), self.path(name)
        try:
            return download(path, [entry.url], entry.checksum)
        except (DownloadError, InvalidInput) as error:
            raise UserError(f"{entry.name}: {error}") from error

    def state(self, name: str) -> str:
        """Whether the file is there and as it should be: "absent", "good", "first seen", "damaged" or "unverified".

        The checksums of some files were never published. They are "unverified" where they lie, and "first seen"
        while they are as they were at first.
        """
        checksum, path = self.entry(name).checksum, self.path(name)
        if not path.is_file():
            return "absent"
        if checksum is None and pinned(path) is None:
            return "unverified"
        good = verified(path, checksum or pinned(path))
        return "damaged" if not good else "good" if checksum else "first seen"

    def load(self, name: str | Path) -> "nn.Module":
        """A model in evaluation mode.

        Args:
            name: of the zoo; or `hub:user/name`; or the path of an exported folder or a checkpoint.

        Raises:
            UserError: no such model, or it cannot be downloaded, or its weights do not fit.
        """
        if not self._knows(name):
            return load_network(self.find(str(name)))
        entry = self.entry(str(name))
        if entry.model is None:
            raise UserError(f"{entry.name}: is a file, of which no model is made here; zoo.get gives it")
        return load_network(self.get(entry.name), entry.model, {"Model": entry.arguments})

    def find(self, text: str) -> Path:
        """The path of a model: what a config means by `checkpoint: TEXT`.

        Args:
            text: a name of the zoo, which `zoo:` may precede; or `hub:user/name`; or a path, which is returned.

        Returns:
            a checkpoint, or the folder of a model, see `invariances.utils.model_folder`.

        Raises:
            UserError: no such model, or it cannot be downloaded.
        """
        if text.startswith(hub.PREFIX):
            return hub.fetch(text)
        if self._knows(text):
            return self._described(text)
        near = nearest(text, self.entries, cutoff=0.8)
        if near and not Path(text).exists():
            raise UserError(f"{text}: no such file, and no such model in the zoo; did you mean {near}?")
        return Path(text)

    def _knows(self, name: str | Path) -> bool:
        """Whether a text means a model of the zoo; a file of its name comes first."""
        return str(name).startswith(PREFIX) or (str(name) in self.entries and not Path(name).exists())

    def _described(self, name: str) -> Path:
        """The folder of a model, with a `config.json`; the mere file, if no model is made of it here."""
        from invariances.utils.model_folder import Facts, is_one, read_facts, write_facts  # imports torch

        entry, path = self.entry(name), self.get(name)
        if entry.model is None:
            return path
        facts, folder = Facts({"model": entry.model, "Model": entry.arguments}, entry.file), path.parent
        if not is_one(folder) or read_facts(folder) != facts:
            try:
                write_facts(folder, facts)
            except OSError as error:
                done_by = f"invariances zoo get {entry.name}, by someone who may write there"
                raise UserError(f"{folder}: config.json cannot be written ({error.strerror}); use {done_by}") from error
        return folder


zoo = Zoo()
