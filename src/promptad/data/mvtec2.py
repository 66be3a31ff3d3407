"""MVTec AD 2's layout."""

from dataclasses import dataclass

from promptad.data.mvtec import MVTecReader


@dataclass(frozen=True)
class MVTec2Reader(MVTecReader):
    """A folder for each object: train/good/, and test_public/ with good/, bad/ and ground_truth/bad/.

    Only train/good/ is learned from, and only test_public/ is tested on. validation/ is not read; nor are test_private/
    and test_private_mixed/, whose labels are not published. One defect is like the other: the kind is "bad".

    Source: Heckler-Kram et al., "The MVTec AD 2 Dataset: Advanced Scenarios for Unsupervised Anomaly Detection", 2025.
    """

    name: str = "mvtec2"
    missing: str = "no MVTec AD 2 at {0}: unpack it there ({0}/can/train/good/000_regular.png), or try `dataset` demo"
    test: str = "test_public"
    ground_truth: str = "test_public/ground_truth"
    signs: tuple[str, ...] = ("test_public",)
