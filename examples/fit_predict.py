"""Learn a part from two images of good ones, and find the defects in new images.

python examples/fit_predict.py [FOLDER]

FOLDER gets the drawn images, the figure and the checkpoint; without it they go to the working directory. It takes half
a minute without a GPU or a download.
"""

import sys
from pathlib import Path

from promptad import PromptAD
from promptad.data.demo import make_demo_class


def main(folder: Path) -> None:
    """Fit, predict, explain, draw, save and load."""
    carpet = make_demo_class(folder / "demo", "carpet")  # or a folder of your own images
    good = sorted((carpet / "train" / "good").glob("*.png"))
    new = [carpet / "test" / "good" / "000.png", carpet / "test" / "hole" / "000.png"]

    detector = PromptAD("carpet", backbone="tiny")  # bundled; without it, a real CLIP is downloaded
    detector.fit(good[:2])
    prediction = detector.predict(new)
    for path, image in zip(new, prediction, strict=True):
        print(f"{path.parent.name}: {image.label}, score {image.score:.2f}")
        for region in image.regions:
            print(f"  x {region.left} to {region.right}, y {region.top} to {region.bottom}: {region.max_score:.2f}")
        print(f"  {image.reason}")
    prediction.plot().savefig(folder / "carpet.png")

    detector.save(folder / "carpet.pt")
    same = PromptAD.load(folder / "carpet.pt")
    assert (same.score_samples(new) == -prediction.raw_score).all()  # the lower, the more abnormal


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
