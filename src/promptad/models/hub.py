"""Share detectors on the Hugging Face Hub, by the mixin of its client."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from promptad.backbones.hub_access import offline_without_hub
from promptad.errors import InputError, in_one_line, in_words
from promptad.models.base import AnomalyDetector
from promptad.models.folder import CONFIG, TENSORS, write_folder
from promptad.models.model_card import card_values


class HubMixin(
    ModelHubMixin,
    library_name="promptad",
    pipeline_tag="image-classification",
    tags=["anomaly-detection", "few-shot", "clip"],
    model_card_template=Path(__file__).with_name("model_card.md").read_text(encoding="utf-8"),
):
    """Saves what has a `detector` as a folder, and pushes it to the hub."""

    @property
    def detector(self) -> AnomalyDetector:
        """The trained detector."""
        raise NotImplementedError

    def generate_model_card(self, **given: Any) -> ModelCard:
        """Return the model card; `given` are the keywords of `card_values`."""
        return super().generate_model_card(**card_values(self.detector, **given))

    def save_pretrained(  # type: ignore[override]  # pushing is left to push_to_hub
        self,
        save_directory: str | Path,
        *,
        with_support_names: bool = False,
        model_card_kwargs: Mapping[str, Any] | None = None,
        config: None = None,  # noqa: ARG002 the mixin gives it, but a detector has its own
    ) -> None:
        """Write model.safetensors, config.json and a model card to a folder; earlier ones are replaced together.

        The mixin's own deletes config.json before it writes, and keeps the card of another detector.

        Args:
            save_directory: the folder, which is made if needed.
            with_support_names: whether the names of the support images' files are written.
            model_card_kwargs: the keywords of `card_values`; `with_support_names` counts for the files, too.
            config: not used.

        Raises:
            InputError: nothing was learned yet, or the folder cannot be written to.
        """
        folder, detector = Path(save_directory), self.detector
        chosen = {"repo_id": folder.resolve().name, "with_support_names": with_support_names}
        chosen |= model_card_kwargs or {}
        card = str(self.generate_model_card(**chosen))
        write_folder(folder, detector, card, with_support_names=bool(chosen["with_support_names"]))

    def push_to_hub(self, repo_id: str, *, with_support_names: bool = False, **options: Any) -> str:
        """Save the detector to a repository of the hub, which is made if needed, and return the commit's address.

        Args:
            repo_id: its name, such as "user/bracket".
            with_support_names: whether the names of the support images' files are published.
            options: of the hub's mixin, such as `private`, `token`, `branch`, `create_pr`, `commit_message`.

        Raises:
            InputError: nothing was learned yet, or the hub cannot be reached or refuses.
        """
        _ = self.detector  # before a repository is made
        chosen = {"repo_id": repo_id, "with_support_names": with_support_names}
        with _refusals_of_hub(repo_id, "keep the detector with save_pretrained"):
            return super().push_to_hub(repo_id, model_card_kwargs=chosen, **options)


def fetch_folder(
    name: str | Path,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Path:
    """Return a folder as it is, or the one that the hub's client has downloaded a repository to.

    Only config.json and model.safetensors are downloaded. The keywords are those of the hub's client.

    Raises:
        InputError: it is neither a folder nor a repository, or the hub cannot be reached and it is not in the cache.
    """
    try:
        if Path(name).is_dir():
            return Path(name)
        if Path(name).is_file():
            raise InputError(
                f"{str(name)!r} is a file: give a folder or a name on the hub, or read it by PromptAD.load"
            )
    except OSError as error:  # no right to look, or a name that cannot be
        raise InputError(in_words(error)) from error
    with _refusals_of_hub(str(name), "give the path of a folder (there is none of this name)"):
        return Path(
            snapshot_download(
                str(name),
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                allow_patterns=[CONFIG, TENSORS],
                library_name="promptad",
            )
        )


@contextmanager
def _refusals_of_hub(name: str, instead: str) -> Iterator[None]:
    """Convert whatever the hub's client raises in the body into an `InputError` that tells what to do instead."""
    try:
        with offline_without_hub():
            yield
    except (InputError, TypeError):  # a TypeError is of a keyword that there is not
        raise
    except HFValidationError as error:
        raise InputError(f"{name!r} is no name on the hub, such as user/bracket: give one, or {instead}") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise InputError(
            f"the hub has no {name!r}, or does not show it to you: check its name and `revision`, or give a `token`"
        ) from error
    except (OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
        raise InputError(
            f"the hub cannot be reached for {name!r}: connect this machine to the network, or {instead}"
        ) from error
    except Exception as error:  # the client may raise anything
        raise InputError(
            f"the hub refuses {name!r} ({in_one_line(error)}): check your rights and `token`, or {instead}"
        ) from error
