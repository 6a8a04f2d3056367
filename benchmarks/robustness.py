"""How matching and the result depend on how far the reference is turned or scaled: the bundled network, and the same with a matcher that
was not trained.

    python benchmarks/robustness.py PHOTOS     # some minutes; a folder of photos that nobody trained on

What the networks do without a reference is a column of the table. It is written to benchmarks/results/robustness.json.
"""

from argparse import ArgumentParser

import torch
from common import machine, results

from c2m_blocks.data import find_photos
from c2m_blocks.restoration import RefSRNet
from c2m_blocks.robustness import robustness
from c2m_blocks.tables import as_markdown, concat_tables, write_table

SEEDS = (0, 1, 2)  # of the matchers that are not trained


def with_untrained_matcher(seed: int) -> RefSRNet:
    "The bundled network, its matcher of the same make with random weights."
    torch.manual_seed(seed)
    net = RefSRNet.from_pretrained("c2m-tiny")
    net.matcher = RefSRNet.preset("c2m-tiny").matcher
    return net.eval()


if __name__ == "__main__":
    parser = ArgumentParser()
    parser.add_argument("photos")
    parser.add_argument("--size", type=int, default=160, help="side of the crops, pixels")
    args = parser.parse_args()
    photos = find_photos(args.photos, args.size)
    networks = {"c2m-tiny": RefSRNet.from_pretrained("c2m-tiny")}
    networks |= {f"untrained matcher, seed {seed}": with_untrained_matcher(seed) for seed in SEEDS}
    rows = concat_tables({name: robustness(net, photos, args.size) for name, net in networks.items()})
    write_table(rows, results("robustness.json"))
    print(machine(), as_markdown(rows, [name for name in rows[0] if name != "pairs"]), sep="\n\n")
