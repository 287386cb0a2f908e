"""The numbers that the supplement on arbitrary transfer sets prints (Nayak, Mopuri, Chakraborty, WACV 2021,
Tables 1 to 5): top-1 accuracy in percent, and Hausdorff distances; AlexNet into half of it, CIFAR-10."""

from orchestrator.reproducing.layout import in_cells

CLASSES = (2, 4, 6, 8, 10)
STUDENT = "student"
"""The only column of Tables 3 and 5."""
COLUMNS = [f"{count}-classes" for count in CLASSES]

TABLE_1 = in_cells(COLUMNS, {"data": ("19.56", "34.50", "46.08", "58.94", "71.24")})
DISTANCES_1 = in_cells(COLUMNS, {"data": ("52.25", "49.26", "44.45", "34.72", "8.97")})
TABLE_2 = in_cells(COLUMNS, {"svhn-and-tiny-imagenet": ("23.36", "26.51", "32.08", "39.06", "44.42")})
DISTANCES_2 = in_cells(COLUMNS, {"svhn-and-tiny-imagenet": ("50.25", "49.99", "44.73", "38.65", "38.65")})
TABLE_3 = in_cells(
    [STUDENT],
    {
        "svhn": ("40.46",),
        "svhn-and-tiny-imagenet": ("64.90",),
        "tiny-imagenet": ("66.94",),
        "tiny-imagenet-and-svhn": ("70.58",),
    },
)
TABLE_4 = in_cells(
    ["nothing", "noise", "mid-air", "tiny-imagenet"],
    {
        "noise": ("14.38", "31.03", "38.03", "67.29"),
        "clevr": ("36.58", "41.53", "47.18", "60.04"),
        "svhn": ("40.46", "46.77", "49.65", "64.90"),
    },
)
TABLE_5 = in_cells([STUDENT], {"noise": ("67.40",), "synthetic": ("76.92",), "natural": ("79.19",)})
DISTANCES_5 = in_cells([STUDENT], {"noise": ("36.40",), "synthetic": ("29.91",), "natural": ("28.53",)})
