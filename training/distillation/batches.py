"""The batches of a distillation: augmented scenes with the teachers' targets."""

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geometry.arrays import F64, U8
from training.data.augmentations import augment_for_both, augment_for_student, rotate
from training.data.dataset import LabelledImage
from training.data.images import MEAN_RGB
from training.data.scenes import Scene, compose, sampling_shares
from training.distillation.targets import make_targets
from training.distillation.teacher import Teacher
from training.recipe import Recipe


@dataclass(frozen=True)
class Batch:
    """The input and the targets of one step."""

    data: Tensor
    """[N, 3, S, S], augmented, as the student sees it."""
    codes: Tensor
    """[N, P, 4], target codes."""
    probabilities: Tensor
    """[N, P, 2], target probabilities."""


@dataclass(frozen=True)
class _Unlabelled:
    """A batch before the teachers have seen it."""

    scenes: list[Scene]
    images: list[U8]
    """The scenes' pictures as the teachers see them."""
    data: Tensor
    """The same pictures as the student sees them."""
    enlarged: int
    """How many of the scenes the teachers also see enlarged."""


@dataclass(frozen=True)
class _Remembered:
    """An earlier batch that can be repeated."""

    images: list[U8]
    codes: Tensor
    probabilities: Tensor


def as_input(images: Sequence[np.ndarray]) -> Tensor:
    """RGB uint8 [S, S, 3] pictures as Caffe's input: BGR, mean-free, [N, 3, S, S] channels_last."""
    stacked = torch.from_numpy(np.stack(images)[..., ::-1].astype(np.float32))
    return (stacked - torch.tensor(MEAN_RGB[::-1], dtype=torch.float32)).permute(0, 3, 1, 2)


def batches(
    teachers: Sequence[Teacher],
    dataset: Sequence[LabelledImage],
    recipe: Recipe,
    start: int,
    pool: Executor,
) -> Iterator[Batch]:
    """Endless batches. `start` is the number of the first; a resumed run continues from its step.

    The teachers take a large part of the time. So each new batch is followed by earlier batches
    that are augmented anew and keep their targets: data echoing (Choi et al. 2019,
    arXiv:1907.05550).
    """
    memory: deque[_Remembered] = deque(maxlen=recipe.remembered)
    for number, new in enumerate(_unlabelled(dataset, recipe, start, pool), start):
        random = np.random.default_rng([recipe.seed, number, 1])
        echoes = [memory[i] for i in random.permutation(len(memory))[: recipe.echoes]]
        augmented = [pool.submit(_augment, each.images, recipe, random) for each in echoes]
        codes, probabilities = make_targets(
            teachers, new.scenes, as_input(new.images), new.enlarged, recipe
        )
        yield Batch(new.data, codes, probabilities)
        for each, data in zip(echoes, augmented, strict=True):
            yield Batch(data.result(), each.codes, each.probabilities)
        memory.append(_Remembered(new.images, codes, probabilities))


def _unlabelled(
    dataset: Sequence[LabelledImage], recipe: Recipe, start: int, pool: Executor
) -> Iterator[_Unlabelled]:
    """Endless new batches. The next one is made while the one before is used."""
    shares = sampling_shares(dataset, recipe.crowd)
    upcoming = pool.submit(_compose, dataset, shares, recipe, start)
    for number in itertools.count(start + 1):
        following = pool.submit(_compose, dataset, shares, recipe, number)
        yield upcoming.result()
        upcoming = following


def _compose(
    dataset: Sequence[LabelledImage], shares: F64, recipe: Recipe, number: int
) -> _Unlabelled:
    random = np.random.default_rng([recipe.seed, number])
    large = random.random() < recipe.large_share
    size = recipe.large_size if large else recipe.size
    count = max(recipe.batch // recipe.large_divisor, 1) if large else recipe.batch
    scenes = [
        rotate(compose(dataset, shares, size, recipe, random), recipe, random) for _ in range(count)
    ]
    images = [augment_for_both(scene.image, recipe, random) for scene in scenes]
    data = _augment(images, recipe, random)
    enlarged = math.floor(count * recipe.enlarged + random.random())
    return _Unlabelled(scenes, images, data, enlarged)


def _augment(images: Sequence[U8], recipe: Recipe, random: np.random.Generator) -> Tensor:
    return as_input([augment_for_student(image, recipe, random) for image in images])
