"""What a fitted estimator knows: its detector, as it is asked for this time, and what follows from its threshold."""

from collections.abc import Sequence
from pathlib import Path

from sklearn.exceptions import NotFittedError

from promptad.backbones.feature_cache import CacheLike, as_cache
from promptad.data.region_of_interest import Place, as_places, masks_folder
from promptad.errors import InputError
from promptad.models.base import AnomalyDetector
from promptad.models.multi_prototype.detector import MultiPrototypeDetector
from promptad.models.registry import with_asked_thresholds
from promptad.runtime.asked_region import in_region
from promptad.settings import Settings


class UnfittedError(InputError, NotFittedError):
    """Nothing was learned yet; for scikit-learn's tools it is their own error, too."""


class NoThresholdError(InputError, AttributeError):
    """The method has scores alone, so what follows from a threshold is no attribute of it."""


class Fitted:
    """Holds the trained detector of an estimator, once there is one."""

    region: Place | Sequence[Place] | None  # that `fit` is given
    _detector: AnomalyDetector | None

    def __sklearn_is_fitted__(self) -> bool:
        return self._detector is not None

    @property
    def detector(self) -> AnomalyDetector:
        """The trained detector.

        Raises:
            UnfittedError: the estimator is not fitted; it is an `InputError`.
        """
        if self._detector is None:
            raise UnfittedError("this PromptAD has learned nothing yet: call fit, or PromptAD.load")
        return self._detector

    @property
    def k_shot_(self) -> int:
        """The number of support images."""
        return self.detector.settings.training.k_shot

    @property
    def settings_(self) -> Settings:
        """All settings, as they were learned with: bit depth, region and tiles are those of the images."""
        return self.detector.settings

    @property
    def offset_(self) -> float:
        """Minus the threshold of raw scores: `decision_function` is `score_samples` less this, as in scikit-learn.

        Raises:
            NoThresholdError: the method has no threshold; it is an `InputError`.
        """
        threshold = self.detector.metadata.threshold
        if threshold is None:
            raise _no_threshold(self.detector)
        return -threshold

    def _decided(self) -> MultiPrototypeDetector:
        """Return the trained detector, which decides.

        Raises:
            NoThresholdError: it is of the baseline; it is an `InputError`.
        """
        if not isinstance(detector := self.detector, MultiPrototypeDetector):
            raise _no_threshold(detector)
        return detector

    def _asked(
        self, region: Place | Sequence[Place] | None, rate: float | None, cache: CacheLike
    ) -> tuple[AnomalyDetector, Path | None]:
        """Return the detector as it is asked for this time, and the folder of the images' masks, if there is one."""
        detector = self.detector if rate is None else with_asked_thresholds(self._decided(), rate)
        if cache is not None:
            detector = detector.with_cache(as_cache(cache))
        asked, known = as_places(region), as_places(self.region)
        if not asked and masks_folder(known) is not None:
            asked = known  # the folder that `fit` was given
        return in_region(detector, asked, ())


def _no_threshold(detector: AnomalyDetector) -> NoThresholdError:
    return NoThresholdError(
        f"the system {detector.settings.system} has no threshold and decides nothing: use its scores alone, or learn"
        " with the `system` multi-prototype"
    )
