"""Pruning profiles: a policy with the promise that it was certified for."""

from __future__ import annotations

import json
from os import PathLike
from typing import Any

from . import _native

__all__ = ["Profile"]


class Profile:
    """What a calibration found; JSON in files, as ``grating calibrate`` writes them."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Profile:
        """Reads one from a file.

        Raises:
            ProfileError: The file cannot be read or holds something else.
        """
        return cls(json.loads(_native.read_profile(path)))

    def write(self, path: str | PathLike[str]) -> None:
        """Writes it to a file, as a whole or not at all.

        Raises:
            ProfileError: The file cannot be written.
        """
        _native.write_profile(self._json(), path)

    @property
    def k(self) -> int:
        """The K that it is for; any other is refused."""
        return int(self._fields["k"])

    @property
    def policy(self) -> dict[str, Any] | None:
        """The certified policy; ``None`` where nothing cheaper than the full model could be certified."""
        policy: dict[str, Any] | None = self._fields["policy"]
        return policy

    @property
    def tokens(self) -> dict[str, Any] | None:
        """The token policy that was certified with it; ``None`` where no tokens leave."""
        tokens: dict[str, Any] | None = self._fields.get("tokens")
        return tokens

    @property
    def promise(self) -> dict[str, float]:
        """Least mean agreement with the full model's top K, and the confidence in it."""
        promise: dict[str, float] = self._fields["promise"]
        return promise

    def as_dict(self) -> dict[str, Any]:
        """Everything that it holds."""
        copy: dict[str, Any] = json.loads(self._json())
        return copy

    def _json(self) -> str:
        return json.dumps(self._fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Profile) and self._fields == other._fields

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        agreement, confidence = self.promise["agreement"], self.promise["confidence"]
        found = "a policy" if self.policy else "no policy"
        return f"Profile(k={self.k}, agreement={agreement}, confidence={confidence}, {found})"
