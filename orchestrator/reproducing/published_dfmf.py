"""The numbers that DFMF prints, as it prints them: top-1 accuracy on the test images, in percent.

Source of all: Shi et al., CVPR Workshops 2024, mean ± sample standard deviation of three trainings; the row
names are those of `orchestrator.reproducing.tables`.
"""

from orchestrator.reproducing.layout import in_cells

SPLITS = ("balanced", "r3")
DOGS = ("balanced", "r3", "r10", "r20")

TABLE_2_CIFAR10 = in_cells(
    SPLITS,
    {
        "gold_standard": ("94.92", "94.92"),
        "teachers": ("92.41 / 92.26", "90.43 / 89.79"),
        "teacher_ensemble": ("93.85", "93.12"),
        "zskt": ("56.34 ± 11.61", "63.44 ± 16.36"),
        "dafl": ("89.04 ± 2.87", "89.76 ± 0.24"),
        "dfq_no_adv": ("92.66 ± 0.10", "91.81 ± 0.09"),
        "dfq": ("90.64 ± 1.47", "88.12 ± 2.42"),
        "cmi": ("92.89 ± 0.07", "91.74 ± 0.11"),
        "cmi_ga": ("92.99 ± 0.06", "92.02 ± 0.12"),
        "dfmf": ("93.10 ± 0.11", "92.27 ± 0.19"),
    },
)
TABLE_2_CIFAR100 = in_cells(
    SPLITS,
    {
        "gold_standard": ("76.85", "76.85"),
        "teachers": ("67.9 / 68.6", "65.22 / 65.48"),
        "teacher_ensemble": ("73.04", "73.3"),
        "zskt": ("41.13 ± 0.77", "36.04 ± 6.60"),
        "dafl": ("67.46 ± 0.15", "63.98 ± 4.69"),
        "dfq_no_adv": ("67.75 ± 0.21", "66.97 ± 0.04"),
        "dfq": ("57.73 ± 2.87", "57.26 ± 2.06"),
        "cmi": ("68.46 ± 0.24", "67.57 ± 0.18"),
        "cmi_ga": ("69.10 ± 0.37", "68.32 ± 0.25"),
        "dfmf": ("70.05 ± 0.13", "69.67 ± 0.09"),
    },
)
TABLE_3 = in_cells(
    SPLITS,
    {
        "teachers": ("67.90 / 67.80", "65.22 / 61.50"),
        "teacher_ensemble": ("73.15", "71.70"),
        "ga_is_teacher": ("71.16 ± 0.08", "69.05 ± 0.22"),
        "ga_is_student": ("70.50 ± 0.68", "67.54 ± 1.33"),
    },
)
TABLE_4_TWO = in_cells(
    DOGS,
    {
        "gold_standard": ("79.50",) * 4,
        "teachers": ("76.82 / 76.98", "75.69 / 74.30", "70.00 / 67.25", "61.12 / 57.94"),
        "teacher_ensemble": ("80.56", "80.71", "79.90", "78.81"),
        "cmi_ga": ("75.60 ± 0.09", "75.11 ± 0.04", "73.34 ± 0.01", "72.65 ± 0.22"),
        "dfmf": ("80.44 ± 0.15", "80.78 ± 0.15", "79.45 ± 0.13", "78.60 ± 0.23"),
    },
)
TABLE_4_FOUR = in_cells(
    DOGS,
    {
        "gold_standard": ("79.50",) * 4,
        "teachers": (
            "74.14 / 74.15 / 73.60 / 74.84",
            "72.30 / 72.74 / 70.87 / 72.30",
            "54.02 / 55.48 / 49.77 / 54.95",
            "54.02 / 55.48 / 49.77 / 54.95",  # Printed twice, for r = 10 and r = 20.
        ),
        "teacher_ensemble": ("81.33", "81.08", "79.45", "78.76"),
        "cmi_ga": ("76.22 ± 0.13", "76.11 ± 0.20", "74.33 ± 0.09", "73.64 ± 0.28"),
        "dfmf": ("81.01 ± 0.23", "80.75 ± 0.15", "78.94 ± 0.07", "78.31 ± 0.06"),
    },
)
SUPPLEMENT_1 = in_cells(
    SPLITS,
    {
        "gold_standard": ("94.92", "94.92"),
        "teachers": ("92.41 / 92.26", "90.43 / 89.79"),
        "teacher_ensemble": ("93.85", "93.12"),
        "m_ga_5": ("93.10 ± 0.11", "92.27 ± 0.19"),
        "m_ga_10": ("93.16 ± 0.08", "92.21 ± 0.14"),
    },
)
