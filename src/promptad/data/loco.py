"""MVTec LOCO AD's layout."""

from dataclasses import dataclass

from promptad.data.mvtec import MVTecReader


@dataclass(frozen=True)
class LocoReader(MVTecReader):
    """MVTec AD's layout with two kinds, logical_anomalies and structural_anomalies, and a folder of masks an image.

    Each mask shows one defect, and its value tells of which sort: here every value above 0 is a defect, and the masks
    of an image count together. The data set's own measure, sPRO, is not taken; so defects_config.json, which holds what
    saturates it, is not read, nor is validation/.

    Source: Bergmann et al., "Beyond Dents and Scratches: Logical Constraints in Unsupervised Anomaly Detection and
    Localization", IJCV 2022.
    """

    name: str = "loco"
    missing: str = (
        "no MVTec LOCO AD at {0}: unpack it there ({0}/breakfast_box/train/good/000.png), or try `dataset` demo"
    )
    mask: str = "{}/000.png"
    signs: tuple[str, ...] = ("test/logical_anomalies", "test/structural_anomalies")
