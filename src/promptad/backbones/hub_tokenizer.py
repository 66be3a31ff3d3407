"""The tokenizer of a hub's repository, such as SigLIP's or SigLIP2's, loaded when it is first asked."""

from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

from promptad.backbones.hub_access import is_local_only, offline_without_hub
from promptad.errors import InputError, in_one_line, not_installed
from promptad.utils.quiet import quiet_logging

LEAD = "a"  # a word that stands before words that do not begin a prompt


class HubTokenizer:
    """open_clip's wrapper of a tokenizer of transformers, with the cleaning of texts that the architecture asks for.

    Its files come from a folder, where they are beside the weights, or from the hub's repository that open_clip names
    for the architecture. Predictions ask for no tokens, and so need neither them nor transformers.
    """

    def __init__(self, architecture: str, text: dict[str, Any], folder: Path | None = None) -> None:
        """Name the tokenizer of an architecture of this `text_cfg`, and the folder with its files, if there is one."""
        self.architecture, self.text, self.folder = architecture, text, folder
        self.local_only = is_local_only()

    @cached_property
    def wrapped(self) -> Any:
        """open_clip's tokenizer.

        Raises:
            InputError: transformers is not installed, or the tokenizer's files are neither here nor to be had.
        """
        try:
            import transformers  # noqa: F401, PLC0415 as the class says
        except ImportError as error:
            raise not_installed("transformers", '"promptad[siglip]"') from error
        from open_clip.tokenizer import HFTokenizer  # noqa: PLC0415 it takes longer than a picture

        own: dict[str, Any] = {"local_files_only": True} if self.local_only or self.folder else {}
        try:
            with quiet_logging(), nullcontext() if own else offline_without_hub():
                wrapped = HFTokenizer(
                    str(self.folder or self.text["hf_tokenizer_name"]),
                    context_length=self.text["context_length"],
                    tokenizer_mode=self.text.get("tokenizer_mode"),
                    **self.text.get("tokenizer_kwargs", {}),
                    **own,
                )
        except Exception as error:  # a download or a foreign file may raise anything
            raise InputError(self._load_failure(error)) from error
        if wrapped.tokenizer.padding_side != "right":
            raise InputError(
                f"the tokenizer of {self.architecture} pads in front, and its text encoder learned with"
                " padding after the words: fetch its tokenizer_config.json again"
            )
        return wrapped

    def _load_failure(self, error: Exception) -> str:
        if self.folder:
            holds = f"{self.folder} does not hold the tokenizer of {self.architecture}"
            return f"{holds}: {in_one_line(error)}; fetch its files again"
        return (
            f"cannot download the tokenizer of {self.architecture} from the hub's {self.text['hf_tokenizer_name']};"
            " connect this machine to the network, or put its tokenizer.json and tokenizer_config.json beside the"
            " weights and give their folder as `pretrained`"
        )

    @property
    def start(self) -> tuple[int, ...]:
        """The tokens that start a prompt: for SigLIP none."""
        return self._around[0]

    @property
    def end(self) -> tuple[int, ...]:
        """The tokens that end a prompt."""
        return self._around[1]

    @property
    def padding(self) -> int:
        """The token that fills a prompt up to the length that the text encoder reads."""
        return int(self.wrapped.tokenizer.pad_token_id)

    @cached_property
    def _around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        complete, inner = self._ids(LEAD, complete=True), self._ids(LEAD)
        first = next(i for i in range(len(complete)) if complete[i : i + len(inner)] == inner)
        return tuple(complete[:first]), tuple(complete[first + len(inner) :])

    def encode(self, text: str, first: bool = True) -> list[int]:
        """Return the tokens of a text, without start and end; `first` says whether it begins a prompt.

        A word's tokens may differ at the beginning, where no space is before it.
        """
        cleaned = self.wrapped.clean_fn(text)
        if first:
            return self._ids(cleaned)
        return self._ids(f"{LEAD} {cleaned}")[len(self._ids(LEAD)) :]

    def _ids(self, cleaned: str, complete: bool = False) -> list[int]:
        ids = list(self.wrapped.tokenizer(cleaned, add_special_tokens=complete).input_ids)
        if max(ids, default=0) >= self.text["vocab_size"]:
            raise InputError(
                f"the tokenizer in {self.folder} is of another model than {self.architecture}, which knows"
                f" {self.text['vocab_size']} tokens: fetch the files of this one"
            )
        return ids
