"""Mix the weights of two tiny CLIPs, of which one went on from the other.

`python tools/mix_tiny_clips.py EARLIER LATER --share 0.75 --output MIXED` keeps what the earlier one knew of what the
later one saw less of (WiSE-FT, Wortsman et al., CVPR 2022). All are weight files in the package's format.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from promptad.utils.files import whole_file

IDS, ROWS, OTHER = (f"token_embedding.{name}" for name in ("ids", "rows", "other_row"))


def main() -> None:
    """Read, mix, write."""
    options = _parse()
    mixed = mix(load_file(options.earlier), load_file(options.later), options.share)
    with whole_file(options.output) as temporary:
        save_file(mixed, temporary)


def mix(earlier: Mapping[str, Tensor], later: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Return weights of which `share` is the later ones', for the tokens that the later one knows by name.

    A token that the earlier one does not know by name has its common row there.
    """
    place = {token: row for row, token in enumerate(earlier[IDS].tolist())}
    known = [place.get(token, len(place)) for token in later[IDS].tolist()]
    with_common = earlier[ROWS].new_empty((len(place) + 1, earlier[ROWS].shape[1]))
    with_common[:-1], with_common[-1] = earlier[ROWS], earlier[OTHER]
    before = {**earlier, ROWS: with_common[known]}
    mixed = {
        name: (share * own.float() + (1 - share) * before[name].float()).to(own.dtype).contiguous()
        for name, own in later.items()
        if name != IDS
    }
    return {**mixed, IDS: later[IDS], OTHER: mixed[ROWS].float().mean(0).to(mixed[ROWS].dtype)}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("earlier", type=Path, help="weights")
    parser.add_argument("later", type=Path, help="weights that went on from them")
    parser.add_argument("--share", type=float, required=True, help="of the later ones, 0 to 1")
    parser.add_argument("--output", type=Path, required=True, help="file to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
