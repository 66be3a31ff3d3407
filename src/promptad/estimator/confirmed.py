"""Verdicts of people on images, which a fitted estimator learns from."""

import logging
from typing import Self

from promptad.data.inputs import Images, as_images
from promptad.data.region_of_interest import Place
from promptad.errors import InputError
from promptad.estimator.fitted import Fitted
from promptad.models.multi_prototype.teaching import confirm, new_verdicts, undo
from promptad.models.multi_prototype.verdicts import Verdict

log = logging.getLogger(__name__)


class Confirmed(Fitted):
    """Learns from verdicts, lists them and forgets them."""

    def confirm(
        self,
        good: Images = (),
        defect: Images = (),
        region: Place | None = None,
    ) -> Self:
        """Learn from verdicts on images, given as for `fit`: `good` ones, and those with a `defect`.

        Nothing is trained anew, and all of it can be undone. What looks like a defect of these is rejected from then
        on. A verdict that is known already is left out, which is logged. `region` is the folder of masks, where each
        image has its own, if it is not that of `fit`.

        Raises:
            InputError: the estimator is not fitted, or of the baseline, which decides nothing; an image cannot be read,
                or was called the opposite.
        """
        detector = self._decided()
        goods, defects = as_images(good, "good"), as_images(defect, "defect")
        if not goods and not defects:
            raise InputError("there is nothing to confirm: give `good` or `defect`")
        new = new_verdicts(detector, goods, defects)
        for verdict in new.repeated:
            log.warning("known already: %s is %s", verdict.called, verdict.label)
        self._detector = confirm(detector, new, masks=self._asked(region, None, None)[1])
        return self

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdicts that were learned from: name, hash, time, and whether the image is good."""
        taught = self._decided().taught
        return () if taught is None else taught.verdicts

    def undo(self, *names: str) -> Self:
        """Forget verdicts, named by files, beginnings of hashes, or as "all", as if they had never been given.

        Raises:
            InputError: no verdict is of that name, or several are.
        """
        self._detector = undo(self._decided(), names)
        return self
