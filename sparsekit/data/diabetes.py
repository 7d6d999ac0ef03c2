"""The diabetes study that comes with scikit-learn: a small real regression, without a file."""

from pathlib import Path

import torch

from sparsekit.data.packaged import diabetes_table
from sparsekit.data.splits import random_indices
from sparsekit.data.tensors import Examples, TensorData, digest_of, standardised


def diabetes(
    root: Path, *, num_val: int = 66, num_test: int = 88, split_seed: int = 42
) -> TensorData:
    """Load the records of 442 patients: 10 measurements, and the disease's progress after a year.

    Efron et al. 2004, "Least Angle Regression"; age, sex, body mass index, blood pressure and six
    blood values, in their own units, and one number from 25 to 346. Inputs [10] and targets [1] are
    standardised by the training split, so that a loss of 1 is what its mean would get on it; 1 unit
    of the target is its standard deviation there, about 77. Test and validation are drawn by
    `split_seed`. `root` is not read.
    """
    measured, progress = map(torch.from_numpy, diabetes_table())
    inputs, targets = measured.float(), progress.float().unsqueeze(1)
    rest, test = random_indices(len(inputs), num_taken=num_test, seed=split_seed)
    kept, taken = random_indices(len(rest), num_taken=num_val, seed=split_seed)
    places = (rest[kept], rest[taken], test)
    raw = [Examples(inputs[place], targets[place]) for place in places]
    all_inputs = standardised(*(inputs[place] for place in places))
    all_targets = standardised(*(targets[place] for place in places))
    train, val, test_split = map(Examples, all_inputs, all_targets)
    return TensorData("diabetes", 1, train, val, test_split, digest=digest_of(*raw))
