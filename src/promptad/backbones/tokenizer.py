"""CLIP's tokenizer, loaded when it is first asked."""

from functools import cached_property
from typing import Any


class LazyTokenizer:
    """open_clip's byte-pair tokenizer. Predictions ask for no tokens, and so do not wait for its import."""

    padding = 0

    @cached_property
    def _tokenizer(self) -> Any:
        from open_clip.tokenizer import SimpleTokenizer  # noqa: PLC0415 as the class says

        return SimpleTokenizer()

    @property
    def start(self) -> tuple[int, ...]:
        """The token that starts a prompt."""
        return (int(self._tokenizer.sot_token_id),)

    @property
    def end(self) -> tuple[int, ...]:
        """The token that ends a prompt."""
        return (int(self._tokenizer.eot_token_id),)

    def encode(self, text: str, first: bool = True) -> list[int]:  # noqa: ARG002 a word's tokens are always the same
        """Return the tokens of a text, without start and end."""
        return list(self._tokenizer.encode(text))
