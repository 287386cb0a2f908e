"""The numbers that NAYER's supplement prints (Tran et al., CVPR 2024, Tables 6 and 8): top-1 accuracy in
percent, all of WRN-40-2 into WRN-16-2."""

from orchestrator.reproducing.layout import in_cells

STEPS = (2, 5, 10, 20, 30, 40, 50)
"""g: updates of a batch of images."""
STUDENT = "student"
"""The only column of Table 8."""

TABLE_6 = in_cells(
    [f"g{steps}" for steps in STEPS],
    {
        "fast": ("57.08", "63.83", "65.12", "66.82", "67.51", "68.23", "68.18"),
        "nayer": ("59.23", "65.14", "68.13", "69.31", "70.42", "71.72", "71.70"),
    },
)
"""Its caption names neither data nor networks; 71.72 at g = 40 is CIFAR-100's number in Tables 7 and 8."""
TABLE_8_CIFAR10 = in_cells(
    [STUDENT], {"spaceshipnet": ("93.25",), "nayer_lte": ("94.07",), "nayer_one_hot": ("93.72",)}
)
TABLE_8_CIFAR100 = in_cells(
    [STUDENT], {"spaceshipnet": ("69.95",), "nayer_lte": ("71.72",), "nayer_one_hot": ("70.78",)}
)
